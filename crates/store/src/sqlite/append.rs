//! Appending: compares each observation with what the log holds, inside the transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_model::record::{Content, Observation, Verdict, Version, decide};
use headrace_model::{LaneNo, RecordId, StreamId, SyncId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Tx;
use super::keys::{self, Key};
use super::streams::{Delta, Move, row_id};
use super::sums::Entry;
use super::{rows, summary, syncing};
use crate::{Appended, Batch, CursorWrite, Fence, Lane, Outcome, Result, StoreError};

/// How far two clocks may be apart without one of them being wrong.
const BEHIND: Duration = Duration::from_secs(60);

/// What an append answers, and what it changed.
pub(super) struct Done {
    /// One per batch.
    pub(super) results: Vec<Result<Appended>>,
    /// For the readers.
    pub(super) delta: Delta,
}

/// A batch whose record ids were computed before it came to the writer.
pub(super) struct Prepared {
    batch: Batch,
    records: Vec<RecordId>,
}

impl Prepared {
    /// Hashes the ids.
    pub(super) fn new(batch: Batch) -> Self {
        let id = |(collection, seen): &(Arc<str>, Observation)| {
            RecordId::of(batch.sync, collection, &seen.upstream_id)
        };
        let records = batch.seen.iter().map(id).collect();
        Self { batch, records }
    }

    /// About how much it writes.
    pub(super) fn bytes(&self) -> usize {
        let data = |(_, seen): &(Arc<str>, Observation)| match &seen.content {
            Content::Present { data, .. } => data.len(),
            Content::Gone => 0,
        };
        self.batch.seen.iter().map(data).sum()
    }
}

/// Appends the batches to the stream's log.
pub(super) fn append(
    db: &Connection,
    stream: StreamId,
    now: Timestamp,
    batches: Vec<Prepared>,
) -> Tx<Done> {
    let mut tail = Tail::open(db, stream, now)?;
    let mut results = Vec::with_capacity(batches.len());
    for Prepared { batch, records } in batches {
        if holds(db, batch.fence.as_ref())? {
            results.push(Ok(tail.batch(&batch, &records)?));
        } else {
            results.push(Err(StoreError::Fenced));
        }
    }
    let delta = tail.close()?;
    Ok(Done { results, delta })
}

/// Whether the fence is that of the lease's present owner.
fn holds(db: &Connection, fence: Option<&Fence>) -> Tx<bool> {
    let Some(fence) = fence else {
        return Ok(true);
    };
    let number: Option<i64> = db
        .prepare_cached("select fence from lease where name = ?")?
        .query_row([&*fence.name], |row| row.get(0))
        .optional()?;
    Ok(number == Some(fence.number.cast_signed()))
}

/// The end of a log while a transaction writes to it.
struct Tail<'a> {
    db: &'a Connection,
    delta: Delta,
    opened_at: u64,
    now: Timestamp,
    known_lanes: HashMap<(SyncId, Arc<str>), LaneNo>,
}

/// What an entry that leaves the log passes on to its successor.
struct Old {
    created_at: Option<i64>,
    updated_at: Option<i64>,
    inserted_at: i64,
    bytes: u64,
    data: Option<Vec<u8>>,
    parent_id: Option<String>,
}

