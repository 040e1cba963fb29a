//! Objects: rows with a revision, and the names they own.

use headrace_model::{OrgId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::Tx;
use crate::{Kind, Object, StoreError, Write};

const COLUMNS: &str = "id, org, revision, body, created_at, updated_at";

/// Carries one write out.
pub(super) fn write(db: &Connection, write: &Write) -> Tx<()> {
    match write {
        Write::Put(object) => put(db, object),
        Write::Delete { kind, id, revision } => {
            let removed = db
                .prepare_cached("delete from object where kind = ? and id = ? and revision = ?")?
                .execute(params![*kind as u8, id.as_bytes(), revision.cast_signed()])?;
            if removed == 0 {
                return Err(StoreError::Changed { kind: *kind }.into());
            }
            drop_names(db, *kind, *id)
        }
    }
}

/// One object.
pub(super) fn one(db: &Connection, kind: Kind, id: Uuid) -> Tx<Option<Object>> {
    let found = db
        .prepare_cached(&format!(
            "select {COLUMNS} from object where kind = ? and id = ?"
        ))?
        .query_row(params![kind as u8, id.as_bytes()], |row| object(kind, row))
        .optional()?;
    found.map(|object| with_names(db, object)).transpose()
}

/// The object that owns the name.
pub(super) fn named(db: &Connection, kind: Kind, org: OrgId, name: &str) -> Tx<Option<Object>> {
    match owner(db, kind, org, name)? {
        Some(id) => one(db, kind, id),
        None => Ok(None),
    }
}

/// A page of objects in the order of their ids.
pub(super) fn page(
    db: &Connection,
    kind: Kind,
    org: Option<OrgId>,
    after: Option<Uuid>,
    limit: usize,
) -> Tx<Vec<Object>> {
    let of_org = if org.is_some() {
        "org = ?2"
    } else {
        "?2 is null"
    };
    let mut query = db.prepare_cached(&format!(
        "select {COLUMNS} from object
         where kind = ?1 and {of_org} and id > ?3 order by id limit ?4"
    ))?;
    let org = org.map(|org| *org.0.as_bytes());
    // Every id sorts after the empty blob.
    let after = after
        .as_ref()
        .map_or(&[][..], |after| &after.as_bytes()[..]);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = query.query_map(params![kind as u8, org, after, limit], |row| {
        object(kind, row)
    })?;
    found.map(|object| with_names(db, object?)).collect()
}

fn put(db: &Connection, object: &Object) -> Tx<()> {
    let written = if object.revision == 0 {
        db.prepare_cached(
            "insert into object (kind, id, org, revision, body, created_at, updated_at)
             values (?, ?, ?, 1, ?, ?, ?) on conflict do nothing",
        )?
        .execute(params![
            object.kind as u8,
            object.id.as_bytes(),
            object.org.0.as_bytes(),
            object.body,
            object.created_at.as_micros(),
            object.updated_at.as_micros(),
        ])?
    } else {
        db.prepare_cached(
            "update object set org = ?, revision = revision + 1, body = ?, updated_at = ?
             where kind = ? and id = ? and revision = ?",
        )?
        .execute(params![
            object.org.0.as_bytes(),
            object.body,
            object.updated_at.as_micros(),
            object.kind as u8,
            object.id.as_bytes(),
            object.revision.cast_signed(),
        ])?
    };
    if written == 0 {
        return Err(StoreError::Changed { kind: object.kind }.into());
    }
    drop_names(db, object.kind, object.id)?;
    put_names(db, object)
}

fn put_names(db: &Connection, object: &Object) -> Tx<()> {
    for (place, name) in (0_i64..).zip(&object.names) {
        let added = db
            .prepare_cached(
                "insert into object_name (kind, org, name, id, place) values (?, ?, ?, ?, ?)
                 on conflict do nothing",
            )?
            .execute(params![
                object.kind as u8,
                object.org.0.as_bytes(),
                name,
                object.id.as_bytes(),
                place,
            ])?;
        if added == 0 && owner(db, object.kind, object.org, name)? != Some(object.id) {
            let (kind, name) = (object.kind, name.clone());
            return Err(StoreError::NameTaken { kind, name }.into());
        }
    }
    Ok(())
}

fn drop_names(db: &Connection, kind: Kind, id: Uuid) -> Tx<()> {
    db.prepare_cached("delete from object_name where kind = ? and id = ?")?
        .execute(params![kind as u8, id.as_bytes()])?;
    Ok(())
}

fn owner(db: &Connection, kind: Kind, org: OrgId, name: &str) -> Tx<Option<Uuid>> {
    let id = db
        .prepare_cached("select id from object_name where kind = ? and org = ? and name = ?")?
        .query_row(params![kind as u8, org.0.as_bytes(), name], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(id.map(Uuid::from_bytes))
}

fn with_names(db: &Connection, mut object: Object) -> Tx<Object> {
    let mut query =
        db.prepare_cached("select name from object_name where kind = ? and id = ? order by place")?;
    let names = query.query_map(params![object.kind as u8, object.id.as_bytes()], |row| {
        row.get(0)
    })?;
    object.names = names.collect::<Result<_, _>>()?;
    Ok(object)
}

fn object(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        kind,
        id: Uuid::from_bytes(row.get(0)?),
        org: OrgId(Uuid::from_bytes(row.get(1)?)),
        revision: row.get::<_, i64>(2)?.cast_unsigned(),
        names: Vec::new(),
        body: row.get(3)?,
        created_at: Timestamp::from_micros(row.get(4)?),
        updated_at: Timestamp::from_micros(row.get(5)?),
    })
}
