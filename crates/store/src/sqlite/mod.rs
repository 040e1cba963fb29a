//! The embedded backend: one `SQLite` file, `headrace.db`, in a directory of its own.
//!
//! One thread writes, in groups, with a full sync per group ([`writer`], [`group`]). Readers use
//! snapshots of what is durable ([`pool`], [`cache`]). What a log holds and what consumers have
//! outstanding is also in memory ([`streams`], [`consumers`]), published after the commit and in its
//! order. What workers take and settle goes to a [`journal`] of its own, and from there to the file.

mod append;
mod backup;
mod cache;
mod check;
mod checkpoint;
mod consumers;
mod dead;
mod error;
mod group;
mod health;
mod idempotency;
mod journal;
mod keys;
mod live;
mod lock;
mod migrate;
mod next;
mod objects;
mod opening;
mod pool;
mod read;
mod removal;
mod restore;
mod rows;
mod scrub;
#[cfg(feature = "simulation")]
mod simulated;
mod steps;
mod store;
mod streams;
mod summary;
mod sums;
mod sweep;
mod syncing;
mod turn;
mod upkeep;
mod vacuum;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use headrace_model::StreamId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::draft::with_ending;
use crate::{Result, StoreError};
use cache::Cache;
use checkpoint::Checkpoints;
use consumers::Consumers;
use error::{FILE, Tx, backend};
use health::Health;
use journal::Journal;
use lock::DirLock;
use pool::Pool;
use removal::Clearing;
use streams::{StreamCell, Streams};
use upkeep::Upkeep;
use vacuum::Vacuum;
use writer::Writer;

pub(crate) use restore::{check, has_data, restore};

/// The embedded store.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    writer: Arc<Writer>,
    readers: Arc<Pool>,
    streams: Arc<Streams>,
    consumers: Arc<Consumers>,
    cache: Arc<Cache>,
    journal: Arc<Journal>,
    clearing: Clearing,
    closed: AtomicBool,
}

impl SqliteStore {
    /// Opens the store in this directory, and makes it where it does not exist.
    pub(crate) async fn open(directory: &Path) -> Result<Self> {
        let directory = directory.to_owned();
        off_runtime("open the store", move || Self::open_blocking(&directory)).await?
    }

    fn open_blocking(directory: &Path) -> Result<Self> {
        let mut lock = DirLock::take(directory)?;
        restore::finish(directory)?;
        let mut db = opening::open(directory, &mut lock)?;
        let file = directory.join(FILE);
        let health = Health::default();
        let (journal, checkpoints, streams) = (|| -> Tx<_> {
            restore::settle(&mut db, directory)?;
            let journal = journal::open(&mut db, directory, health.clone())?;
            let checkpoints = Checkpoints::start(&db, &file, health.clone())?;
            let streams = Streams::load(&db)?;
            Ok((journal, checkpoints, streams))
        })()
        .map_err(|fault| fault.during("open the database"))?;
        let clearing = Clearing::new();
        let streams = Arc::new(streams);
        let upkeep = Upkeep::new(
            checkpoints,
            clearing.clone(),
            Vacuum::new(&db),
            Arc::clone(&streams),
            health.clone(),
        );
        let writer = Writer::start(db, lock, upkeep)?;
        Ok(Self {
            writer: Arc::new(writer),
            readers: Pool::new(file, health),
            streams,
            consumers: Arc::default(),
            cache: Arc::default(),
            journal: Arc::new(journal),
            clearing,
            closed: AtomicBool::new(false),
        })
    }

    /// The stream, while the store is open.
    fn stream(&self, id: StreamId) -> Result<Arc<StreamCell>> {
        self.check_open()?;
        Ok(self.streams.get(id))
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        Ok(())
    }
}

/// Waits until a thread of the store has ended.
fn join(thread: &Mutex<Option<JoinHandle<()>>>, whose: &str) {
    let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("the store's {whose} had panicked");
    }
}

/// Runs what blocks on a thread of its own.
async fn off_runtime<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    #[cfg(feature = "simulation")]
    if crate::simulation::machine().is_some() {
        tokio::task::yield_now().await;
        return Ok(work());
    }
    let working = tokio::task::spawn_blocking(work).await;
    working.map_err(|panicked| backend(action, panicked))
}

fn open_writer(file: &Path) -> Tx<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    // Until it is known that the database can be used, closing it must not move the log into it.
    let has_log = std::fs::metadata(with_ending(file, "-wal")).is_ok_and(|log| log.len() > 0);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    db.set_prepared_statement_cache_capacity(128);
    // Only a new database can get it, and a database that has it would be written to.
    if std::fs::metadata(file).is_ok_and(|file| file.len() == 0) {
        db.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "cache_size", -65_536)?;
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}
