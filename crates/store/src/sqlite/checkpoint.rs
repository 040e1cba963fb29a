//! Moves what is in the write-ahead log into the database file, beside the writer.
//!
//! The log starts over when all of it was moved and nobody reads from it any more. Moving it takes
//! long, so a thread does that while the writer goes on; only the little that came meanwhile is moved
//! by the writer itself, which then starts the log over.
//!
//! `SQLite` syncs the database file only when all of the log was moved, which beside a writer is hardly
//! ever the case: the sync of everything would then be the writer's. So the thread syncs the file too.
//!
//! A sync that failed is not tried again: the system may have dropped what it could not write, and the
//! next sync would succeed without it. The log still has it, so the log stays for the next start.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{Tx, backend};
use super::health::Health;
use crate::draft::with_ending;

const PAGE: i64 = 4_096;
/// The length at which the log is moved, in pages.
const LONG: i64 = 16_384;
/// So few pages the writer moves itself.
const FEW: i64 = 512;
/// How often the thread moves what came while it moved the rest.
const PASSES: usize = 4;
/// How often the database file is synced while pages are moved into it.
const BETWEEN_SYNCS: Duration = Duration::from_millis(5);
/// Looking at the length is cheap, not free.
const COMMITS_BETWEEN_LOOKS: u32 = 8;
/// By so many bytes the log's file is cut off at a time: to give much of it back at once takes long.
const CUT: i64 = 32 << 20;
/// How long readers are waited for before the log starts over: short reads end within that.
const WAITING: Duration = Duration::from_millis(20);

/// Watches the log's length.
#[derive(Debug)]
pub(super) struct Checkpoints {
    commits: u32,
    long: i64,
    /// The length at which it is moved next.
    next: i64,
    log: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The database file, to be synced. To close it would take the locks on it away, so it has to
    /// stay open for as long as there is a connection.
    file: File,
    health: Health,
    wanted: AtomicBool,
    /// Only a little is left.
    moved: AtomicBool,
    ended: AtomicBool,
}

/// How long the log is.
#[derive(Clone, Copy, Debug)]
struct Length {
    pages: i64,
    moved: i64,
    /// It could not be done to the end, because of a reader.
    is_busy: bool,
}

impl Checkpoints {
    /// Sets the writer's connection up, and starts the thread on the database in `file`.
    pub(super) fn start(db: &Connection, file: &Path, health: Health) -> Tx<Self> {
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.busy_timeout(WAITING)?;
        let long = long();
        let log = with_ending(file, "-wal");
        let own = open(file)?;
        let shared = Arc::new(Shared {
            file: File::open(file).map_err(|error| backend("open the database file", error))?,
            health,
            wanted: AtomicBool::default(),
            moved: AtomicBool::default(),
            ended: AtomicBool::default(),
        });
        #[cfg(feature = "simulation")]
        if crate::simulation::machine().is_some() {
            return Ok(Self {
                commits: 0,
                long,
                next: i64::MAX,
                log,
                shared,
                thread: None,
            });
        }
        let moving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || moving.run(&own))
            .map_err(|error| backend("start the checkpoints", error))?;
        Ok(Self {
            commits: 0,
            long,
            next: long,
            log,
            shared,
            thread: Some(thread),
        })
    }

    /// Has a long log moved, and starts it over when it was: now and then.
    pub(super) fn after_commit(&mut self, db: &Connection) {
        self.commits += 1;
        if self.is_moving(db) || self.commits < COMMITS_BETWEEN_LOOKS {
            return;
        }
        self.look(db);
    }

    /// Whether the log is being moved. Starts it over when it was.
    pub(super) fn is_moving(&mut self, db: &Connection) -> bool {
        if self.shared.health.refusal().is_none() && self.shared.moved.swap(false, Ordering::SeqCst)
        {
            // Where somebody reads for long, such as a backup, it is for the next time.
            let log = checkpoint(db, "restart", &self.shared.health).filter(|log| log.is_busy);
            self.next = log.map_or(0, |log| log.pages) + self.long;
            self.cut(db);
            self.commits = 0;
        }
        self.shared.wanted.load(Ordering::SeqCst)
    }

    /// Has a long log moved.
    pub(super) fn look(&mut self, db: &Connection) {
        self.commits = 0;
        if self.shared.health.refusal().is_some() {
            return;
        }
        if checkpoint(db, "noop", &self.shared.health).is_some_and(|log| log.pages > self.next) {
            self.shared.wanted.store(true, Ordering::SeqCst);
            self.wake();
        }
    }

    /// Has the next commit give some of the file back that a log which had become very long left behind.
    /// What it usually grows to is kept: to let it grow again would cost at each sync.
    fn cut(&self, db: &Connection) {
        let Ok(file) = self.log.metadata() else {
            return;
        };
        let len = i64::try_from(file.len()).unwrap_or(i64::MAX);
        let limit = (len - CUT).max(4 * self.long * PAGE);
        if let Err(error) = db.pragma_update(None, "journal_size_limit", limit) {
            tracing::warn!(%error, "could not limit the write-ahead log's size");
        }
    }

    /// Moves everything into the database file, where that can be trusted.
    pub(super) fn at_end(&mut self, db: &Connection) {
        self.end();
        if self.shared.health.refusal().is_none() {
            checkpoint(db, "truncate", &self.shared.health);
        }
        if self.shared.health.refusal().is_some()
            && let Err(error) = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::error!(%error, "could not keep the write-ahead log for the next start");
        }
    }

    fn end(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpoints had panicked");
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, db: &Connection) {
        while !self.ended.load(Ordering::SeqCst) {
            if !self.wanted.load(Ordering::SeqCst) {
                std::thread::park();
                continue;
            }
            for _ in 0..PASSES {
                let log = self.pass(db);
                if log.is_none_or(|log| log.pages - log.moved < FEW) {
                    break;
                }
            }
            self.moved.store(true, Ordering::SeqCst);
            self.wanted.store(false, Ordering::SeqCst);
        }
    }

    /// Moves what is there, and tells how long the log is by then.
    ///
    /// The file is synced all along: the disk would otherwise get all of it at once, and the writer's
    /// syncs of the log would wait behind it.
    fn pass(&self, db: &Connection) -> Option<Length> {
        let (passed, ended) = channel::<()>();
        let moved = std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BETWEEN_SYNCS) {
                    self.sync();
                }
            });
            let moved = checkpoint(db, "passive", &self.health);
            drop(passed);
            moved
        });
        moved?;
        self.sync();
        checkpoint(db, "noop", &self.health)
    }

    fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "could not sync the database file");
            self.health.note_failed_sync();
        }
    }
}

/// Tests set fewer pages, to have many checkpoints. Only debug builds look.
fn long() -> i64 {
    let set = std::env::var("HEADRACE_CHECKPOINT_PAGES").ok();
    set.filter(|_| cfg!(debug_assertions))
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(LONG)
}

fn open(file: &Path) -> Tx<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(db)
}

/// A failure is no loss: the log stays, and is read at the next start.
fn checkpoint(db: &Connection, mode: &str, health: &Health) -> Option<Length> {
    let sql = format!("pragma wal_checkpoint({mode})");
    let done = db.query_row(&sql, [], |row| {
        Ok(Length {
            pages: row.get(1)?,
            moved: row.get(2)?,
            is_busy: row.get(0)?,
        })
    });
    match done {
        Ok(length) => Some(length),
        Err(error) => {
            tracing::warn!(%error, "could not checkpoint");
            health.note(&error);
            None
        }
    }
}
