//! Looking through all of the database beside other work: a start does not read all of a large one, and
//! damage to what nobody reads would stay there until the backups that are whole are gone.
//!
//! What grows with the records is read in steps, each on a snapshot of its own: one for all of it would keep
//! the write-ahead log from being emptied. Other tables, which are small beside it, are read whole.

mod order;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::SqliteStore;
use super::error::Tx;
use crate::{Result, StoreError};

const ACTION: &str = "look through the database";
/// Nothing is read then for so many times as long, this long at least: others have nine tenths of a
/// processor, and of the disk.
const REST: u32 = 9;
const PAUSE: Duration = Duration::from_millis(30);
/// How long after a failure that may pass it goes on.
const RETRY: Duration = Duration::from_secs(60);
/// So often it goes on at one place.
const RETRIES: u32 = 5;

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
            let next = tables::next(db, last.as_deref())?;
            if let Some(table) = next.as_deref().filter(|name| !LARGE.contains(name)) {
                tables::check(db, table)?;
            }
            Ok(next.map(Some))
        })
        .await?;
        self.walk(i64::MIN, order::entries).await?;
        self.walk((i64::MIN, String::new(), i64::MIN), order::parents)
            .await?;
        self.walk(i64::MIN, order::purges).await?;
        self.walk(Vec::new(), order::keys).await
    }

    /// Takes one step after the other, each from the place that the one before answered. A failure that
    /// may pass is waited for, but not for ever.
    async fn walk<P: Clone + Send + 'static>(
        &self,
        first: P,
        step: impl Fn(&Connection, &P) -> Tx<Option<P>> + Send + Sync + 'static,
    ) -> Result<()> {
        let step = Arc::new(step);
        let mut place = first;
        let mut failed = 0;
        loop {
            let began = Instant::now();
            let (step, from) = (Arc::clone(&step), place.clone());
            match self.readers.read(ACTION, move |db| step(db, &from)).await {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => {
                    (place, failed) = (next, 0);
                    tokio::time::sleep((began.elapsed() * REST).max(PAUSE)).await;
                }
                Err(error) if lasts(&error) || failed == RETRIES => return Err(error),
                Err(error) => {
                    failed += 1;
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the stored data cannot be looked through now; it is tried again"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Tells which page of the log is damaged. All of it is read for that, which takes as long as it takes.
    async fn find_page(&self) {
        let check = |db: &Connection| tables::check(db, "log");
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rusqlite::{Error, ffi};

    use super::{RETRIES, SqliteStore};
    use crate::StoreError;
    use crate::sqlite::error::Fault;

    fn unread() -> Fault {
        let code = ffi::Error::new(ffi::SQLITE_IOERR_READ);
        Error::SqliteFailure(code, None).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_passes_is_waited_for_and_one_that_lasts_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        let tries = Arc::new(AtomicU32::new(0));
        let passes = {
            let tries = Arc::clone(&tries);
            // Each place fails as often as is waited for.
            move |_: &_, place: &u32| match tries.fetch_add(1, Ordering::Relaxed) {
                tried if tried % (RETRIES + 1) < RETRIES => Err(unread()),
                _ => Ok(Some(place + 1).filter(|place| *place < 3)),
            }
        };
        store.walk(0, passes).await.unwrap();
        assert_eq!(tries.swap(0, Ordering::Relaxed), 3 * (RETRIES + 1));
        let lasts = {
            let tries = Arc::clone(&tries);
            move |_: &_, _: &u32| {
                tries.fetch_add(1, Ordering::Relaxed);
                Err(unread())
            }
        };
        let told = store.walk(0, lasts).await.unwrap_err();
        assert!(matches!(told, StoreError::Backend { .. }), "{told}");
        assert_eq!(tries.load(Ordering::Relaxed), RETRIES + 1);
    }
}
