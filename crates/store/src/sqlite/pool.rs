//! Readers: a few read-only connections, used off the async runtime.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::error::Tx;
use super::health::Health;
use super::off_runtime;
use crate::{Result, StoreError};

const READERS: usize = 4;
/// Instructions of `SQLite`, or pages where it looks at a table, after which a long read looks whether
/// the pool has ended.
const OPERATIONS: std::ffi::c_int = 1_000;

/// Read-only connections. Each read sees one snapshot, of what is durable.
#[derive(Debug)]
pub(super) struct Pool {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// For reads on the caller's thread.
    here: Semaphore,
    health: Health,
}

impl Pool {
    /// A pool of readers of the database in `file`.
    pub(super) fn new(file: PathBuf, health: Health) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            file,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS)),
            here: Semaphore::new(threads.saturating_sub(1).max(1)),
            health,
        })
    }

    /// Runs `query` on a snapshot.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        action: &'static str,
        query: impl FnOnce(&Connection) -> Tx<T> + Send + 'static,
    ) -> Result<T> {
        let permits = Arc::clone(&self.permits);
        let permit = permits
            .acquire_owned()
            .await
            .map_err(|_closed| StoreError::Closed)?;
        let pool = Arc::clone(self);
        off_runtime(action, move || {
            let answer = pool.on_snapshot(query);
            drop(permit);
            answer.map_err(|fault| {
                pool.health.note_fault(&fault);
                fault.during(action)
            })
        })
        .await?
    }

    /// Runs a query that reads little right here, where that leaves a thread for everybody else: going
    /// to another thread and back costs more than such a query.
    pub(super) async fn read_here<T: Send + 'static>(
        self: &Arc<Self>,
        action: &'static str,
        query: impl FnOnce(&Connection) -> Tx<T> + Send + 'static,
    ) -> Result<T> {
        let Ok(_here) = self.here.try_acquire() else {
            return self.read(action, query).await;
        };
        if self.permits.is_closed() {
            return Err(StoreError::Closed);
        }
        self.on_snapshot(query).map_err(|fault| {
            self.health.note_fault(&fault);
            fault.during(action)
        })
    }

    /// Whether the pool has ended: a long read should, too.
    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Ends the pool; reads after it fail.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    fn on_snapshot<T>(&self, query: impl FnOnce(&Connection) -> Tx<T>) -> Tx<T> {
        let idle = self.idle().pop();
        let db = match idle {
            Some(db) => db,
            None => open_reader(&self.file, Arc::clone(&self.permits))?,
        };
        // Ends with the scope, whatever happened: readers have nothing to commit.
        let snapshot = db.unchecked_transaction()?;
        let answer = query(&snapshot);
        snapshot.finish()?;
        if !self.permits.is_closed() {
            self.idle().push(db);
        }
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its reads end with the pool, also in the middle.
fn open_reader(file: &Path, permits: Arc<Semaphore>) -> Tx<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(file, flags)?;
    db.progress_handler(OPERATIONS, Some(move || permits.is_closed()))?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "cache_size", -16_384)?;
    Ok(db)
}
