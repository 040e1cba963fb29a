//! Backups: a copy of the database as it is at one instant, made beside the writer.
//!
//! The consumers' journal is written into the database first; then a reader copies its snapshot, a few
//! pages at a time. While it reads, the write-ahead log cannot be started over: it grows by what is
//! written meanwhile, and a copy that takes too long for that is given up. So is one that would leave no
//! room for that, or that nobody waits for any more.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use headrace_model::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::error::{Fault, Tx, backend, io_error};
use super::pool::Pool;
use super::{SqliteStore, off_runtime, opening, restore};
use crate::draft::{Draft, remove, with_ending};
use crate::{Result, StoreError};

/// The table that only backups have: when it was made. The first start of the restored database
/// takes it out again.
pub(super) const MARK: &str = "backup";
const ACTION: &str = "back the database up";
/// Pages that are copied before anything else is looked at: 1 MiB.
const STEP: i32 = 256;
/// Steps between syncs of the copy. Without them, the sync of a commit could have to wait for all of
/// the copy to reach the disk.
const STEPS_BETWEEN_SYNCS: u32 = 8;
/// By so many bytes the write-ahead log may grow before a backup is given up.
const LOG_TOO_LONG: u64 = 8 << 30;
/// Bytes that a copy leaves free for everybody else.
const TO_SPARE: u64 = 64 << 20;

impl SqliteStore {
    /// Makes a backup.
    pub(super) async fn copy_to(&self, to: &Path, now: Timestamp) -> Result<()> {
        self.check_open()?;
        if to.symlink_metadata().is_ok() {
            return Err(exists(to));
        }
        // Acknowledgements that were answered are in the journal.
        self.write_journalled().durable().await?;
        let (place, pool) = (to.to_owned(), Arc::clone(&self.readers));
        // Dropped with this call, also when its caller waits no longer.
        let caller = Arc::new(());
        let waiting = Arc::downgrade(&caller);
        let copying = {
            let (place, pool, waiting) = (place.clone(), Arc::clone(&pool), Weak::clone(&waiting));
            move |db: &Connection| copy(db, &place, now, &pool, &waiting)
        };
        let draft = self.readers.read(ACTION, copying).await?;
        // The snapshot has ended: the write-ahead log can be started over meanwhile.
        off_runtime(ACTION, move || finish(draft, &place, &pool, &waiting)).await?
    }
}

/// Gives a copy its name, if it could be restored: one that could not is worse than none.
fn finish(draft: Draft, place: &Path, pool: &Arc<Pool>, waiting: &Weak<()>) -> Result<()> {
    let failed = |error| io_error("write the backup", error);
    let is_given_up = {
        let (pool, waiting) = (Arc::clone(pool), Weak::clone(waiting));
        move || pool.is_closed() || waiting.strong_count() == 0
    };
    match restore::check_copy(draft.path(), place, is_given_up.clone()) {
        Err(_) if is_given_up() => return Err(StoreError::Closed),
        // Where that comes from, the copy does not tell: of the database it says nothing.
        Err(StoreError::BrokenBackup { source, .. }) => {
            let why = "the copy is damaged, by its disk or because the data is";
            return Err(backend(ACTION, format!("{why}: {source}")));
        }
        checked => checked?,
    }
    draft.finish().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(place),
        _ => failed(error),
    })?;
    // Whoever goes from now on finds the file.
    if waiting.strong_count() == 0 {
        remove(place).map_err(failed)?;
    }
    Ok(())
}

