//! Looking through all of the database beside other work: a start does not read all of a large one, and
//! damage to what nobody reads would stay there until the backups that are whole are gone.
//!
//! What grows with the records is read in steps, each on a snapshot of its own: one for all of it would keep
//! the write-ahead log from being emptied. Other tables, which are small beside it, are read whole.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension, ffi, params};
use tokio::time::Instant;

use super::SqliteStore;
use super::error::{Fault, Tx, corrupt, is_damage};
use super::rows;
use super::streams::split_row_id;
use crate::{Result, StoreError};

const ACTION: &str = "look through the database";
/// So many entries and bytes are read at once: a few milliseconds.
const STEP: (u32, usize) = (1_000, 4 << 20);
/// Nothing is read then for so many times as long, this long at least: others have nine tenths of a
/// processor, and of the disk.
const REST: u32 = 9;
const PAUSE: Duration = Duration::from_millis(30);
/// How long after a failure that may pass it goes on.
const RETRY: Duration = Duration::from_secs(60);

/// Read in steps, with the indexes of the log.
const LARGE: [&str; 2] = ["log", "key"];

impl SqliteStore {
    /// Looks all of it through, unless the store is closed meanwhile.
    pub(super) async fn scrub(&self) -> Result<()> {
        let began = Instant::now();
        match self.look_at_all().await {
            Ok(()) => {
                let seconds = began.elapsed().as_secs();
                tracing::info!(seconds, "all stored data was looked through, and is whole");
                Ok(())
            }
            Err(StoreError::Closed) => Ok(()),
            Err(error) => {
                self.find_page().await;
                Err(error)
            }
        }
    }

    async fn look_at_all(&self) -> Result<()> {
        self.walk(None, |db, last: &Option<String>| {
            let next = next_table(db, last.as_deref())?;
            if let Some(table) = next.as_deref().filter(|name| !LARGE.contains(name)) {
                check_table(db, table)?;
            }
            Ok(next.map(Some))
        })
        .await?;
        self.walk(i64::MIN, |db, after| {
            rows::verify_after(db, *after, STEP).map_err(|fault| behind(fault, *after))
        })
        .await?;
        self.walk((i64::MIN, String::new(), i64::MIN), parents)
            .await?;
        self.walk(i64::MIN, purges).await?;
        self.walk(Vec::new(), keys).await
    }

    /// Takes one step after the other, each from the place that the one before answered. A failure that
    /// may pass ends nothing.
    async fn walk<P: Clone + Send + 'static>(
        &self,
        first: P,
        step: impl Fn(&Connection, &P) -> Tx<Option<P>> + Send + Sync + 'static,
    ) -> Result<()> {
        let step = Arc::new(step);
        let mut place = first;
        loop {
            let began = Instant::now();
            let (step, from) = (Arc::clone(&step), place.clone());
            match self.readers.read(ACTION, move |db| step(db, &from)).await {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => place = next,
                Err(error) if lasts(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the stored data cannot be looked through now; it is tried again"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
            tokio::time::sleep((began.elapsed() * REST).max(PAUSE)).await;
        }
    }

    /// Tells which page of the log is damaged. All of it is read for that, which takes as long as it takes.
    async fn find_page(&self) {
        let check = |db: &Connection| check_table(db, "log");
        if let Err(StoreError::Damaged { what }) = self.readers.read(ACTION, check).await {
            tracing::error!("the stored data is damaged: {what}");
        }
    }
}

/// Whether a failure is no matter of the moment.
fn lasts(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Damaged { .. } | StoreError::DiskFailed | StoreError::Closed
    )
}

/// Damage as `SQLite` itself notices it, with the entry behind which it is.
fn behind(fault: Fault, after: i64) -> Fault {
    let (stream, idx) = split_row_id(after.max(0));
    match fault {
        Fault::Sql(error) if is_damage(&error) => corrupt(format!(
            "table log, behind entry {idx} of stream {stream}: {error}"
        ))
        .into(),
        fault => fault,
    }
}

fn next_table(db: &Connection, last: Option<&str>) -> Tx<Option<String>> {
    let sql = "select name from sqlite_schema where type = 'table' and name > ? order by name";
    let next = db.query_row(sql, [last.unwrap_or_default()], |row| row.get(0));
    Ok(next.optional()?)
}

/// A place in the index of parents: lane, parent and row.
type Child = (i64, String, i64);

/// Reads entries of the index of parents.
fn parents(db: &Connection, (lane, parent, id): &Child) -> Tx<Option<Child>> {
    let sql = "select lane, parent_id, id from log indexed by log_parent
        where parent_id is not null and (lane, parent_id, id) > (?, ?, ?)
        order by lane, parent_id, id limit ?";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![lane, parent, id, STEP.0])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some((row.get(0)?, row.get(1)?, row.get(2)?));
    }
    Ok(last)
}

/// Reads entries of the index of purges.
fn purges(db: &Connection, after: &i64) -> Tx<Option<i64>> {
    let sql =
        "select id from log indexed by log_purge where kind = 2 and id > ? order by id limit ?";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![after, STEP.0])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
    }
    Ok(last)
}

/// Reads all of each key.
fn keys(db: &Connection, after: &Vec<u8>) -> Tx<Option<Vec<u8>>> {
    let sql = "select record, id, lane, hash, deleted, version_kind, version from key
        where record > ? order by record limit ?";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![after, STEP.0])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        for column in 1..7 {
            row.get_ref(column)?;
        }
        last = Some(row.get(0)?);
    }
    Ok(last)
}

/// Has `SQLite` look at a table.
fn check_table(db: &Connection, name: &str) -> Tx<()> {
    let check = "select quick_check from pragma_quick_check(?)";
    let found: Option<String> = db.query_row(check, [name], |row| row.get(0)).optional()?;
    match found.as_deref() {
        None | Some("ok") => Ok(()),
        // It could not read a page: that may pass, and says nothing of what is stored.
        Some(found) if found.contains("unable to get the page") => {
            let code = ffi::Error::new(ffi::SQLITE_IOERR);
            Err(Error::SqliteFailure(code, Some(found.to_owned())).into())
        }
        Some(found) => {
            let size: u32 = db.query_row("pragma page_size", [], |row| row.get(0))?;
            let place = page(found)
                .map(|page| format!("at byte {}, ", page.saturating_sub(1) * u64::from(size)));
            let what = format!("{}table {name}: {found}", place.unwrap_or_default());
            Err(corrupt(what).into())
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
