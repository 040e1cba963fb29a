//! Forward-only migrations. What was applied is remembered with its checksum.

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::error::{FILE, Tx};
use crate::StoreError;

/// Applied in order; the version is the place in this list, from 1. Never edit one that was released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../../migrations/0001_first.sql")),
    ("parents", include_str!("../../migrations/0002_parents.sql")),
    (
        "retention",
        include_str!("../../migrations/0003_retention.sql"),
    ),
    ("redrive", include_str!("../../migrations/0004_redrive.sql")),
    ("tidy", include_str!("../../migrations/0005_tidy.sql")),
    ("journal", include_str!("../../migrations/0006_journal.sql")),
    ("live", include_str!("../../migrations/0007_live.sql")),
    ("open", include_str!("../../migrations/0008_open.sql")),
    (
        "dead order",
        include_str!("../../migrations/0009_dead_order.sql"),
    ),
    (
        "open before",
        include_str!("../../migrations/0010_open_before.sql"),
    ),
    ("sums", include_str!("../../migrations/0011_sums.sql")),
];

/// Brings the schema up to date, in one transaction.
pub(super) fn migrate(db: &mut Connection) -> Tx<()> {
    migrate_by(db, MIGRATIONS)
}

/// Whether this version knows the schema; nothing is changed.
pub(super) fn check(db: &Connection) -> Tx<()> {
    check_by(db, MIGRATIONS)
}

fn check_by(db: &Connection, migrations: &[(&str, &str)]) -> Tx<()> {
    let newest = "select coalesce(max(version), 0) from schema_migration";
    let found: i64 = db.query_row(newest, [], |row| row.get(0))?;
    let known = migrations.len() as i64;
    match found > known {
        true => Err(StoreError::TooNew { found, known }.into()),
        false => Ok(()),
    }
}

fn migrate_by(db: &mut Connection, migrations: &[(&str, &str)]) -> Tx<()> {
    let tx = db.transaction()?;
    tx.execute_batch(
        "create table if not exists schema_migration (
            version integer primary key,
            name text not null,
            checksum blob not null,
            applied_at integer not null
        )",
    )?;
    check_by(&tx, migrations)?;
    for (version, (name, sql)) in (1_i64..).zip(migrations) {
        apply(&tx, version, name, sql)?;
    }
    tx.commit()?;
    Ok(())
}

fn apply(db: &Connection, version: i64, name: &str, sql: &str) -> Tx<()> {
    let checksum: [u8; 32] = Sha256::digest(sql).into();
    let applied: Option<[u8; 32]> = db
        .query_row(
            "select checksum from schema_migration where version = ?",
            [version],
            |row| row.get(0),
        )
        .optional()?;
    match applied {
        Some(applied) if applied == checksum => Ok(()),
        Some(_) => {
            let what =
                format!("{FILE}: migration {version} ({name}) is not the one that was applied");
            Err(StoreError::Damaged { what }.into())
        }
        None => {
            db.execute_batch(sql)?;
            db.execute(
                "insert into schema_migration (version, name, checksum, applied_at)
                 values (?, ?, ?, cast(unixepoch('subsec') * 1000000 as integer))",
                params![version, name, checksum],
            )?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_from_before_parents_stay_and_have_none() {
        let mut db = Connection::open_in_memory().unwrap();
        assert!(migrate_by(&mut db, &MIGRATIONS[..1]).is_ok());
        db.execute_batch(
            "insert into log (id, lane, record, kind, upstream_id, inserted_at, updated_at, data)
             values (7, 1, x'00', 0, 'a', 0, 0, x'7b7d')",
        )
        .unwrap();
        assert!(migrate(&mut db).is_ok());
        assert!(migrate(&mut db).is_ok(), "a second time does nothing");
        let entry: (String, Option<String>) = db
            .query_row("select upstream_id, parent_id from log", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(entry, ("a".to_owned(), None));
    }
}
