//! The embedded backend: the conformance suite, and what is its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headrace_store::{Store, StoreError};

use crate::conformance::world::{STREAM, append, batch, gone, log, purge, put, seen, short};
use crate::conformance::{Backend, conformance};

/// A data directory that lives as long as the test.
pub(crate) struct Sqlite(tempfile::TempDir);

impl Backend for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Arc<dyn Store> {
        headrace_store::open(&self.url()).await.unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn restore(&self, backup: &Path, replace: bool) -> headrace_store::Result<()> {
        headrace_store::restore(&self.url(), backup, replace).await
    }
}

impl Sqlite {
    pub(crate) fn directory(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.directory().join("headrace.db")
    }

    fn url(&self) -> String {
        url(&self.directory())
    }

    /// The directory as the end of the process would leave it now.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in self.directory().read_dir().unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            // The index of the write-ahead log is made anew; the lock is the living process's.
            let is_kept = |name: &str| !name.ends_with("-shm") && !name.ends_with(".lock");
            if name.to_str().is_some_and(is_kept) {
                std::fs::copy(&path, copy.path().join(name)).unwrap();
            }
        }
        copy
    }

    /// Changes the closed database from outside.
    pub(crate) fn change(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.database()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Why it does not open.
    async fn error(&self) -> StoreError {
        match headrace_store::open(&self.url()).await {
            Ok(_) => panic!("it opened"),
            Err(error) => error,
        }
    }
}

pub(crate) fn url(directory: &Path) -> String {
    format!("sqlite:{}", directory.display())
}

conformance!(crate::sqlite::Sqlite);

#[tokio::test]
async fn a_directory_belongs_to_one_store_at_a_time() {
    let sqlite = Sqlite::new();
    let first = sqlite.open().await;
    let error = sqlite.error().await;
    assert!(matches!(&error, StoreError::InUse { .. }), "{error}");
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error}");
    first.close().await.unwrap();
    sqlite.open().await;
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_made_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&sqlite.directory()), 0o700);
    let mut names = Vec::new();
    for file in sqlite.directory().read_dir().unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        names.push(path.file_name().unwrap().to_owned());
    }
    assert!(names.iter().any(|name| name == "headrace.db"), "{names:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn data_of_a_newer_version_is_left_alone() {
    let sqlite = Sqlite::new();
    sqlite.open().await.close().await.unwrap();
    sqlite.change(
        "insert into schema_migration (version, name, checksum, applied_at)
         values (99, 'later', x'00', 0)",
    );
    let error = sqlite.error().await;
    assert!(
        matches!(error, StoreError::TooNew { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_changed_migration_is_damage() {
    let sqlite = Sqlite::new();
    sqlite.open().await.close().await.unwrap();
    sqlite.change("update schema_migration set checksum = zeroblob(32)");
    let error = sqlite.error().await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_broken_file_is_named() {
    let sqlite = Sqlite::new();
    sqlite.open().await.close().await.unwrap();
    std::fs::write(sqlite.database(), vec![b'x'; 8_192]).unwrap();
    let error = sqlite.error().await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("headrace.db"), "{error}");
}

/// What a log holds is known at the start whether the last process ended well or not, and whether or
/// not it wrote that down.
#[tokio::test]
async fn what_a_log_holds_is_known_at_every_start() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let ids: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    append(&*store, 1, batch(ids.iter().map(|id| seen(id, 1, "1")))).await;
    append(
        &*store,
        2,
        batch(ids[..50].iter().map(|id| seen(id, 2, "2"))),
    )
    .await;
    append(&*store, 3, batch(ids[20..90].iter().map(|id| gone(id, 3)))).await;
    purge(&*store, "7").await;
    let known = async |store: &dyn Store| {
        let stats = store.stats(STREAM).await.unwrap();
        (stats.records, stats.live, short(&log(store).await))
    };
    let expected = known(&*store).await;
    assert_eq!((expected.0, expected.1), (499, 429));
    let copy = sqlite.copy();
    let killed = headrace_store::open(&url(copy.path())).await.unwrap();
    assert_eq!(known(&*killed).await, expected, "after a kill");
    store.close().await.unwrap();
    let again = sqlite.open().await;
    assert_eq!(known(&*again).await, expected, "after a clean end");
    // As the versions before left it.
    again.close().await.unwrap();
    sqlite.change("delete from live_known; delete from live_summary; delete from live_change");
    for start in ["the first", "the second"] {
        let store = sqlite.open().await;
        assert_eq!(
            known(&*store).await,
            expected,
            "{start} start with old data"
        );
        store.close().await.unwrap();
    }
}

/// No row of a dropped log is left in the end, also when the store was closed in between.
#[tokio::test]
async fn a_dropped_log_is_cleared_away() {
    const RECORDS: usize = 5_000;
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let ids: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    append(&*store, 1, batch(ids.iter().map(|id| seen(id, 1, "1")))).await;
    store.drop_log(STREAM).await.unwrap();
    put(&*store, "0", 2, "kept").await;
    store.close().await.unwrap();
    let store = sqlite.open().await;
    let left = || {
        let db = rusqlite::Connection::open(sqlite.database()).unwrap();
        let count = |table| -> i64 {
            let sql = format!("select count(*) from {table}");
            db.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        [count("log"), count("key"), count("dropped_stream")]
    };
    // The writer clears up whenever it has nothing else to do: after each of these.
    for _ in 0..1_000 {
        if left() == [1, 1, 0] {
            break;
        }
        store.ready().await.unwrap();
    }
    assert_eq!(left(), [1, 1, 0]);
    assert_eq!(short(&log(&*store).await), ["1:0=kept"]);
}

/// A process that ends between writing and syncing leaves what no power cut may take away any more once
/// somebody was shown it.
#[tokio::test]
async fn what_another_process_left_in_the_log_is_durable_before_it_is_shown() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 1, "kept").await;
    let ended = Sqlite::new();
    std::fs::create_dir_all(ended.directory()).unwrap();
    for name in ["headrace.db", "headrace.db-wal"] {
        let from = sqlite.directory().join(name);
        std::fs::copy(from, ended.directory().join(name)).unwrap();
    }
    let size = || {
        let file = ended.directory().join("headrace.db-wal");
        file.metadata().unwrap().len()
    };
    assert_ne!(size(), 0);
    let reopened = ended.open().await;
    assert_eq!(size(), 0);
    assert_eq!(short(&log(&*reopened).await), ["1:a=kept"]);
}
