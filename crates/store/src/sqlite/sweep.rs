//! Sweeping: purge entries leave the log, and tombstones that are old enough once everybody has passed
//! them.
//!
//! The live set suggests tombstones; the transaction decides, from what is durable. Every step of a
//! consumer that could still want one was written before, or is computed on a log without it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headrace_model::{ConsumerId, LaneNo, RecordId, StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::SqliteStore;
use super::error::Tx;
use super::keys;
use super::streams::{Delta, Move, row_id, split_row_id};
use super::summary;
use crate::{Result, Selection, Store, Sweep, Swept};

const TOMBSTONES: Selection = Selection {
    lanes: None,
    deleted: Some(true),
};

/// What a sweep answers, and what it changed.
struct Done {
    swept: Swept,
    delta: Delta,
}

/// The part of a log that one step looks at.
struct Part {
    /// Indexes of tombstones that may be old enough.
    tombstones: Vec<u64>,
    /// Up to this index.
    end: u64,
}

/// What may leave a part of a log.
struct Leaving {
    stream: Delta,
    tombstones: Vec<Tombstone>,
    purges: Vec<u64>,
    /// Up to here it was looked.
    end: u64,
}

struct Tombstone {
    idx: u64,
    record: RecordId,
    lane: LaneNo,
    bytes: u64,
}

impl SqliteStore {
    /// One step. It is computed twice: the writer is not asked where nothing leaves.
    pub(super) async fn sweep_log(&self, stream: StreamId, sweep: Sweep) -> Result<Swept> {
        let cell = self.stream(stream)?;
        let old = match sweep.tombstones_before {
            Some(time) => self.position_before(stream, time).await?,
            None => 0,
        };
        let tombstones = {
            let log = cell.log();
            let upto = sweep.upto.min(old);
            log.live.after(&TOMBSTONES, sweep.after, upto, sweep.limit)
        };
        let full = tombstones
            .last()
            .filter(|_| tombstones.len() == sweep.limit);
        let end = full.copied().unwrap_or(sweep.upto);
        if self.journal.is_ahead() {
            // Otherwise nobody who is up to date would be seen to be.
            self.write_journalled().durable().await?;
        }
        let asked = Arc::new((Part { tombstones, end }, sweep));
        let look = Arc::clone(&asked);
        let leaving = self
            .readers
            .read("look for what may leave the log", move |db| {
                leaving(db, stream, &look.0, &look.1)
            })
            .await?;
        let Some(leaving) = leaving else {
            return Ok(Swept::default());
        };
        if leaving.tombstones.is_empty() && leaving.purges.is_empty() {
            return Ok(leaving.swept(&asked.1));
        }
        let run = move |db: &Connection| run(db, stream, &asked.0, &asked.1);
        let after = move |done: Option<&Option<Done>>| {
            if let Some(Some(done)) = done {
                cell.publish(&done.delta);
            }
        };
        let sweeping = self.writer.submit("sweep the log", 0, run, after);
        let done = sweeping.durable().await?;
        Ok(done.map(|done| done.swept).unwrap_or_default())
    }
}

impl Leaving {
    fn swept(&self, sweep: &Sweep) -> Swept {
        Swept {
            tombstones: self.tombstones.len(),
            purges: self.purges.len(),
            next: (self.end < sweep.upto).then_some(self.end),
        }
    }
}

/// What may leave; `None` where there is no log.
fn leaving(db: &Connection, stream: StreamId, part: &Part, sweep: &Sweep) -> Tx<Option<Leaving>> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Delta {
            no: row.get(0)?,
            last_idx: row.get::<_, i64>(1)?.cast_unsigned(),
            bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            ..Delta::default()
        })
    };
    let found = db
        .prepare_cached("select no, last_idx, bytes from stream where id = ?")?
        .query_row([stream.0.as_bytes()], read)
        .optional()?;
    let Some(delta) = found else {
        return Ok(None);
    };
    let purges = purges(db, delta.no, sweep.after, part.end, sweep.limit)?;
    let full = purges.last().filter(|_| purges.len() == sweep.limit);
    let end = full.copied().unwrap_or(part.end);
    let mut tombstones = Vec::new();
    if let Some(before) = sweep.tombstones_before {
        let mut readers = Readers::behind(db, stream, end)?;
        let in_use = in_use(db, stream, &part.tombstones)?;
        for idx in part.tombstones.iter().copied().filter(|idx| *idx <= end) {
            if let Some(found) = tombstone(db, delta.no, idx, before)?
                && !in_use.contains(&idx)
                && !readers.want(idx, found.lane, sweep)
            {
                tombstones.push(found);
            }
        }
    }
    Ok(Some(Leaving {
        stream: delta,
        tombstones,
        purges,
        end,
    }))
}

