//! A consumer's state on disk: loading it, and writing what a step changed.

use std::collections::{BTreeMap, HashSet};

use headrace_model::delivery::{Change, Consumer, DeadLetter, Outstanding, Phase};
use headrace_model::{ConsumerId, RecordId, StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::{Tx, backend};
use super::journal::Net;
use crate::StoreError;

const HELD: i64 = 0;
const LEASED: i64 = 1;
const EXPIRED: i64 = 2;
const NACKED: i64 = 3;

/// A consumer as it was loaded.
pub(super) struct Loaded {
    pub(super) no: i64,
    pub(super) seq: i64,
    pub(super) stream: StreamId,
    pub(super) machine: Consumer,
    pub(super) dead: u64,
}

impl Loaded {
    /// The indexes that have rows.
    pub(super) fn rows(&self) -> HashSet<u64> {
        let outstanding = self.machine.outstanding().map(|(idx, _)| idx);
        outstanding
            .chain(self.machine.held_versions().map(|(idx, _)| idx))
            .collect()
    }
}

/// What one step changed, to be written.
pub(super) struct Step {
    /// The consumer's number.
    pub(super) no: i64,
    /// How many steps were written before, when this one was computed.
    pub(super) seq: i64,
    /// The position after it.
    pub(super) position: u64,
    /// The generation after it.
    pub(super) generation: u32,
    /// What is being redriven after it.
    pub(super) redriving: Option<u64>,
    /// The changes, in order.
    pub(super) changes: Vec<Change>,
}

/// The consumers that have a state.
pub(super) fn ids(db: &Connection) -> Tx<Vec<ConsumerId>> {
    let mut query = db.prepare_cached("select id from consumer order by no")?;
    let ids = query.query_map([], |row| Ok(ConsumerId(Uuid::from_bytes(row.get(0)?))))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The number of a consumer.
pub(super) fn number(db: &Connection, consumer: ConsumerId) -> Tx<i64> {
    let no = db
        .prepare_cached("select no from consumer where id = ?")?
        .query_row([consumer.0.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(no.ok_or(StoreError::NoConsumer)?)
}

/// Reads a consumer's state.
pub(super) fn load(db: &Connection, id: ConsumerId) -> Tx<Loaded> {
    let (no, stream, seq, position, generation, redriving) = db
        .prepare_cached(
            "select no, stream, seq, position, generation, redriving from consumer where id = ?",
        )?
        .query_row([id.0.as_bytes()], |row| {
            let position = row.get::<_, i64>(3)?.cast_unsigned();
            let redriving: Option<i64> = row.get(5)?;
            let (no, stream, seq) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((no, stream, seq, position, row.get(4)?, redriving))
        })
        .optional()?
        .ok_or(StoreError::NoConsumer)?;
    let mut machine = Consumer::new(position);
    machine.apply(&Change::Generation(generation));
    machine.apply(&Change::Redriving(redriving.map(i64::cast_unsigned)));
    let mut query = db.prepare_cached(
        "select idx, record, generation, attempts, phase, at, error from outstanding
         where consumer = ? order by idx",
    )?;
    let mut rows = query.query([no])?;
    while let Some(row) = rows.next()? {
        machine.apply(&outstanding(row)?);
    }
    let dead: i64 = db
        .prepare_cached("select count(*) from dead_letter where consumer = ?")?
        .query_row([no], |row| row.get(0))?;
    Ok(Loaded {
        no,
        seq,
        stream: StreamId(Uuid::from_bytes(stream)),
        machine,
        dead: dead.cast_unsigned(),
    })
}

/// Writes a step, unless it was computed on top of one that was not written. Answers by how much the
/// number of dead letters changed.
pub(super) fn write(db: &Connection, step: &Step) -> Tx<i64> {
    let written = db
        .prepare_cached(
            "update consumer set seq = seq + 1, position = ?, generation = ?, redriving = ?
             where no = ? and seq = ?",
        )?
        .execute(params![
            step.position.cast_signed(),
            step.generation,
            step.redriving.map(u64::cast_signed),
            step.no,
            step.seq
        ])?;
    if written == 0 {
        return Err(why_not(db, step.no)?.into());
    }
    write_outstanding(db, step)?;
    write_dead(db, step)
}

/// Writes the net effect of many plain steps. A consumer that was removed has none.
pub(super) fn write_net(db: &Connection, no: i64, net: &Net) -> Tx<()> {
    let written = db
        .prepare_cached("update consumer set seq = ?, position = ? where no = ? and seq <= ?1")?
        .execute(params![net.seq, net.position.cast_signed(), no])?;
    if written == 0 {
        return Ok(());
    }
    let changes = net.changes.iter();
    changes
        .map(|(idx, change)| (*idx, change.as_ref()))
        .try_for_each(|(idx, change)| write_index(db, no, idx, change))
}

/// Only the last change of each index is written.
fn write_outstanding(db: &Connection, step: &Step) -> Tx<()> {
    let mut last: BTreeMap<u64, Option<&Change>> = BTreeMap::new();
    for change in &step.changes {
        match change {
            Change::Put(idx, _) | Change::Hold(idx, _) => {
                last.insert(*idx, Some(change));
            }
            Change::Remove(idx) | Change::Unhold(idx) => {
                last.insert(*idx, None);
            }
            Change::Clear => {
                last.clear();
                db.prepare_cached("delete from outstanding where consumer = ?")?
                    .execute([step.no])?;
            }
            Change::Position(_)
            | Change::Generation(_)
            | Change::Redriving(_)
            | Change::Dead(_)
            | Change::Undead(_) => {}
        }
    }
    last.into_iter()
        .try_for_each(|(idx, change)| write_index(db, step.no, idx, change))
}

fn write_index(db: &Connection, no: i64, idx: u64, change: Option<&Change>) -> Tx<()> {
    match change {
        Some(Change::Put(_, entry)) => put(db, no, idx, entry),
        Some(Change::Hold(_, record)) => hold(db, no, idx, *record),
        _ => {
            db.prepare_cached("delete from outstanding where consumer = ? and idx = ?")?
                .execute([no, idx.cast_signed()])?;
            Ok(())
        }
    }
}

fn put(db: &Connection, no: i64, idx: u64, entry: &Outstanding) -> Tx<()> {
    let (phase, at) = match entry.phase {
        Phase::Leased { until, .. } => (LEASED, until),
        Phase::Expired(at) => (EXPIRED, at),
        Phase::Nacked(due) => (NACKED, due),
    };
    db.prepare_cached(
        "insert or replace into outstanding
             (consumer, idx, record, generation, attempts, phase, at, error)
         values (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        no,
        idx.cast_signed(),
        entry.record.to_bytes(),
        entry.generation,
        entry.attempts,
        phase,
        at.as_micros(),
        entry.last_error,
    ])?;
    Ok(())
}

fn hold(db: &Connection, no: i64, idx: u64, record: RecordId) -> Tx<()> {
    db.prepare_cached(
        "insert or replace into outstanding
             (consumer, idx, record, generation, attempts, phase, at)
         values (?, ?, ?, 0, 0, ?, 0)",
    )?
    .execute(params![no, idx.cast_signed(), record.to_bytes(), HELD])?;
    Ok(())
}

fn write_dead(db: &Connection, step: &Step) -> Tx<i64> {
    let mut any: bool = db
        .prepare_cached("select exists (select 1 from dead_letter where consumer = ?)")?
        .query_row([step.no], |row| row.get(0))?;
    let mut count = 0;
    for change in &step.changes {
        match change {
            Change::Dead(letter) => {
                count -= undead(db, step.no, letter.record)?;
                bury(db, step.no, letter)?;
                count += 1;
                any = true;
            }
            Change::Undead(record) => count -= undead(db, step.no, *record)?,
            Change::Put(_, entry) if any && is_first_delivery(entry) => {
                count -= undead(db, step.no, entry.record)?;
            }
            _ => {}
        }
    }
    Ok(count)
}

fn is_first_delivery(entry: &Outstanding) -> bool {
    entry.attempts == 1 && matches!(entry.phase, Phase::Leased { .. })
}

fn bury(db: &Connection, no: i64, letter: &DeadLetter) -> Tx<()> {
    db.prepare_cached(
        "insert into dead_letter (consumer, record, idx, attempts, error, died_at)
         values (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        no,
        letter.record.to_bytes(),
        letter.idx.cast_signed(),
        letter.attempts,
        letter.last_error,
        letter.died_at.as_micros(),
    ])?;
    Ok(())
}

fn undead(db: &Connection, no: i64, record: RecordId) -> Tx<i64> {
    let removed = db
        .prepare_cached("delete from dead_letter where consumer = ? and record = ?")?
        .execute(params![no, record.to_bytes()])?;
    Ok(i64::from(removed > 0))
}

fn why_not(db: &Connection, no: i64) -> Tx<StoreError> {
    let exists: bool = db
        .prepare_cached("select exists (select 1 from consumer where no = ?)")?
        .query_row([no], |row| row.get(0))?;
    if !exists {
        return Ok(StoreError::NoConsumer);
    }
    Ok(backend(
        "write the consumer's state",
        "an earlier change of it could not be written",
    ))
}

fn outstanding(row: &Row<'_>) -> rusqlite::Result<Change> {
    let idx = row.get::<_, i64>(0)?.cast_unsigned();
    let record = RecordId::from_bytes(row.get(1)?);
    let at = Timestamp::from_micros(row.get(5)?);
    let phase = match row.get::<_, i64>(4)? {
        HELD => return Ok(Change::Hold(idx, record)),
        LEASED => Phase::Leased {
            until: at,
            gone: false,
        },
        EXPIRED => Phase::Expired(at),
        NACKED => Phase::Nacked(at),
        unknown => return Err(rusqlite::Error::IntegralValueOutOfRange(4, unknown)),
    };
    Ok(Change::Put(
        idx,
        Outstanding {
            record,
            generation: row.get(2)?,
            attempts: row.get(3)?,
            phase,
            last_error: row.get(6)?,
        },
    ))
}
