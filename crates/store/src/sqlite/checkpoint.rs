//! Keeps the write-ahead log from growing without end.
//!
//! `SQLite` checkpoints by itself while it commits, but starts the log over only at an instant when
//! nobody reads. Readers that overlap for ever would keep it growing; then the writer waits for them.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use super::error::Tx;

/// When `SQLite` checkpoints by itself, in pages of 4 KiB.
const AUTOMATIC_PAGES: i64 = 16_384;
/// The size of the log, in bytes, at which readers are waited for.
const TOO_LONG: u64 = 512 << 20;
/// Looking at the size costs a system call: not at every commit.
const COMMITS_BETWEEN_LOOKS: u32 = 64;
/// How long readers are waited for: short reads end within that.
const WAITING: Duration = Duration::from_millis(20);

/// Watches the log's size.
#[derive(Debug)]
pub(super) struct Checkpoints {
    log: PathBuf,
    commits: u32,
}

impl Checkpoints {
    /// Sets the writer's connection up; `log` is the write-ahead log's file.
    pub(super) fn new(db: &Connection, log: PathBuf) -> Tx<Self> {
        db.pragma_update(None, "wal_autocheckpoint", AUTOMATIC_PAGES)?;
        db.pragma_update(None, "journal_size_limit", AUTOMATIC_PAGES * 4096)?;
        Ok(Self { log, commits: 0 })
    }

    /// Starts the log over when it has become too long.
    pub(super) fn after_commit(&mut self, db: &Connection) {
        self.commits += 1;
        if self.commits < COMMITS_BETWEEN_LOOKS {
            return;
        }
        self.commits = 0;
        let long = std::fs::metadata(&self.log).is_ok_and(|log| log.len() > TOO_LONG);
        if long {
            // Whoever reads for long, such as a backup, is not waited for.
            if let Err(error) = db.busy_timeout(WAITING) {
                tracing::warn!(%error, "could not limit how long readers are waited for");
            }
            truncate(db);
        }
    }

    /// Moves everything into the database file.
    pub(super) fn at_end(&self, db: &Connection) {
        truncate(db);
    }
}

/// A failure is no loss: the log stays and is read at the next start.
fn truncate(db: &Connection) {
    let done = db.query_row("pragma wal_checkpoint(truncate)", [], |row| {
        row.get::<_, bool>(0)
    });
    match done {
        Ok(false) => {}
        Ok(true) => tracing::warn!("a long read kept the write-ahead log from being started over"),
        Err(error) => tracing::warn!(%error, "could not checkpoint"),
    }
}
