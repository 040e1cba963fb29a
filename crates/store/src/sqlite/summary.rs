//! The live sets on disk, so that opening does not read every key.
//!
//! Each transaction that changes a log adds one row with what came and went. When those are many, and
//! at the end, the writer writes down whole lanes and begins anew. Opening reads the lanes, and then
//! what changed since.

use std::collections::HashMap;

use headrace_model::LaneNo;
use roaring::RoaringTreemap;
use rusqlite::{Connection, params};

use super::error::{FILE, Tx};
use super::live::LiveSet;
use super::streams::{Delta, Move, Streams, split_row_id};
use crate::StoreError;

const OUT: u8 = 1;
const DELETED: u8 = 2;

/// By the stream's number, each with how many entries came and left since it was written down.
pub(super) type LiveSets = HashMap<i64, (LiveSet, usize)>;

/// Notes what a transaction changes. Part of it.
pub(super) fn note(db: &Connection, delta: &Delta) -> Tx<()> {
    if !delta.moves.is_empty() {
        db.prepare_cached("insert into live_change (stream, moves) values (?, ?)")?
            .execute(params![delta.no, write_moves(&delta.moves)])?;
    }
    Ok(())
}

/// Forgets a log that was dropped. Part of that transaction.
pub(super) fn forget(db: &Connection, stream: i64) -> Tx<()> {
    for table in ["live_change", "live_summary"] {
        db.execute(&format!("delete from {table} where stream = ?"), [stream])?;
    }
    Ok(())
}

/// Reads the live sets.
pub(super) fn load(db: &Connection) -> Tx<LiveSets> {
    let known: bool = db.query_row("select exists (select 1 from live_known)", [], |row| {
        row.get(0)
    })?;
    if !known {
        return load_from_keys(db);
    }
    let mut sets = LiveSets::new();
    let mut query =
        db.prepare("select stream, lane, last, present, tombstones from live_summary")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let lane = LaneNo(row.get(1)?);
        let present = bitmap(row.get_ref(3)?.as_blob().unwrap_or_default())?;
        let tombstones = bitmap(row.get_ref(4)?.as_blob().unwrap_or_default())?;
        let last = row.get::<_, i64>(2)?.cast_unsigned();
        let (set, _) = sets.entry(row.get(0)?).or_default();
        set.restore(lane, last, present, tombstones);
    }
    let mut query = db.prepare("select stream, moves from live_change order by no")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let moves = row.get_ref(1)?.as_blob().unwrap_or_default();
        let moves = read_moves(moves).ok_or_else(damaged)?;
        let (set, changes) = sets.entry(row.get(0)?).or_default();
        set.apply(&moves);
        *changes += moves.len();
    }
    Ok(sets)
}

/// Writes down what has changed. Part of a transaction of its own: what is in memory is what is
/// durable.
pub(super) fn write_down(db: &Connection, streams: &Streams) -> Tx<()> {
    for cell in streams.changed() {
        let log = cell.log();
        let Some(stream) = log.no else { continue };
        write_lanes(db, stream, &log.live)?;
        db.prepare_cached("delete from live_change where stream = ?")?
            .execute([stream])?;
    }
    Ok(())
}

fn write_lanes(db: &Connection, stream: i64, set: &LiveSet) -> Tx<()> {
    for (lane, last, present, tombstones) in set.changed() {
        db.prepare_cached(
            "insert or replace into live_summary (lane, stream, last, present, tombstones)
             values (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            lane.0,
            stream,
            last.cast_signed(),
            bytes(present),
            bytes(tombstones)
        ])?;
    }
    Ok(())
}

fn load_from_keys(db: &Connection) -> Tx<LiveSets> {
    let mut sets = LiveSets::new();
    let tx = db.unchecked_transaction()?;
    {
        let mut query = tx.prepare("select id, lane, deleted from key order by id")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (stream, idx) = split_row_id(row.get(0)?);
            let (set, _) = sets.entry(stream).or_default();
            set.insert(idx, LaneNo(row.get(1)?), row.get(2)?);
        }
        for (stream, (set, _)) in &mut sets {
            write_lanes(&tx, *stream, set)?;
            set.written_down();
        }
    }
    tx.execute("delete from live_change", [])?;
    tx.execute("insert into live_known (one) values (1)", [])?;
    tx.commit()?;
    Ok(sets)
}

fn bytes(bitmap: &RoaringTreemap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    // Writing to memory does not fail.
    drop(bitmap.serialize_into(&mut bytes));
    bytes
}

fn bitmap(bytes: &[u8]) -> Tx<RoaringTreemap> {
    Ok(RoaringTreemap::deserialize_from(bytes).map_err(|_unreadable| damaged())?)
}

fn damaged() -> StoreError {
    StoreError::Damaged {
        what: format!("{FILE}: what the logs hold cannot be read"),
    }
}

/// Runs of neighbours that came to one lane are one: flags, lane, first, how many.
fn write_moves(moves: &[Move]) -> Vec<u8> {
    let mut runs: Vec<(u8, u32, u64, u32)> = Vec::new();
    for change in moves {
        let (flags, lane, idx) = match *change {
            Move::In { idx, lane, deleted } => (u8::from(deleted) * DELETED, lane.0, idx),
            Move::Out { idx, lane, deleted } => (OUT | (u8::from(deleted) * DELETED), lane.0, idx),
        };
        match runs.last_mut() {
            Some((same, in_lane, first, count))
                if *same == flags && *in_lane == lane && *first + u64::from(*count) == idx =>
            {
                *count += 1;
            }
            _ => runs.push((flags, lane, idx, 1)),
        }
    }
    let mut out = Vec::with_capacity(runs.len() * 17);
    for (flags, lane, first, count) in runs {
        out.push(flags);
        out.extend(lane.to_le_bytes());
        out.extend(first.to_le_bytes());
        out.extend(count.to_le_bytes());
    }
    out
}

fn read_moves(mut bytes: &[u8]) -> Option<Vec<Move>> {
    let mut moves = Vec::new();
    while let Some((run, rest)) = bytes.split_first_chunk::<17>() {
        bytes = rest;
        let lane = LaneNo(u32::from_le_bytes(run[1..5].try_into().ok()?));
        let first = u64::from_le_bytes(run[5..13].try_into().ok()?);
        let count = u32::from_le_bytes(run[13..].try_into().ok()?);
        let deleted = run[0] & DELETED != 0;
        let is_out = run[0] & OUT != 0;
        moves.extend(
            (first..first.checked_add(u64::from(count))?).map(|idx| match is_out {
                true => Move::Out { idx, lane, deleted },
                false => Move::In { idx, lane, deleted },
            }),
        );
    }
    bytes.is_empty().then_some(moves)
}