fn copy(
    snapshot: &Connection,
    place: &Path,
    now: Timestamp,
    pool: &Pool,
    waiting: &Weak<()>,
) -> Tx<Draft> {
    let failed = |error| io_error("write the backup", error);
    let mut draft = Draft::begin(place).map_err(failed)?;
    let log = snapshot
        .path()
        .map(|path| PathBuf::from(format!("{path}-wal")));
    let log_len = || log.as_ref().and_then(|log| log.metadata().ok());
    let begun_at = log_len().map_or(0, |log| log.len());
    let mut copy = open(draft.path()).map_err(of_the_copy)?;
    // Begins the snapshot: without it every step would have one of its own.
    snapshot.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    let number = |of: &str| snapshot.query_row(of, [], |row| row.get::<_, u32>(0));
    let page_size = number("pragma page_size")?;
    let bytes = |pages: u32| u64::from(page_size) * u64::from(pages);
    check_room(&draft, bytes(number("pragma page_count")?))?;
    {
        let copying = Backup::new(snapshot, &mut copy)?;
        let mut steps = 0;
        loop {
            let step = copying.step(STEP).map_err(of_the_copy)?;
            if pool.is_closed() || waiting.strong_count() == 0 {
                tracing::debug!("a backup was given up: nobody waits for it any more");
                return Err(StoreError::Closed.into());
            }
            match step {
                StepResult::Done => break,
                StepResult::More => steps += 1,
                held => return Err(backend(ACTION, format!("the copy is {held:?}")).into()),
            }
            if steps % STEPS_BETWEEN_SYNCS == 0 {
                draft.file().sync_data().map_err(failed)?;
                let rest = u32::try_from(copying.progress().remaining).unwrap_or(0);
                check_room(&draft, bytes(rest))?;
            }
            let grown = log_len().map_or(0, |log| log.len().saturating_sub(begun_at));
            if grown > LOG_TOO_LONG {
                return Err(StoreError::Overtaken.into());
            }
        }
    }
    mark(&copy, now).map_err(of_the_copy)?;
    end(copy, draft.path()).map_err(of_the_copy)?;
    Ok(draft)
}

/// Refuses to write so many more bytes where others would run out of room.
fn check_room(draft: &Draft, bytes: u64) -> Tx<()> {
    let free = draft
        .room()
        .map_err(|error| io_error("see how much room there is for the backup", error))?;
    let needed = bytes.saturating_add(TO_SPARE);
    match free < needed {
        true => Err(StoreError::NoRoom { needed, free }.into()),
        false => Ok(()),
    }
}

/// What is wrong with the copy says nothing of the database.
fn of_the_copy(fault: impl Into<Fault>) -> Fault {
    match fault.into().during(ACTION) {
        StoreError::Damaged { .. } | StoreError::DiskFailed => {
            backend(ACTION, "the disk of the copy failed").into()
        }
        error => error.into(),
    }
}

/// Opens the copy that is being made. It is worth nothing before it is whole, so nothing is synced and
/// no journal is kept.
fn open(path: &Path) -> Tx<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.pragma_update(None, "locking_mode", "exclusive")?;
    db.pragma_update(None, "synchronous", "off")?;
    db.pragma_update(None, "journal_mode", "off")?;
    db.pragma_update(None, "cache_size", STEP)?;
    Ok(db)
}

fn mark(copy: &Connection, now: Timestamp) -> Tx<()> {
    copy.execute_batch(&format!("create table {MARK} (made_at integer not null)"))?;
    copy.execute(
        &format!("insert into {MARK} (made_at) values (?)"),
        params![now.as_micros()],
    )?;
    // The database's log is not to be taken for the copy's.
    opening::give_number(copy)
}

/// Closes the copy. Its header says that it has a log, as the database has: what `SQLite` cannot move
/// out of that it keeps to itself when it closes.
fn end(copy: Connection, place: &Path) -> Tx<()> {
    let is_busy: bool = copy.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    copy.close().map_err(|(_, error)| error)?;
    if is_busy || with_ending(place, "-wal").exists() {
        return Err(backend(ACTION, "the end of the copy could not be written").into());
    }
    Ok(())
}

/// Removes what `SQLite` keeps beside a database, of one that is none yet.
pub(super) fn remove_companions(database: &Path) -> std::io::Result<()> {
    let mut endings = ["-wal", "-shm"].into_iter();
    endings.try_for_each(|ending| remove(&with_ending(database, ending)))
}

fn exists(to: &Path) -> StoreError {
    StoreError::Exists {
        path: to.display().to_string(),
    }
}
