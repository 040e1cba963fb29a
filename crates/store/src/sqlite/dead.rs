//! Dead letters: what was given up on, and delivering it again.

use std::sync::atomic::Ordering;

use headrace_model::delivery::DeadLetter;
use headrace_model::{ConsumerId, RecordId, Timestamp};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::error::Tx;
use super::keys;
use super::steps::number;
use super::turn::{Safe, Turn};
use crate::{REDRIVEN_AT_ONCE, Result, Selection};

/// Those that are removed in one transaction: whoever writes next waits for it.
const REMOVED_AT_ONCE: u32 = 500;

/// Which of the dead.
enum Which {
    /// These records.
    These(Vec<RecordId>),
    /// The first so many of those up to this number.
    First(u64, usize),
}

/// Dead records, each with the index of its current entry, if that matches.
type Dead = Vec<(RecordId, Option<u64>)>;

impl SqliteStore {
    /// Delivers dead records again: these; or all, of which as many as fit at once, and the others
    /// when there is room for them.
    pub(super) async fn redrive_dead(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
        selection: &Selection,
        upto: u64,
    ) -> Result<u64> {
        loop {
            let mut turn = self.turn(consumer).await?;
            let count = match records {
                Some(records) => {
                    let these = Which::These(records.to_vec());
                    let dead = self.dead(&turn, these, selection, upto).await?;
                    if !dead.is_empty() {
                        turn.active.machine.redrive(&dead);
                    }
                    dead.len() as u64
                }
                None => turn.cell.dead.load(Ordering::SeqCst).max(0).cast_unsigned(),
            };
            if records.is_none()
                && let Some(last) = self.last_dead_of(&turn).await?
            {
                turn.active.machine.begin_redrive(last);
                self.redrive_on(&mut turn, REDRIVEN_AT_ONCE, selection, upto)
                    .await?;
            }
            match self.submit(&mut turn, true)? {
                Some(submitted) => {
                    drop(turn);
                    self.until(Safe::FromPowerCuts, submitted).await?;
                    return Ok(count);
                }
                None if self.settled(turn).await? => return Ok(count),
                None => {}
            }
        }
    }

    /// Goes on with a redrive of everything where fewer than a batch are ready: with as many as there
    /// is room for, so that the batches that follow find theirs ready.
    pub(super) async fn redrive_on(
        &self,
        turn: &mut Turn,
        batch: usize,
        selection: &Selection,
        upto: u64,
    ) -> Result<()> {
        let machine = &turn.active.machine;
        let room = REDRIVEN_AT_ONCE.saturating_sub(machine.ready());
        let is_short = machine.ready() < batch.min(REDRIVEN_AT_ONCE);
        let Some(last) = machine.redriving().filter(|_| is_short) else {
            return Ok(());
        };
        // One more tells whether that is all.
        let first = Which::First(last, room + 1);
        let mut dead = self.dead(turn, first, selection, upto).await?;
        let is_all = dead.len() <= room;
        dead.truncate(room);
        let machine = &mut turn.active.machine;
        if !dead.is_empty() {
            machine.redrive(&dead);
        }
        if is_all {
            machine.end_redrive();
        }
        Ok(())
    }

    async fn last_dead_of(&self, turn: &Turn) -> Result<Option<u64>> {
        let no = turn.active.no;
        let read = move |db: &Connection| last_dead(db, no);
        self.writer.write("read dead letters", read).await
    }

    async fn dead(
        &self,
        turn: &Turn,
        which: Which,
        selection: &Selection,
        upto: u64,
    ) -> Result<Dead> {
        let (no, stream) = (turn.active.no, turn.active.stream.log().no);
        let selection = selection.clone();
        // Asked of the writer: what was submitted before is in the answer.
        self.writer
            .write("read dead letters", move |db| {
                let dead = match which {
                    Which::These(records) => dead_of(db, no, records)?,
                    Which::First(last, limit) => dead_upto(db, no, last, limit)?,
                };
                dead.into_iter()
                    .map(|record| Ok((record, current(db, stream, record, &selection, upto)?)))
                    .collect::<Tx<Dead>>()
            })
            .await
    }

    /// Removes dead letters, a part at a time: these, or all that are dead now.
    pub(super) async fn remove_dead(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
    ) -> Result<u64> {
        if let Some(records) = records {
            let mut all = 0;
            for part in records.chunks(REMOVED_AT_ONCE as usize) {
                let part = part.to_vec();
                let remove = move |db: &Connection| remove_these(db, number(db, consumer)?, part);
                all += self.remove_some(consumer, remove).await?;
            }
            return Ok(all);
        }
        let last = move |db: &Connection| last_dead(db, number(db, consumer)?);
        let Some(last) = self.writer.write("read dead letters", last).await? else {
            return Ok(0);
        };
        let mut all = 0;
        loop {
            let remove = move |db: &Connection| remove_upto(db, number(db, consumer)?, last);
            let removed = self.remove_some(consumer, remove).await?;
            all += removed;
            if removed < u64::from(REMOVED_AT_ONCE) {
                return Ok(all);
            }
        }
    }

