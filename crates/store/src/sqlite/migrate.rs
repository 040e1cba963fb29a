//! Forward-only migrations. What was applied is remembered with its checksum.

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::error::{FILE, Tx};
use crate::StoreError;

/// Applied in order; the version is the place in this list, from 1. Never edit one that was released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../../migrations/0001_first.sql")),
    (
        "retention",
        include_str!("../../migrations/0004_retention.sql"),
    ),
];

/// Brings the schema up to date, in one transaction.
pub(super) fn migrate(db: &mut Connection) -> Tx<()> {
    let tx = db.transaction()?;
    tx.execute_batch(
        "create table if not exists schema_migration (
            version integer primary key,
            name text not null,
            checksum blob not null,
            applied_at integer not null
        )",
    )?;
    let known = MIGRATIONS.len() as i64;
    let found: i64 = tx.query_row(
        "select coalesce(max(version), 0) from schema_migration",
        [],
        |row| row.get(0),
    )?;
    if found > known {
        return Err(StoreError::TooNew { found, known }.into());
    }
    for (version, (name, sql)) in (1_i64..).zip(MIGRATIONS) {
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
