//! The log, entry by entry: each is what was stored, in its order, and in the indexes that lead to it. A
//! page that was written over another is whole in itself. What was there before is missing then, in the
//! order of the log or in an index.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sqlite::error::{Fault, Tx, corrupt, is_damage};
use crate::sqlite::rows::{self, COLUMNS, PURGE};
use crate::sqlite::streams::split_row_id;

/// So many entries and bytes are read at once: a few milliseconds.
const STEP: (usize, usize) = (1_000, 4 << 20);

/// Reads entries behind this one. Answers the last of them, or that there are no more.
pub(super) fn read(db: &Connection, after: i64) -> Tx<Option<i64>> {
    step(db, after).map_err(|fault| match fault {
        Fault::Sql(error) if is_damage(&error) => {
            corrupt(format!("table log, behind {}: {error}", place(after))).into()
        }
        fault => fault,
    })
}

fn step(db: &Connection, after: i64) -> Tx<Option<i64>> {
    let sql = format!("select {COLUMNS}, parent_id from log where id > ? order by id");
    let mut query = db.prepare_cached(&sql)?;
    let mut found = query.query([after])?;
    let mut ids: Vec<i64> = Vec::new();
    let mut looked_at = 0;
    let mut rest = ControlFlow::Break(());
    while let Some(row) = found.next()? {
        let id = row.get(0)?;
        if id <= *ids.last().unwrap_or(&after) {
            return Err(corrupt(format!("{} is not in its order", place(id))).into());
        }
        looked_at += look_at(db, id, row)?;
        ids.push(id);
        if ids.len() == STEP.0 || looked_at >= STEP.1 {
            rest = ControlFlow::Continue(id);
            break;
        }
    }
    // From the end back, which another way through the tree leads to.
    let end = rest.continue_value();
    let back = "select id from log where id <= ? order by id desc limit ?";
    let mut query = db.prepare_cached(back)?;
    let more = i64::try_from(ids.len())
        .unwrap_or(i64::MAX)
        .saturating_add(1);
    let mut back = query.query(params![end.unwrap_or(i64::MAX), more])?;
    for id in ids.iter().rev() {
        let there = back.next()?.map(|row| row.get::<_, i64>(0)).transpose()?;
        if there != Some(*id) {
            return Err(corrupt(format!("{} is not in its order", place(*id))).into());
        }
    }
    match back.next()?.map(|row| row.get::<_, i64>(0)).transpose()? {
        Some(id) if id > after => Err(corrupt(format!("{} is passed over", place(id))).into()),
        _ => Ok(end),
    }
}

/// Reads all of an entry, and looks for it where it has to be found. Answers how many bytes it has.
fn look_at(db: &Connection, id: i64, row: &Row<'_>) -> Tx<usize> {
    let (lane, kind): (i64, i64) = (row.get(1)?, row.get(3)?);
    let parent: Option<String> = row.get(11)?;
    if parent.is_some() && !finds(db, BELOW, params![lane, parent, id])? {
        return Err(missing(id, "index log_parent"));
    }
    if kind == PURGE {
        return match finds(db, PURGED, params![id])? {
            true => Ok(0),
            false => Err(missing(id, "index log_purge")),
        };
    }
    let bytes = rows::verify(row)?;
    let (stream, _) = split_row_id(id);
    let record: [u8; 16] = row.get(2)?;
    let known = db
        .prepare_cached(KEYED)?
        .query_row([record], |key| {
            // All of it.
            (1..6).try_for_each(|column| key.get_ref(column).map(drop))?;
            key.get(0)
        })
        .optional()?;
    // A key of another stream is what a dropped log has left behind.
    let is_kept = known.is_some_and(|known: i64| known == id || split_row_id(known).0 != stream);
    if !is_kept && !finds(db, DROPPED, params![stream])? {
        return Err(missing(id, "table key"));
    }
    Ok(bytes)
}

const BELOW: &str =
    "select 1 from log indexed by log_parent where lane = ? and parent_id = ? and id = ?";
const PURGED: &str = "select 1 from log indexed by log_purge where kind = 2 and id = ?";
const KEYED: &str =
    "select id, lane, hash, deleted, version_kind, version from key where record = ?";
const DROPPED: &str = "select 1 from dropped_stream where no = ?";

pub(super) fn finds(db: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Tx<bool> {
    Ok(db.prepare_cached(sql)?.exists(params)?)
}

fn missing(id: i64, from: &str) -> Fault {
    corrupt(format!("{} is missing from {from}", place(id))).into()
}

pub(super) fn place(id: i64) -> String {
    let (stream, idx) = split_row_id(id.max(0));
    format!("entry {idx} of stream {stream}")
}