    async fn remove_some(
        &self,
        consumer: ConsumerId,
        remove: impl FnOnce(&Connection) -> Tx<u64> + Send + 'static,
    ) -> Result<u64> {
        let cell = self.consumers.get(consumer);
        let after = move |removed: Option<&u64>| {
            if let Some(removed) = removed {
                cell.add_dead(-removed.cast_signed());
            }
        };
        self.writer
            .submit("remove dead letters", 0, remove, after)
            .durable()
            .await
    }
}

fn remove_these(db: &Connection, no: i64, records: Vec<RecordId>) -> Tx<u64> {
    let dead = dead_of(db, no, records)?;
    for record in &dead {
        db.prepare_cached("delete from dead_letter where consumer = ? and record = ?")?
            .execute(params![no, record.to_bytes()])?;
    }
    Ok(dead.len() as u64)
}

/// Removes some of those up to this number.
fn remove_upto(db: &Connection, no: i64, last: u64) -> Tx<u64> {
    let removed = db
        .prepare_cached(
            "delete from dead_letter where no in
                 (select no from dead_letter where consumer = ? and no <= ? order by no limit ?)",
        )?
        .execute(params![no, last.cast_signed(), REMOVED_AT_ONCE])?;
    Ok(removed as u64)
}

/// The number of the one that died last.
fn last_dead(db: &Connection, no: i64) -> Tx<Option<u64>> {
    let last: Option<i64> = db
        .prepare_cached("select max(no) from dead_letter where consumer = ?")?
        .query_row([no], |row| row.get(0))?;
    Ok(last.map(i64::cast_unsigned))
}

/// A page of dead letters in the order of their records.
pub(super) fn page(
    db: &Connection,
    consumer: ConsumerId,
    after: Option<RecordId>,
    limit: usize,
) -> Tx<Vec<DeadLetter>> {
    let no = number(db, consumer)?;
    let mut query = db.prepare_cached(
        "select record, idx, attempts, error, died_at from dead_letter
         where consumer = ? and record > ? order by record limit ?",
    )?;
    let after = after.map(RecordId::to_bytes);
    // Every record sorts after the empty blob.
    let after = after.as_ref().map_or(&[][..], |after| &after[..]);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = query.query_map(params![no, after, limit], |row| {
        Ok(DeadLetter {
            record: RecordId::from_bytes(row.get(0)?),
            idx: row.get::<_, i64>(1)?.cast_unsigned(),
            attempts: row.get(2)?,
            last_error: row.get(3)?,
            died_at: Timestamp::from_micros(row.get(4)?),
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// When the oldest dead letter died.
pub(super) fn oldest(db: &Connection, consumer: ConsumerId) -> Tx<Option<Timestamp>> {
    let no = number(db, consumer)?;
    let oldest: Option<i64> = db
        .prepare_cached("select min(died_at) from dead_letter where consumer = ?")?
        .query_row([no], |row| row.get(0))?;
    Ok(oldest.map(Timestamp::from_micros))
}

/// The first so many of those up to this number.
fn dead_upto(db: &Connection, no: i64, last: u64, limit: usize) -> Tx<Vec<RecordId>> {
    let mut query = db.prepare_cached(
        "select record from dead_letter where consumer = ? and no <= ?
         order by no limit ?",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let dead = query.query_map(params![no, last.cast_signed(), limit], |row| row.get(0))?;
    dead.map(|record| Ok(RecordId::from_bytes(record?)))
        .collect()
}

/// Those of the records that are dead.
pub(super) fn dead_of(db: &Connection, no: i64, mut records: Vec<RecordId>) -> Tx<Vec<RecordId>> {
    records.sort_unstable();
    records.dedup();
    let mut query =
        db.prepare_cached("select 1 from dead_letter where consumer = ? and record = ?")?;
    let mut dead = Vec::new();
    for record in records {
        if query.exists(params![no, record.to_bytes()])? {
            dead.push(record);
        }
    }
    Ok(dead)
}

/// The index of the record's live entry, if that matches.
fn current(
    db: &Connection,
    stream: Option<i64>,
    record: RecordId,
    selection: &Selection,
    upto: u64,
) -> Tx<Option<u64>> {
    let Some(stream) = stream else {
        return Ok(None);
    };
    let key = keys::find(db, stream, record)?;
    // Of what lies beyond, the selection may not know the lane yet.
    let key =
        key.filter(|key| key.known.idx > upto || selection.takes(key.lane, key.known.deleted));
    Ok(key.map(|key| key.known.idx))
}
