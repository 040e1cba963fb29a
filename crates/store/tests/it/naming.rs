//! Which database is in a directory: that is known whatever a power cut leaves, and where it is missing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use headrace_model::Timestamp;
use headrace_store::StoreError;

use crate::conformance::Backend;
use crate::conformance::world::{Worker, append, batch, log, put, seen, short};
use crate::sqlite::{Sqlite, url};

const LOCK: &str = "headrace.lock";
const NUMBER: &str = "headrace.db.number";

fn copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// What a file may be after a power cut: it held `old`, was cut to nothing, then `parts` were written to
/// it one after the other, and none of that was synced.
fn torn(old: &[u8], parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let states = (0..2_u32 << parts.len()).map(|kept| {
        let mut content = if kept & 1 == 0 { old } else { b"" }.to_vec();
        let mut at = 0;
        for (number, part) in parts.iter().enumerate() {
            if kept & (2 << number) != 0 {
                content.resize(content.len().max(at + part.len()), 0);
                content[at..at + part.len()].copy_from_slice(part);
            }
            at += part.len();
        }
        content
    });
    states.collect()
}

/// Each start writes its process there, over that of the one before, and syncs nothing.
#[tokio::test]
async fn a_lock_file_that_a_power_cut_tore_is_no_damage() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 1, "kept").await;
    let killed = copy(&sqlite.directory());
    let log = killed.path().join("headrace.db-wal");
    assert!(log.metadata().unwrap().len() > 0);
    let lock = fs::read_to_string(killed.path().join(LOCK)).unwrap();
    let rest = lock.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number = rest.trim_start();
    let parts = ["812", rest.strip_suffix(number).unwrap(), number];
    let old = format!("12345{rest}");
    for content in torn(old.as_bytes(), &parts.map(str::as_bytes)) {
        let trial = copy(killed.path());
        fs::write(trial.path().join(LOCK), &content).unwrap();
        let opened = headrace_store::open(&url(trial.path())).await;
        assert!(opened.is_ok(), "{:?}", String::from_utf8_lossy(&content));
        opened.unwrap().close().await.unwrap();
    }
}

/// It is written once, as a file of its own: no start touches it.
#[tokio::test]
async fn the_number_of_the_database_is_written_once() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let file = sqlite.directory().join(NUMBER);
    let state = || {
        let metadata = file.metadata().unwrap();
        (
            metadata.ino(),
            metadata.mtime_nsec(),
            fs::read(&file).unwrap(),
        )
    };
    let first = state();
    put(&*store, "a", 1, "kept").await;
    store.close().await.unwrap();
    sqlite.open().await.close().await.unwrap();
    assert_eq!(state(), first);
}

/// What is refused is not remembered: beside its own log the database that was there is still known.
#[tokio::test]
async fn a_foreign_database_is_not_remembered() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 1, "kept").await;
    let ours = copy(&sqlite.directory());
    let trial = copy(ours.path());
    let database = trial.path().join("headrace.db");
    for file in [&database, &trial.path().join("headrace.db-wal")] {
        fs::remove_file(file).unwrap();
    }
    let foreign = rusqlite::Connection::open(&database).unwrap();
    foreign
        .execute_batch("pragma journal_mode = wal; create table note (text)")
        .unwrap();
    foreign.close().unwrap();
    let refused = headrace_store::open(&url(trial.path())).await.map(drop);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    for file in ["headrace.db", "headrace.db-wal"] {
        fs::copy(ours.path().join(file), trial.path().join(file)).unwrap();
    }
    let store = headrace_store::open(&url(trial.path())).await.unwrap();
    store.close().await.unwrap();
}

async fn refused(directory: &Path) -> String {
    let opened = headrace_store::open(&url(directory)).await.map(drop);
    assert!(!directory.join("headrace.db").exists());
    opened.unwrap_err().to_string()
}

#[tokio::test]
async fn a_database_that_is_missing_is_told_by_anything_that_belongs_to_it() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    append(&*store, 1, batch(["a", "b"].map(|id| seen(id, 1, "1")))).await;
    let worker = Worker::new(&*store).await;
    for message in worker.next(2, 9).await {
        worker.ack(&message).await;
    }
    let directory = copy(&sqlite.directory());
    let remove = |name: &str| fs::remove_file(directory.path().join(name)).unwrap();
    remove("headrace.db");
    let journal = ["consumers-a.journal", "consumers-b.journal"];
    for name in ["headrace.db-wal", NUMBER].into_iter().chain(journal) {
        let said = refused(directory.path()).await;
        assert!(said.contains("headrace.db is missing"), "{said}");
        assert!(said.contains(name), "{said}");
        assert!(said.contains("headrace restore"), "{said}");
        remove(name);
    }
    let empty = headrace_store::open(&url(directory.path())).await.unwrap();
    assert_eq!(short(&log(&*empty).await), [""; 0]);
}

#[tokio::test]
async fn a_backup_is_restored_where_the_database_is_missing() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 1, "kept").await;
    let backup = sqlite.file("backup");
    let made = Timestamp::from_seconds(2);
    store.back_up(&backup, made).await.unwrap();
    store.close().await.unwrap();
    fs::remove_file(sqlite.directory().join("headrace.db")).unwrap();
    refused(&sqlite.directory()).await;
    sqlite.restore(&backup, false).await.unwrap();
    for _ in 0..2 {
        let store = sqlite.open().await;
        assert_eq!(short(&log(&*store).await), ["1:a=kept"]);
        store.close().await.unwrap();
    }
}
