//! Looking through all of the database beside other work: a start does not read all of a large one, and
//! damage to what nobody reads would stay there until the backups that are whole are gone.
//!
//! The log is read in steps, entry by entry, each on a snapshot of its own: one for all of it would keep
//! the write-ahead log from being emptied. Other tables, which are small beside it, are read whole.

use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OptionalExtension, ffi};

use super::SqliteStore;
use super::error::Tx;
use super::rows;
use crate::{Result, StoreError};

/// So many entries and bytes are read at once: a few milliseconds.
const STEP: (u32, usize) = (1_000, 4 << 20);
/// And so long nothing is read then: others have nine tenths of a processor, and of the disk.
const PAUSE: Duration = Duration::from_millis(30);

impl SqliteStore {
    /// Looks all of it through, unless the store is closed meanwhile.
    pub(super) async fn scrub(&self) -> Result<()> {
        match self.look_at_all().await {
            Err(StoreError::Closed) => Ok(()),
            looked => looked,
        }
    }

    async fn look_at_all(&self) -> Result<()> {
        const ACTION: &str = "look through the database";
        for table in self.readers.read(ACTION, tables).await? {
            let check = move |db: &Connection| check_table(db, &table);
            self.readers.read(ACTION, check).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let mut after = Some(i64::MIN);
        while let Some(from) = after {
            let verify = move |db: &Connection| verify(db, from);
            after = self.readers.read(ACTION, verify).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// All but the log.
fn tables(db: &Connection) -> Tx<Vec<String>> {
    let mut query =
        db.prepare("select name from sqlite_schema where type = 'table' and name <> 'log'")?;
    let names = query.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// The next entries of the log. Answers behind which one to go on. Where they cannot be read, it is told
/// what is wrong with the log, and where.
fn verify(db: &Connection, after: i64) -> Tx<Option<i64>> {
    let verified = rows::verify_after(db, after, STEP);
    if verified.is_err() {
        check_table(db, "log")?;
    }
    verified
}

fn check_table(db: &Connection, name: &str) -> Tx<()> {
    let check = "select quick_check from pragma_quick_check(?)";
    let found: Option<String> = db.query_row(check, [name], |row| row.get(0)).optional()?;
    match found.as_deref() {
        None | Some("ok") => Ok(()),
        Some(found) => {
            let size: u32 = db.query_row("pragma page_size", [], |row| row.get(0))?;
            let place = page(found)
                .map(|page| format!("at byte {}, ", page.saturating_sub(1) * u64::from(size)));
            let what = format!("{}table {name}: {found}", place.unwrap_or_default());
            let code = ffi::Error {
                code: ErrorCode::DatabaseCorrupt,
                extended_code: ffi::SQLITE_CORRUPT,
            };
            Err(Error::SqliteFailure(code, Some(what)).into())
        }
    }
}

/// The page that is named: `Tree 12 page 34 cell 5: …`.
fn page(found: &str) -> Option<u64> {
    let (_, behind) = found.split_once(" page ")?;
    let digits = behind
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}