/// Takes out what may leave. `None` where there is no log.
fn run(db: &Connection, stream: StreamId, part: &Part, sweep: &Sweep) -> Tx<Option<Done>> {
    let Some(leaving) = leaving(db, stream, part, sweep)? else {
        return Ok(None);
    };
    let swept = leaving.swept(sweep);
    let mut delta = leaving.stream;
    for idx in leaving.purges {
        take_out(db, delta.no, idx)?;
    }
    for Tombstone {
        idx,
        record,
        lane,
        bytes,
    } in leaving.tombstones
    {
        take_out(db, delta.no, idx)?;
        keys::remove(db, record)?;
        delta.bytes = delta.bytes.saturating_sub(bytes);
        delta.moves.push(Move::Out {
            idx,
            lane,
            deleted: true,
        });
    }
    if swept.tombstones > 0 {
        db.prepare_cached("update stream set bytes = ? where no = ?")?
            .execute(params![delta.bytes.cast_signed(), delta.no])?;
        summary::note(db, &delta)?;
    }
    Ok(Some(Done { swept, delta }))
}

/// Purge entries after `after` up to `end`.
fn purges(db: &Connection, no: i64, after: u64, end: u64, limit: usize) -> Tx<Vec<u64>> {
    let mut query = db.prepare_cached(
        "select id from log where kind = 2 and id > ? and id <= ? order by id limit ?",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let bounds = params![row_id(no, after), row_id(no, end), limit];
    let found = query.query_map(bounds, |row| Ok(split_row_id(row.get(0)?).1))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The tombstone at the index, if it is old enough. A dead letter keeps its own: what is redriven is
/// dead until its next delivery is durable.
fn tombstone(db: &Connection, no: i64, idx: u64, before: Timestamp) -> Tx<Option<Tombstone>> {
    let found = db
        .prepare_cached(
            "select record, lane, length(data) from log
             where id = ? and kind = 1 and updated_at < ?
                 and not exists (select 1 from dead_letter where dead_letter.record = log.record)",
        )?
        .query_row(params![row_id(no, idx), before.as_micros()], |row| {
            Ok(Tombstone {
                idx,
                record: RecordId::from_bytes(row.get(0)?),
                lane: LaneNo(row.get(1)?),
                bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            })
        })
        .optional()?;
    Ok(found)
}

fn take_out(db: &Connection, no: i64, idx: u64) -> Tx<()> {
    db.prepare_cached("delete from log where id = ?")?
        .execute([row_id(no, idx)])?;
    Ok(())
}

/// Those of the indexes that a consumer of the stream has outstanding or holds.
fn in_use(db: &Connection, stream: StreamId, indexes: &[u64]) -> Tx<HashSet<u64>> {
    let (Some(first), Some(last)) = (indexes.first(), indexes.last()) else {
        return Ok(HashSet::new());
    };
    let mut query = db.prepare_cached(
        "select idx from consumer join outstanding on outstanding.consumer = consumer.no
         where consumer.stream = ? and idx between ? and ?",
    )?;
    let bounds = params![stream.0.as_bytes(), first.cast_signed(), last.cast_signed()];
    let found = query.query_map(bounds, |row| row.get::<_, i64>(0))?;
    found.map(|idx| Ok(idx?.cast_unsigned())).collect()
}

/// The consumers that have not passed everything.
struct Readers {
    behind: Vec<(ConsumerId, u64)>,
    /// How far everybody is who wants a lane.
    passed: HashMap<LaneNo, u64>,
}

impl Readers {
    fn behind(db: &Connection, stream: StreamId, end: u64) -> Tx<Self> {
        let mut query = db.prepare_cached(
            "select id, position from consumer where stream = ? and position < ?",
        )?;
        let bounds = params![stream.0.as_bytes(), end.cast_signed()];
        let found = query.query_map(bounds, |row| {
            let id = ConsumerId(Uuid::from_bytes(row.get(0)?));
            Ok((id, row.get::<_, i64>(1)?.cast_unsigned()))
        })?;
        Ok(Self {
            behind: found.collect::<rusqlite::Result<_>>()?,
            passed: HashMap::new(),
        })
    }

    /// Whether the entry is still to come for one of them.
    fn want(&mut self, idx: u64, lane: LaneNo, sweep: &Sweep) -> bool {
        let behind = &self.behind;
        let passed = self.passed.entry(lane).or_insert_with(|| {
            let wanting = behind.iter().filter(|(id, _)| (sweep.wants)(*id, lane));
            let positions = wanting.map(|(_, position)| *position);
            positions.min().unwrap_or(u64::MAX)
        });
        *passed < idx
    }
}
