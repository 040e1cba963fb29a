//! Restoring a backup, and what the first start of a restored database does.
//!
//! What was written after the backup is gone, but workers, readers and their tokens remember it. Two
//! things must not be mistaken for each other because they have the same number: so the log, the
//! generations and the numbers of consumers go on above those that may have been given since.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headrace_model::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::backup::{MARK, remove_companions};
use super::error::{FILE, Fault, Tx, backend, io_error};
use super::lock::DirLock;
use super::streams::HIGHEST_IDX;
use super::{journal, migrate, off_runtime, rows, steps};
use crate::draft::{Draft, remove, remove_drafts, sync_directory_of};
use crate::{Kind, Result, StoreError};

/// A backup that was looked through and is about to become the database.
const RESTORED: &str = "headrace.db.restored";
/// Entries that may have been appended in each second since the backup, at most, and some more. A
/// fast machine appends a third of that; there is room for 2^40 in all.
const ENTRIES_PER_SECOND: u64 = 250_000;
const ENTRIES: u64 = 1_000_000;
/// After so many of `SQLite`'s operations it is asked whether somebody still waits for a backup.
const OPERATIONS: i32 = 10_000;
/// By so much clocks that are right differ.
const SKEW: Duration = Duration::from_secs(120);
const LONG_AGO: Duration = Duration::from_secs(30 * 86_400);
/// The same of generations and of new consumers.
const NUMBERS_PER_SECOND: u32 = 1;
const NUMBERS: u32 = 1_000;

/// Makes the backup the database in the directory.
pub(crate) async fn restore(directory: &Path, backup: &Path, replace: bool) -> Result<()> {
    let (directory, backup) = (directory.to_owned(), backup.to_owned());
    let restore = move || restore_blocking(&directory, &backup, replace);
    off_runtime("restore the backup", restore).await?
}

/// Looks a copy of a backup through. Nothing is left beside it.
pub(crate) async fn check(copy: &Path, backup: &Path) -> Result<()> {
    let (copy, backup) = (copy.to_owned(), backup.to_owned());
    let check = move || check_copy(&copy, &backup, || false);
    off_runtime("look through the backup", check).await?
}

fn restore_blocking(directory: &Path, backup: &Path, replace: bool) -> Result<()> {
    let mut source = File::open(backup).map_err(|error| backend("open the backup", error))?;
    if !replace && has_data(directory) {
        return Err(StoreError::NotEmpty {
            path: directory.display().to_string(),
        });
    }
    let _lock = DirLock::take(directory)?;
    let failed = |error| io_error("copy the backup into the data directory", error);
    let restored = directory.join(RESTORED);
    remove(&restored).map_err(failed)?;
    remove_drafts(&restored).map_err(failed)?;
    let mut draft = Draft::begin(&restored).map_err(failed)?;
    io::copy(&mut source, draft.file()).map_err(failed)?;
    check_copy(draft.path(), backup, || false)?;
    draft.finish().map_err(failed)?;
    finish(directory)
}

/// Looks a copy of a backup through, unless it is given up meanwhile. Nothing is left beside it.
pub(super) fn check_copy(
    copy: &Path,
    backup: &Path,
    is_given_up: impl FnMut() -> bool + Send + 'static,
) -> Result<()> {
    let checked = look_through(copy, is_given_up).map_err(|fault| why_not(fault, backup));
    remove_companions(copy).map_err(|error| io_error("look through the backup", error))?;
    checked
}

/// Whether the directory holds a store.
pub(crate) fn has_data(directory: &Path) -> bool {
    let log = format!("{FILE}-wal");
    let files = [FILE, &log, RESTORED].into_iter().chain(journal::FILES);
    let mut lengths = files.map(|name| fs::metadata(directory.join(name)).map_or(0, |of| of.len()));
    lengths.any(|length| length > 0)
}

/// Whether it is a backup of a version that is known, and whole.
fn look_through(file: &Path, is_given_up: impl FnMut() -> bool + Send + 'static) -> Tx<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(file, flags)?;
    // Some file systems share no memory.
    db.pragma_update(None, "locking_mode", "exclusive")?;
    db.progress_handler(OPERATIONS, Some(is_given_up))?;
    if made_at(&db)?.is_none() {
        let path = file.display().to_string();
        return Err(StoreError::NotABackup { path }.into());
    }
    migrate::check(&db)?;
    let found: String = db.query_row("pragma integrity_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => rows::verify_all(&db),
        _ => Err(StoreError::Damaged { what: found }.into()),
    }
}

fn why_not(fault: Fault, backup: &Path) -> StoreError {
    let path = backup.display().to_string();
    match fault.during("look through the backup") {
        StoreError::NotABackup { .. } => StoreError::NotABackup { path },
        error @ StoreError::Damaged { .. } => StoreError::BrokenBackup {
            path,
            source: error.into(),
        },
        error => error,
    }
}

