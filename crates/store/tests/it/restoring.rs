//! Backups, seen from the files: restores that are cut off, copies that are made by hand, room.

use std::path::Path;

use headrace_model::Timestamp;
use headrace_store::Store;

use crate::conformance::Backend;
use crate::conformance::world::{STREAM, Worker, append, batch, log, put, seen, short};
use crate::sqlite::{Sqlite, url};

const MADE: Timestamp = Timestamp::from_seconds(150);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in from.read_dir().unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn open(directory: &Path) -> std::sync::Arc<dyn Store> {
    let url = format!("sqlite:{}", directory.display());
    headrace_store::open(&url).await.unwrap()
}

/// The process ended after the backup had been looked through, and before it was in its place.
#[tokio::test]
async fn a_restore_that_was_cut_off_is_finished_by_the_next_start() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 100, "1").await;
    let backup = sqlite.file("backup");
    store.back_up(&backup, MADE).await.unwrap();
    put(&*store, "b", 100, "1").await;
    let elsewhere = sqlite.file("elsewhere");
    copy(&sqlite.directory(), &elsewhere);
    assert!(elsewhere.join("headrace.db-wal").metadata().unwrap().len() > 0);
    std::fs::copy(&backup, elsewhere.join("headrace.db.restored")).unwrap();
    let restored = open(&elsewhere).await;
    assert_eq!(short(&log(&*restored).await), ["1:a=1"]);
    restored.close().await.unwrap();
    assert!(!elsewhere.join("headrace.db.restored").exists());
    assert_eq!(short(&log(&*open(&elsewhere).await).await), ["1:a=1"]);
}

/// A backup that is put in a database's place by hand has nothing to do with the journal beside it.
#[tokio::test]
async fn a_journal_is_not_believed_on_a_backup() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    append(&*store, 1, batch(["a", "b"].map(|id| seen(id, 1, "1")))).await;
    let worker = Worker::new(&*store).await;
    let backup = sqlite.file("backup");
    store.back_up(&backup, MADE).await.unwrap();
    for message in worker.next(200, 9).await {
        worker.ack(&message).await;
    }
    let elsewhere = sqlite.file("elsewhere");
    copy(&sqlite.directory(), &elsewhere);
    let journal = elsewhere.join("consumers-a.journal");
    assert!(journal.metadata().unwrap().len() > 0);
    std::fs::copy(&backup, elsewhere.join("headrace.db")).unwrap();
    let refused = headrace_store::open(&url(&elsewhere)).await;
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(refused.contains("headrace.db-wal"), "{refused}");
    std::fs::remove_file(elsewhere.join("headrace.db-wal")).unwrap();
    let store = open(&elsewhere).await;
    assert_eq!(Worker::of(&*store).counts().await, (2, 0, 0));
}

/// Nothing is left beside it, and it is a database like the one it was made of.
#[tokio::test]
async fn a_backup_is_a_database_in_the_same_format() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    put(&*store, "a", 100, "1").await;
    let backup = sqlite.file("backup");
    store.back_up(&backup, MADE).await.unwrap();
    store.close().await.unwrap();
    let header = |file: &Path| std::fs::read(file).unwrap()[..20].to_vec();
    let database = sqlite.directory().join("headrace.db");
    assert_eq!(header(&backup), header(&database));
    let names = sqlite.file("").read_dir().unwrap();
    let names: Vec<_> = names.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the data and the backup: {names:?}");
}

/// Most of what a removed log took is given back to the file system.
#[tokio::test]
async fn room_is_given_back() {
    const RECORDS: usize = 12_000;
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let ids: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    let data = "x".repeat(3_000);
    append(&*store, 1, batch(ids.iter().map(|id| seen(id, 1, &data)))).await;
    let file = sqlite.directory().join("headrace.db");
    let pages = |pragma: &str| -> i64 {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.query_row(pragma, [], |row| row.get(0)).unwrap()
    };
    let full = pages("pragma page_count");
    store.drop_log(STREAM).await.unwrap();
    // The writer clears up whenever it has nothing else to do: after each of these.
    let few = || pages("pragma freelist_count") <= 4_096;
    for _ in 0..5_000 {
        if pages("select count(*) from log") == 0 && few() {
            break;
        }
        store.ready().await.unwrap();
    }
    assert!(few());
    put(&*store, "a", 2, "1").await;
    store.close().await.unwrap();
    let left = i64::try_from(file.metadata().unwrap().len() / 4_096).unwrap();
    assert!(left < full / 2, "{left} of {full} pages are left");
    let store = sqlite.open().await;
    assert_eq!(short(&log(&*store).await), ["1:a=1"]);
}