impl<'a> Tail<'a> {
    fn open(db: &'a Connection, stream: StreamId, now: Timestamp) -> Tx<Self> {
        let read = |row: &rusqlite::Row<'_>| {
            let delta = Delta {
                no: row.get(0)?,
                last_idx: row.get::<_, i64>(1)?.cast_unsigned(),
                bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                ..Delta::default()
            };
            Ok((delta, Timestamp::from_micros(row.get(2)?)))
        };
        let found = db
            .prepare_cached("select no, last_idx, last_updated_at, bytes from stream where id = ?")?
            .query_row([stream.0.as_bytes()], read)
            .optional()?;
        let (delta, last_updated_at) = match found {
            Some(found) => found,
            None => db
                .prepare_cached(
                    "insert into stream (id, last_idx, last_updated_at, bytes) values (?, 0, ?, 0)
                     returning no, last_idx, last_updated_at, bytes",
                )?
                .query_row(params![stream.0.as_bytes(), i64::MIN], read)?,
        };
        Ok(Self {
            db,
            opened_at: delta.last_idx,
            delta,
            now: now.max(last_updated_at),
            known_lanes: HashMap::new(),
        })
    }

    fn close(self) -> Tx<Delta> {
        if self.delta.last_idx != self.opened_at {
            self.db
                .prepare_cached(
                    "update stream set last_idx = ?, last_updated_at = ?, bytes = ? where no = ?",
                )?
                .execute(params![
                    self.delta.last_idx.cast_signed(),
                    self.now.as_micros(),
                    self.delta.bytes.cast_signed(),
                    self.delta.no,
                ])?;
            summary::note(self.db, &self.delta)?;
        }
        Ok(self.delta)
    }

    fn batch(&mut self, batch: &Batch, records: &[RecordId]) -> Tx<Appended> {
        let mut appended = Appended::default();
        for ((collection, seen), record) in batch.seen.iter().zip(records) {
            let lane = self.lane(batch.sync, collection)?;
            appended.outcomes.push(self.observe(lane, *record, seen)?);
        }
        for record in &batch.purge {
            appended.purged += usize::from(self.purge(*record)?);
        }
        for cursor in &batch.cursors {
            write_cursor(self.db, batch.sync, cursor)?;
        }
        Ok(appended)
    }

    fn observe(&mut self, lane: LaneNo, record: RecordId, seen: &Observation) -> Tx<Outcome> {
        let key = keys::find(self.db, self.delta.no, record)?;
        match decide(key.as_ref().map(|key| &key.known), seen) {
            Verdict::Append => {
                let idx = self.put(lane, record, seen, key.as_ref())?;
                Ok(Outcome::Appended {
                    idx,
                    new: key.is_none(),
                })
            }
            Verdict::Unchanged { raise } => {
                if raise {
                    keys::raise(self.db, record, seen.version)?;
                }
                Ok(Outcome::Unchanged)
            }
            Verdict::Stale => Ok(Outcome::Stale),
            Verdict::Doubt(mark) => Ok(Outcome::Doubt(mark)),
        }
    }

    fn put(
        &mut self,
        lane: LaneNo,
        record: RecordId,
        seen: &Observation,
        key: Option<&Key>,
    ) -> Tx<u64> {
        let deleted = matches!(seen.content, Content::Gone);
        let old = match key {
            Some(key) => Some(self.take_out(key, deleted)?),
            None => None,
        };
        let old_data = old.as_ref().and_then(|old| old.data.as_deref());
        let (data, hash) = match &seen.content {
            Content::Present { data, hash } => (&data[..], *hash),
            Content::Gone => (
                old_data.unwrap_or(b"null"),
                key.map_or(0, |key| key.known.hash),
            ),
        };
        let of_old = |time: fn(&Old) -> Option<i64>| old.as_ref().and_then(time);
        let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
        let created_at = micros(seen.created_at).or(of_old(|old| old.created_at));
        let updated_at = micros(seen.updated_at)
            .or(of_old(|old| old.updated_at))
            .or(created_at);
        let inserted_at = of_old(|old| Some(old.inserted_at)).unwrap_or(self.seen_first(seen));
        let old_parent = old.as_ref().and_then(|old| old.parent_id.as_deref());
        let parent_id = seen.parent_id.as_deref().or(old_parent);
        let version = key.map_or(seen.version, |key| key.known.version.then(seen.version));
        let now = self.now.as_micros();
        let entry = Entry {
            record: record.to_bytes(),
            lane: lane.0,
            deleted,
            upstream_id: seen.upstream_id.as_bytes(),
            times: [created_at, updated_at, Some(inserted_at), Some(now)],
            data,
        };
        let idx = self.next_idx();
        self.db
            .prepare_cached(
                "insert into log (id, lane, record, kind, upstream_id, upstream_created_at,
                     upstream_updated_at, inserted_at, updated_at, data, parent_id, sum)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                row_id(self.delta.no, idx),
                lane.0,
                record.to_bytes(),
                deleted,
                seen.upstream_id,
                created_at,
                updated_at,
                inserted_at,
                now,
                data,
                parent_id,
                entry.sum(),
            ])?;
        keys::put(
            self.db,
            record,
            row_id(self.delta.no, idx),
            lane,
            hash,
            deleted,
            version,
        )?;
        self.delta.bytes += data.len() as u64;
        self.delta.moves.push(Move::In { idx, lane, deleted });
        Ok(idx)
    }

    /// When a record was seen for the first time: now, unless the clock is behind by more than two clocks
    /// usually differ. What has no creation time ages from then on.
    fn seen_first(&self, seen: &Observation) -> i64 {
        let at = match seen.version {
            Version::Seen(at) if at.since(self.now) > BEHIND => at,
            _ => self.now,
        };
        at.as_micros()
    }

    fn purge(&mut self, record: RecordId) -> Tx<bool> {
        let Some(key) = keys::find(self.db, self.delta.no, record)? else {
            return Ok(false);
        };
        self.take_out(&key, false)?;
        keys::remove(self.db, record)?;
        let idx = self.next_idx();
        let now = self.now.as_micros();
        self.db
            .prepare_cached(
                "insert into log (id, lane, record, kind, upstream_id, inserted_at, updated_at)
                 values (?, ?, ?, 2, '', ?, ?)",
            )?
            .execute(params![
                row_id(self.delta.no, idx),
                key.lane.0,
                record.to_bytes(),
                now,
                now
            ])?;
        let mut query = self
            .db
            .prepare_cached("delete from dead_letter where record = ? returning consumer")?;
        let consumers = query.query_map([record.to_bytes()], |row| row.get(0))?;
        for consumer in consumers {
            self.delta.undead.push(consumer?);
        }
        Ok(true)
    }

    /// Deletes the entry that `key` points at.
    fn take_out(&mut self, key: &Key, keep_data: bool) -> Tx<Old> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Old {
                created_at: row.get(0)?,
                updated_at: row.get(1)?,
                inserted_at: row.get(2)?,
                bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                data: row.get(4)?,
                parent_id: row.get(5)?,
            })
        };
        let idx = key.known.idx;
        if keep_data {
            // Looks at the checksum: the data gets a new one.
            rows::one(self.db, row_id(self.delta.no, idx))?;
        }
        let old = self
            .db
            .prepare_cached(
                "delete from log where id = ?1
                 returning upstream_created_at, upstream_updated_at, inserted_at, length(data),
                     iif(?2, data, null), parent_id",
            )?
            .query_row(params![row_id(self.delta.no, idx), keep_data], read)
            .optional()?
            .ok_or_else(|| StoreError::Damaged {
                what: format!("the log of stream {} has no entry {idx}", self.delta.no),
            })?;
        self.delta.bytes = self.delta.bytes.saturating_sub(old.bytes);
        self.delta.moves.push(Move::Out {
            idx,
            lane: key.lane,
            deleted: key.known.deleted,
        });
        Ok(old)
    }

    fn next_idx(&mut self) -> u64 {
        self.delta.last_idx += 1;
        self.delta.last_idx
    }

    fn lane(&mut self, sync: SyncId, collection: &Arc<str>) -> Tx<LaneNo> {
        let name = (sync, Arc::clone(collection));
        if let Some(no) = self.known_lanes.get(&name) {
            return Ok(*no);
        }
        let found = self
            .db
            .prepare_cached("select no from lane where stream = ? and sync = ? and collection = ?")?
            .query_row(
                params![self.delta.no, sync.0.as_bytes(), &**collection],
                |row| row.get(0),
            )
            .optional()?;
        let no = LaneNo(match found {
            Some(no) => no,
            None => self.add_lane(sync, collection)?,
        });
        self.known_lanes.insert(name, no);
        Ok(no)
    }

    fn add_lane(&mut self, sync: SyncId, collection: &Arc<str>) -> Tx<u32> {
        let no = self
            .db
            .prepare_cached(
                "insert into lane (stream, sync, collection) values (?, ?, ?) returning no",
            )?
            .query_row(
                params![self.delta.no, sync.0.as_bytes(), &**collection],
                |row| row.get(0),
            )?;
        self.delta.lanes.push(Lane {
            no: LaneNo(no),
            sync,
            collection: Arc::clone(collection),
        });
        Ok(no)
    }
}

/// A cursor that stays as it is costs no write: a poll that brought nothing touches no disk.
fn write_cursor(db: &Connection, sync: SyncId, cursor: &CursorWrite) -> Tx<()> {
    if cursor.body.is_empty() {
        return match cursor.collection.ends_with('/') {
            true => syncing::drop_notes(db, sync, &cursor.collection),
            false => syncing::drop_cursors(db, sync, Some(&cursor.collection)),
        };
    }
    db.prepare_cached(
        "insert into cursor (sync, collection, body) values (?, ?, ?)
         on conflict do update set body = excluded.body where body is not excluded.body",
    )?
    .execute(params![sync.0.as_bytes(), &*cursor.collection, cursor.body])?;
    Ok(())
}
