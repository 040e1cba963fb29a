//! The embedded backend: the conformance suite, and what is its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headrace_store::{Store, StoreError};

use crate::conformance::world::{STREAM, append, batch, log, put, seen, short};
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
        format!("sqlite:{}", self.directory().display())
    }

    /// Changes the closed database from outside.
    fn change(&self, sql: &str) {
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
