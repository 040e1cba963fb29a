//! Looking through all of the database beside other work: a start does not read all of a large one, and
//! damage to what nobody reads would stay there until the backups that are whole are gone.
//!
//! What grows with the records is read in steps, each on a snapshot of its own: one for all of it would keep
//! the write-ahead log from being emptied. Other tables, which are small beside it, are read whole.

mod entries;
mod leads;
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
const PAUSE: Duration = Duration::from_millis(10);
/// How long after a failure that may pass it goes on.
const RETRY: Duration = Duration::from_secs(60);
/// So often it goes on at one place, each time after twice as long. A full disk is waited for.
const RETRIES: u32 = 5;

/// Read in steps, with the indexes that lead to them.
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
                if let StoreError::Damaged { .. } = error {
                    self.find_page().await;
                }
                Err(error)
            }
        }
    }

    /// Damage ends it. What cannot be read in one table does not keep it from the others.
    async fn look_at_all(&self) -> Result<()> {
        let mut unread = Ok(());
        let names = self.read_again(tables::names).await?;
        for name in names.into_iter().filter(|name| !LARGE.contains(&&**name)) {
            let looked = self.read_again(move |db| tables::check(db, &name)).await;
            unread = unread.and(goes_on(looked)?);
        }
        unread = unread.and(goes_on(
            self.walk(i64::MIN, |db, at| entries::read(db, *at)).await,
        )?);
        unread = unread.and(goes_on(
            self.walk(i64::MIN, |db, at| leads::purges(db, *at)).await,
        )?);
        unread = unread.and(goes_on(self.read_again(leads::first_child).await)?);
        let keys = self.walk(None, |db, at: &Option<_>| {
            Ok(leads::keys(db, at.as_ref())?.map(Some))
        });
        unread.and(goes_on(keys.await)?)
    }

    /// Takes one step after the other, each from the place that the one before answered.
    async fn walk<P: Copy + Send + Sync + 'static>(
        &self,
        first: P,
        step: impl Fn(&Connection, &P) -> Tx<Option<P>> + Clone + Send + Sync + 'static,
    ) -> Result<()> {
        let mut place = Some(first);
        while let Some(at) = place {
            let step = step.clone();
            place = self.read_again(move |db| step(db, &at)).await?;
        }
        Ok(())
    }

    /// Reads, and rests then. A failure that may pass is waited for, but not for ever.
    async fn read_again<T: Send + 'static>(
        &self,
        step: impl Fn(&Connection) -> Tx<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let step = Arc::new(step);
        let mut failed = 0;
        loop {
            let began = Instant::now();
            let step = Arc::clone(&step);
            match self.readers.read(ACTION, move |db| step(db)).await {
                Ok(read) => {
                    tokio::time::sleep((began.elapsed() * REST).max(PAUSE)).await;
                    return Ok(read);
                }
                Err(error) if ends(&error) || failed == RETRIES => return Err(error),
                Err(error) => {
                    let pause = RETRY * 2_u32.pow(failed);
                    failed += u32::from(!matches!(error, StoreError::DiskFull));
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the stored data cannot be looked through now; it is tried again"
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Tells which page is damaged. All is read for that, which takes as long as it takes.
    async fn find_page(&self) {
        for name in LARGE {
            let check = move |db: &Connection| tables::check(db, name);
            if let Err(StoreError::Damaged { what }) = self.readers.read(ACTION, check).await {
                tracing::error!("the stored data is damaged: {what}");
            }
        }
    }
}

/// Whether nothing more is to be looked at.
fn ends(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Damaged { .. } | StoreError::DiskFailed | StoreError::Closed
    )
}

/// What to tell at the end, where the rest can be looked at.
fn goes_on(looked: Result<()>) -> Result<Result<()>> {
    match looked {
        Err(error) if ends(&error) => Err(error),
        looked => Ok(looked),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rusqlite::{Error, ffi};
    use tokio::time::Instant;

    use super::{RETRIES, RETRY, SqliteStore};
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
        let fails = |times: u32| {
            let tries = Arc::clone(&tries);
            move |_: &_| match tries.fetch_add(1, Ordering::Relaxed) {
                tried if tried < times => Err(unread()),
                _ => Ok("read"),
            }
        };
        let began = Instant::now();
        assert_eq!(store.read_again(fails(RETRIES)).await.unwrap(), "read");
        assert!(began.elapsed() >= RETRY * (2_u32.pow(RETRIES) - 1));
        tries.store(0, Ordering::Relaxed);
        let told = store.read_again(fails(RETRIES + 1)).await.unwrap_err();
        assert!(matches!(told, StoreError::Backend { .. }), "{told}");
        assert_eq!(tries.load(Ordering::Relaxed), RETRIES + 1);
    }
}
