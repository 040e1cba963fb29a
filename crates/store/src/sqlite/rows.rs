//! Log rows by index.

use bytes::Bytes;
use headrace_model::{LaneNo, RecordId, StreamId, SyncId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Tx, corrupt};
use super::keys;
use super::streams::{row_id, split_row_id};
use super::sums::Entry;
use crate::Row;

/// What an entry is ([`read`]).
pub(super) const COLUMNS: &str = "id, lane, record, kind, upstream_id, upstream_created_at,
    upstream_updated_at, inserted_at, updated_at, data, sum";

/// The kind of what stands in the log for a record that was taken out.
pub(super) const PURGE: i64 = 2;

/// Rows that were read, as far as the byte limit let.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order they were asked for. Those that have left the log are missing.
    pub(super) rows: Vec<Row>,
    /// How many of the indexes asked for were looked at; the limit stopped the rest.
    pub(super) looked_at: usize,
}

/// How many bytes of data may still be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// So many.
    pub(super) bytes: usize,
    /// The first row is read whatever its size.
    pub(super) at_least_one: bool,
}

/// Reads the rows at these indexes of the stream with this number.
pub(super) fn at(db: &Connection, stream: i64, indexes: &[u64], room: Room) -> Tx<Found> {
    match indexes {
        [first, .., last] if dense(indexes) => scan(
            db,
            row_id(stream, *first),
            row_id(stream, *last),
            indexes,
            room,
        ),
        _ => pick(db, stream, indexes, room),
    }
}

