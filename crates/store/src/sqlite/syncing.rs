//! What syncs keep beside the log: cursors, and the leases that fence them.

use std::sync::Arc;

use headrace_model::{SyncId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::error::Tx;
use crate::Fence;

/// The cursors of a sync, without its notes: `/` is followed by `0`.
pub(super) fn cursors(db: &Connection, sync: SyncId) -> Tx<Vec<(String, Vec<u8>)>> {
    let mut query = db.prepare_cached(
        "select collection, body from cursor where sync = ?1 and collection < '/'
         union all
         select collection, body from cursor where sync = ?1 and collection >= '0'
         order by collection",
    )?;
    let found = query.query_map([sync.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The notes whose names begin with this.
pub(super) fn notes(db: &Connection, sync: SyncId, beneath: &str) -> Tx<Vec<(String, Vec<u8>)>> {
    let mut query = db.prepare_cached(
        "select collection, body from cursor
         where sync = ?1 and collection >= ?2 and collection < ?2 || char(1114111)
         order by collection",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = query.query_map(params![sync.0.as_bytes(), beneath], read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Removes the notes whose names begin with this.
pub(super) fn drop_notes(db: &Connection, sync: SyncId, beneath: &str) -> Tx<()> {
    db.prepare_cached(
        "delete from cursor
         where sync = ?1 and collection >= ?2 and collection < ?2 || char(1114111)",
    )?
    .execute(params![sync.0.as_bytes(), beneath])?;
    Ok(())
}

/// Removes cursors of a sync.
pub(super) fn drop_cursors(db: &Connection, sync: SyncId, collection: Option<&str>) -> Tx<()> {
    match collection {
        Some(collection) => db
            .prepare_cached("delete from cursor where sync = ? and collection = ?")?
            .execute(params![sync.0.as_bytes(), collection])?,
        None => db
            .prepare_cached("delete from cursor where sync = ?")?
            .execute([sync.0.as_bytes()])?,
    };
    Ok(())
}

/// Takes or renews a lease. The fence grows whenever the owner changes, and is never used again.
pub(super) fn lease(
    db: &Connection,
    name: &str,
    owner: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Tx<Option<Fence>> {
    let held: Option<(Option<[u8; 16]>, i64)> = db
        .prepare_cached("select owner, until from lease where name = ?")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let own = Some(*owner.as_bytes());
    if let Some((holder, ends)) = held
        && holder != own
        && holder.is_some()
        && ends > now.as_micros()
    {
        return Ok(None);
    }
    let number: i64 = db
        .prepare_cached(
            "insert into lease (name, owner, fence, until) values (?1, ?2, 1, ?3)
             on conflict do update set fence = fence + (owner is not excluded.owner),
                 owner = excluded.owner, until = excluded.until
             returning fence",
        )?
        .query_row(params![name, own, until.as_micros()], |row| row.get(0))?;
    Ok(Some(Fence {
        name: Arc::from(name),
        number: number.cast_unsigned(),
    }))
}

/// Gives a lease back. Its row stays, so that the next fence is higher.
pub(super) fn release(db: &Connection, name: &str, owner: Uuid) -> Tx<()> {
    db.prepare_cached("update lease set owner = null where name = ? and owner = ?")?
        .execute(params![name, owner.as_bytes()])?;
    Ok(())
}