/// When the backup was made; `None` where it is none.
pub(super) fn made_at(db: &Connection) -> Tx<Option<Timestamp>> {
    let is_backup: bool = db.query_row(
        "select exists (select 1 from sqlite_schema where type = 'table' and name = ?)",
        [MARK],
        |row| row.get(0),
    )?;
    if !is_backup {
        return Ok(None);
    }
    let made_at = db
        .query_row(&format!("select made_at from {MARK}"), [], |row| row.get(0))
        .optional()?;
    Ok(made_at.map(Timestamp::from_micros))
}

/// Puts a backup that was looked through in the database's place. Also what the next start does where
/// that was cut off.
pub(super) fn finish(directory: &Path) -> Result<()> {
    let restored = directory.join(RESTORED);
    remove_drafts(&restored)
        .map_err(|error| io_error("remove what a restore that was cut off left", error))?;
    if !restored.exists() {
        return Ok(());
    }
    let file = directory.join(FILE);
    let finish = || -> io::Result<()> {
        // They belong to the database that was there.
        remove_companions(&file)?;
        sync_directory_of(&file)?;
        fs::rename(&restored, &file)?;
        sync_directory_of(&file)
    };
    finish().map_err(|error| io_error("put the backup in the database's place", error))
}

/// The first start of a restored database: see above.
pub(super) fn settle(db: &mut Connection, directory: &Path) -> Tx<()> {
    let Some(made_at) = made_at(db)? else {
        return Ok(());
    };
    // What is in the journal was never on top of this database.
    forget_journal(directory)
        .map_err(|error| io_error("remove the journal of the replaced database", error))?;
    let tx = db.transaction()?;
    let now = "select cast(unixepoch('subsec') * 1000000 as integer)";
    let now = Timestamp::from_micros(tx.query_row(now, [], |row| row.get(0))?);
    let since = age(made_at, now).as_secs();
    let entries = ENTRIES.saturating_add(since.saturating_mul(ENTRIES_PER_SECOND));
    let seconds = u32::try_from(since).unwrap_or(u32::MAX);
    let numbers = NUMBERS.saturating_add(seconds.saturating_mul(NUMBERS_PER_SECOND));
    // The clock of where it was made may have been ahead.
    forget_deliveries(&tx, made_at.min(now), numbers)?;
    // Those without entries may have got some.
    tx.execute(
        "insert into stream (id, last_idx, last_updated_at, bytes)
         select id, 0, 0, 0 from object where kind = ? and id not in (select id from stream)",
        [Kind::Stream as u8],
    )?;
    tx.execute(
        "update stream set last_idx = last_idx + min(?, (? - last_idx) / 2)",
        [entries.cast_signed(), HIGHEST_IDX.cast_signed()],
    )?;
    tx.execute(
        "insert into sqlite_sequence (name, seq)
         select 'consumer', 0 where not exists (select 1 from sqlite_sequence where name = 'consumer')",
        [],
    )?;
    tx.execute(
        "update sqlite_sequence set seq = seq + ? where name = 'consumer'",
        [numbers],
    )?;
    tx.execute_batch(&format!("drop table {MARK}"))?;
    tx.commit()?;
    tracing::info!(%made_at, "a backup was restored: what workers had is delivered again");
    Ok(())
}

/// How old the backup may be. By a clock that was ahead it was made in the future, and nobody knows how
/// long ago that is.
fn age(made_at: Timestamp, now: Timestamp) -> Duration {
    match made_at.since(now) {
        Duration::ZERO => now.since(made_at),
        ahead if ahead < SKEW => SKEW,
        _ => LONG_AGO,
    }
}

fn forget_journal(directory: &Path) -> io::Result<()> {
    let files: Vec<PathBuf> = journal::FILES.map(|name| directory.join(name)).into();
    files.iter().try_for_each(|file| remove(file))?;
    files.first().map_or(Ok(()), |file| sync_directory_of(file))
}

/// What was with workers is due since then.
fn forget_deliveries(db: &Connection, due: Timestamp, generations: u32) -> Tx<()> {
    for id in steps::ids(db)? {
        let mut loaded = steps::load(db, id)?;
        let consumer = &mut loaded.machine;
        consumer.forget_deliveries(due, generations);
        let step = steps::Step {
            no: loaded.no,
            seq: loaded.seq,
            position: consumer.position(),
            generation: consumer.generation(),
            redriving: consumer.redriving(),
            changes: consumer.take_changes(),
        };
        steps::write(db, &step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_from_the_future_may_be_old() {
        let now = Timestamp::from_seconds(1_000_000);
        let day = Duration::from_secs(86_400);
        assert_eq!(age(now - day, now), day);
        assert_eq!(age(now, now), Duration::ZERO);
        assert_eq!(age(now + Duration::from_secs(1), now), SKEW);
        assert_eq!(age(now + day, now), LONG_AGO);
    }
}