/// The current entry of a record.
pub(super) fn of_record(db: &Connection, stream: StreamId, record: RecordId) -> Tx<Option<Row>> {
    let no: Option<i64> = db
        .prepare_cached("select no from stream where id = ?")?
        .query_row([stream.0.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(no) = no else {
        return Ok(None);
    };
    match keys::find(db, no, record)? {
        Some(key) => one(db, row_id(no, key.known.idx)),
        None => Ok(None),
    }
}

/// The upstream ids of what is live below a parent.
pub(super) fn children(
    db: &Connection,
    stream: StreamId,
    sync: SyncId,
    collection: &str,
    parent: &str,
) -> Tx<Vec<String>> {
    let mut query = db.prepare_cached(
        "select log.upstream_id from stream
         join lane on lane.stream = stream.no and lane.sync = ?2 and lane.collection = ?3
         join log on log.lane = lane.no and log.parent_id = ?4 and log.kind = 0
         where stream.id = ?1 order by log.id",
    )?;
    let found = query.query_map(
        params![stream.0.as_bytes(), sync.0.as_bytes(), collection, parent],
        |row| row.get(0),
    )?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn parent(db: &Connection, stream: StreamId, record: RecordId) -> Tx<Option<String>> {
    let sql = "select log.parent_id from stream join key on key.record = ?2
        join log on log.id = key.id and log.lane in (select no from lane where stream = stream.no)
        where stream.id = ?1";
    let mut query = db.prepare_cached(sql)?;
    let found = query.query_row(params![stream.0.as_bytes(), record.to_bytes()], |row| {
        row.get(0)
    });
    Ok(found.optional()?.flatten())
}

/// The index just before the first entry that was committed at `time` or later. Commit times never
/// decrease along a log, so halving finds it.
pub(super) fn position_before(db: &Connection, stream: StreamId, time: Timestamp) -> Tx<u64> {
    let found: Option<(i64, i64)> = db
        .prepare_cached("select no, last_idx from stream where id = ?")?
        .query_row([stream.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((no, last)) = found else {
        return Ok(0);
    };
    let last = last.cast_unsigned();
    let mut query = db.prepare_cached(
        "select id, updated_at from log where id between ? and ? order by id limit 1",
    )?;
    let mut first_after = |idx: u64, upto: u64| -> Tx<Option<(u64, i64)>> {
        let entry = query.query_row([row_id(no, idx + 1), row_id(no, upto)], |row| {
            Ok((split_row_id(row.get(0)?).1, row.get(1)?))
        });
        Ok(entry.optional()?)
    };
    // Every entry up to `early` is earlier; none after `late` is.
    let (mut early, mut late) = (0, last);
    while early < late {
        let middle = early + (late - early) / 2;
        match first_after(middle, late)? {
            Some((idx, at)) if at < time.as_micros() => early = idx,
            Some(_) | None => late = middle,
        }
    }
    let first = first_after(early, last)?;
    Ok(first.map_or(last, |(idx, _)| idx - 1))
}

/// Reads everything: an entry that is not what its checksum says is an error.
pub(super) fn verify_all(db: &Connection) -> Tx<()> {
    let sums = "select exists (select 1 from pragma_table_info('log') where name = 'sum')";
    let has_sums: bool = db.query_row(sums, [], |row| row.get(0))?;
    if !has_sums {
        return Ok(());
    }
    let mut query = db.prepare(&format!("select {COLUMNS} from log where kind < 2"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        read(row)?;
    }
    Ok(())
}

/// Reads all of an entry. Answers how many bytes it has.
pub(super) fn verify(row: &rusqlite::Row<'_>) -> rusqlite::Result<usize> {
    Ok(read(row)?.data.len())
}

fn dense(indexes: &[u64]) -> bool {
    let (Some(first), Some(last)) = (indexes.first(), indexes.last()) else {
        return false;
    };
    let span = last.saturating_sub(*first);
    span > 0 && span < indexes.len() as u64 * 2 && indexes.is_sorted()
}

fn scan(db: &Connection, first: i64, last: i64, indexes: &[u64], mut room: Room) -> Tx<Found> {
    let mut found = Found::default();
    let mut query = db.prepare_cached(&format!(
        "select {COLUMNS} from log where id between ? and ? order by id"
    ))?;
    let mut rows = query.query([first, last])?;
    let mut wanted = indexes.iter().copied().peekable();
    while let Some(row) = rows.next()? {
        let (_, idx) = split_row_id(row.get(0)?);
        while wanted.next_if(|missing| *missing < idx).is_some() {
            found.looked_at += 1;
        }
        if wanted.next_if_eq(&idx).is_none() {
            continue;
        }
        let row = read(row)?;
        if !room.takes(&row) {
            return Ok(found);
        }
        found.rows.push(row);
        found.looked_at += 1;
    }
    found.looked_at = indexes.len();
    Ok(found)
}

fn pick(db: &Connection, stream: i64, indexes: &[u64], mut room: Room) -> Tx<Found> {
    let mut found = Found::default();
    for idx in indexes {
        if let Some(row) = one(db, row_id(stream, *idx))? {
            if !room.takes(&row) {
                break;
            }
            found.rows.push(row);
        }
        found.looked_at += 1;
    }
    Ok(found)
}

/// The entry at this place, if there is one.
pub(super) fn one(db: &Connection, id: i64) -> Tx<Option<Row>> {
    let sql = format!("select {COLUMNS} from log where id = ?");
    Ok(db.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

impl Room {
    fn takes(&mut self, row: &Row) -> bool {
        let size = row.data.len();
        if size > self.bytes && !self.at_least_one {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(size);
        self.at_least_one = false;
        true
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let id = row.get(0)?;
    let kind: i64 = row.get(3)?;
    if ![0, 1].contains(&kind) {
        let (stream, idx) = split_row_id(id);
        let what = format!("entry {idx} of the log of stream {stream} is of no known kind: {kind}");
        return Err(corrupt(what));
    }
    let times: [Option<i64>; 4] = [row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?];
    let entry = Entry {
        record: row.get(2)?,
        lane: row.get(1)?,
        deleted: kind == 1,
        upstream_id: row.get_ref(4)?.as_bytes()?,
        times,
        data: row.get_ref(9)?.as_bytes()?,
    };
    entry.verify(id, row.get(10)?)?;
    let [
        upstream_created_at,
        upstream_updated_at,
        inserted_at,
        updated_at,
    ] = times.map(|time| time.map(Timestamp::from_micros));
    let (_, idx) = split_row_id(id);
    Ok(Row {
        idx,
        lane: LaneNo(entry.lane),
        record: RecordId::from_bytes(entry.record),
        deleted: entry.deleted,
        upstream_id: row.get(4)?,
        upstream_created_at,
        upstream_updated_at,
        inserted_at: inserted_at.unwrap_or_default(),
        updated_at: updated_at.unwrap_or_default(),
        data: Bytes::copy_from_slice(entry.data),
    })
}
