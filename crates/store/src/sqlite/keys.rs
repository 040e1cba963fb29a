//! Keys: where a record's entry is, and what an append compares with.

use headrace_model::record::{Known, Version};
use headrace_model::{LaneNo, RecordId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Tx;
use super::streams::split_row_id;
use crate::Place;

/// What is known of a record of a stream.
pub(super) struct Key {
    /// Its lane.
    pub(super) lane: LaneNo,
    /// What it is compared by.
    pub(super) known: Known,
}

/// The key of a record of the stream with this number.
pub(super) fn find(db: &Connection, stream: i64, record: RecordId) -> Tx<Option<Key>> {
    let found = db
        .prepare_cached(
            "select id, lane, hash, deleted, version_kind, version from key where record = ?",
        )?
        .query_row([record.to_bytes()], |row| {
            let (no, idx) = split_row_id(row.get(0)?);
            let version: i64 = row.get(5)?;
            let own = row.get::<_, i64>(4)? == 0;
            let known = Known {
                idx,
                hash: u128::from_be_bytes(row.get(2)?),
                deleted: row.get(3)?,
                version: if own {
                    Version::Own(version)
                } else {
                    Version::Seen(Timestamp::from_micros(version))
                },
            };
            let lane = LaneNo(row.get(1)?);
            Ok((no, Key { lane, known }))
        })
        .optional()?;
    // A key of another stream is what a dropped log has left behind.
    Ok(found.and_then(|(no, key)| (no == stream).then_some(key)))
}

/// Where records of the stream with this number are.
pub(super) fn places(db: &Connection, stream: i64, records: &[RecordId]) -> Tx<Vec<Option<Place>>> {
    let place = |key: Key| Place {
        idx: key.known.idx,
        lane: key.lane,
        deleted: key.known.deleted,
    };
    let find = |record: &RecordId| Ok(find(db, stream, *record)?.map(place));
    records.iter().map(find).collect()
}

/// Points the record at its new entry.
pub(super) fn put(
    db: &Connection,
    record: RecordId,
    row: i64,
    lane: LaneNo,
    hash: u128,
    deleted: bool,
    version: Version,
) -> Tx<()> {
    let (version_kind, version) = stored(version);
    db.prepare_cached(
        "insert into key (record, id, lane, hash, deleted, version_kind, version)
         values (?, ?, ?, ?, ?, ?, ?)
         on conflict do update set id = excluded.id, lane = excluded.lane, hash = excluded.hash,
             deleted = excluded.deleted, version_kind = excluded.version_kind,
             version = excluded.version",
    )?
    .execute(params![
        record.to_bytes(),
        row,
        lane.0,
        hash.to_be_bytes(),
        deleted,
        version_kind,
        version,
    ])?;
    Ok(())
}

/// Remembers a newer version of the same content.
pub(super) fn raise(db: &Connection, record: RecordId, version: Version) -> Tx<()> {
    let (version_kind, version) = stored(version);
    db.prepare_cached("update key set version_kind = ?, version = ? where record = ?")?
        .execute(params![version_kind, version, record.to_bytes()])?;
    Ok(())
}

/// Forgets the record.
pub(super) fn remove(db: &Connection, record: RecordId) -> Tx<()> {
    db.prepare_cached("delete from key where record = ?")?
        .execute([record.to_bytes()])?;
    Ok(())
}

fn stored(version: Version) -> (i64, i64) {
    match version {
        Version::Own(own) => (0, own),
        Version::Seen(at) => (1, at.as_micros()),
    }
}
