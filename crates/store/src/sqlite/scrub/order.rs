//! What grows with the records, read in its order: a page that was written over another is whole in itself,
//! and only tells by what comes before it.

use rusqlite::{Connection, Row, Rows, params};

use crate::sqlite::error::{Fault, Tx, corrupt, is_damage};
use crate::sqlite::rows::{self, COLUMNS};
use crate::sqlite::streams::split_row_id;

/// So many rows and bytes are read at once: a few milliseconds.
const STEP: (u32, usize) = (1_000, 4 << 20);

/// Reads all of each entry.
pub(super) fn entries(db: &Connection, from: &i64) -> Tx<Option<i64>> {
    let sql = format!("select {COLUMNS} from log where id >= ? order by id limit ?");
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query(params![from, STEP.0])?;
    let entries = in_order(rows, from, "table log", |row| {
        Ok((row.get(0)?, rows::verify(row)?))
    });
    entries.map_err(|fault| behind(fault, *from))
}

/// Damage as `SQLite` itself notices it, with the entry behind which it is.
fn behind(fault: Fault, from: i64) -> Fault {
    let (stream, idx) = split_row_id(from.max(0));
    match fault {
        Fault::Sql(error) if is_damage(&error) => corrupt(format!(
            "table log, behind entry {idx} of stream {stream}: {error}"
        ))
        .into(),
        fault => fault,
    }
}

/// A place in the index of parents: lane, parent and row.
type Child = (i64, String, i64);

/// Reads the index of parents: what is left of one, then what is behind it. Both can be found in the index.
pub(super) fn parents(db: &Connection, from: &Child) -> Tx<Option<Child>> {
    let rest = "select lane, parent_id, id from log indexed by log_parent
        where lane = ? and parent_id = ? and id >= ? order by id limit ?";
    let behind = "select lane, parent_id, id from log indexed by log_parent
        where parent_id is not null and (lane, parent_id) > (?, ?)
        order by lane, parent_id, id limit ?";
    let (lane, parent, id) = from;
    let child = |row: &Row<'_>| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), 0));
    let mut query = db.prepare_cached(rest)?;
    let rows = query.query(params![lane, parent, id, STEP.0])?;
    if let Some(last) = in_order(rows, from, "index log_parent", child)? {
        return Ok(Some(last));
    }
    let mut query = db.prepare_cached(behind)?;
    let rows = query.query(params![lane, parent, STEP.0])?;
    in_order(rows, from, "index log_parent", child)
}

/// Reads the index of purges.
pub(super) fn purges(db: &Connection, from: &i64) -> Tx<Option<i64>> {
    let sql =
        "select id from log indexed by log_purge where kind = 2 and id >= ? order by id limit ?";
    let mut query = db.prepare_cached(sql)?;
    let rows = query.query(params![from, STEP.0])?;
    in_order(rows, from, "index log_purge", |row| Ok((row.get(0)?, 0)))
}

/// Reads all of each key.
pub(super) fn keys(db: &Connection, from: &Vec<u8>) -> Tx<Option<Vec<u8>>> {
    let sql = "select record, id, lane, hash, deleted, version_kind, version from key
        where record >= ? order by record limit ?";
    let mut query = db.prepare_cached(sql)?;
    let rows = query.query(params![from, STEP.0])?;
    in_order(rows, from, "table key", |row| {
        for column in 1..7 {
            row.get_ref(column)?;
        }
        Ok((row.get(0)?, 0))
    })
}

/// Reads rows from a place on, each with where it is and its bytes. The row of the place itself is read
/// again, if it is still there: so no step begins at a page, and each is compared with the one before it.
fn in_order<P: PartialOrd>(
    mut rows: Rows<'_>,
    from: &P,
    what: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<(P, usize)>,
) -> Tx<Option<P>> {
    let (mut last, mut looked_at) = (None, 0);
    while looked_at < STEP.1
        && let Some(row) = rows.next()?
    {
        let (at, bytes) = read(row)?;
        match &last {
            None if at == *from => continue,
            None if at > *from => {}
            Some(last) if at > *last => {}
            _ => return Err(corrupt(format!("{what}: what is stored is not in its order")).into()),
        }
        last = Some(at);
        looked_at += bytes;
    }
    Ok(last)
}
