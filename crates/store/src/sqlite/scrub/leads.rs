//! What leads to entries of the log, looked at the other way round: where it leads to, an entry was lost if
//! there is none.

use rusqlite::{Connection, OptionalExtension, params};

use super::entries::{finds, place};
use crate::sqlite::error::{Fault, Tx, corrupt};

/// So many are read at once: a few milliseconds.
const STEP: u32 = 1_000;

const ENTRY: &str = "select 1 from log where id = ? and record = ?";
const PURGED: &str = "select 1 from log not indexed where id = ? and kind = 2";
const CHILD: &str = "select 1 from log not indexed where id = ? and lane = ? and parent_id = ?";

/// Reads keys behind this one. Answers the last of them, unless there are no more.
pub(super) fn keys(db: &Connection, after: Option<&[u8; 16]>) -> Tx<Option<[u8; 16]>> {
    let sql = "select record, id from key where record > ? order by record limit ?";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![after.map_or(&[][..], |after| after), STEP])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (record, id): ([u8; 16], i64) = (row.get(0)?, row.get(1)?);
        if Some(&record) <= last.as_ref().or(after) {
            return Err(corrupt(format!("table key: {} is not in its order", place(id))).into());
        }
        if !finds(db, ENTRY, params![id, record])? {
            return Err(lost(id, "table key"));
        }
        last = Some(record);
    }
    Ok(last)
}

/// The same of records that were taken out.
pub(super) fn purges(db: &Connection, after: i64) -> Tx<Option<i64>> {
    let sql =
        "select id from log indexed by log_purge where kind = 2 and id > ? order by id limit ?";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![after, STEP])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if id <= last.unwrap_or(after) || !finds(db, PURGED, params![id])? {
            return Err(lost(id, "index log_purge"));
        }
        last = Some(id);
    }
    Ok(last)
}

/// Looks at the first of the children, so that their index is looked at where there are none. All others are
/// looked for from the log.
pub(super) fn first_child(db: &Connection) -> Tx<()> {
    let sql = "select id, lane, parent_id from log indexed by log_parent
        where parent_id is not null order by lane, parent_id limit 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let first: Option<(i64, i64, String)> = db.query_row(sql, [], read).optional()?;
    match first {
        Some((id, lane, parent)) if !finds(db, CHILD, params![id, lane, parent])? => {
            Err(lost(id, "index log_parent"))
        }
        _ => Ok(()),
    }
}

fn lost(id: i64, from: &str) -> Fault {
    let place = place(id);
    corrupt(format!("{from} leads to {place}, which is not in the log")).into()
}
