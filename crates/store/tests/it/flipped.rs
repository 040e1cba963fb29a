//! A bit of a record that is not what was stored: `SQLite` does not notice, and nobody is given it.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use headrace_model::Timestamp;
use headrace_model::record::Observation;
use headrace_store::{Batch, Range, Selection, Store, StoreError};

use crate::conformance::Backend;
use crate::conformance::world::{STREAM, append, batch, gone, put, record, seen};
use crate::sqlite::{Sqlite, url};

const MARKED: &str = r#"{"amount":1000000,"memo":"MARKED"}"#;
const MADE: Timestamp = Timestamp::from_seconds(150);

/// Flips a bit of an amount in this file.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(6).position(|bytes| bytes == b"MARKED");
    bytes[at.unwrap() - 17] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// A store with two records, of which one was damaged while it was closed.
async fn damaged() -> (Sqlite, std::sync::Arc<dyn Store>) {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    append(&*store, 1, batch([seen("a", 1, "1"), seen("b", 1, MARKED)])).await;
    store.close().await.unwrap();
    drop(store);
    flip(&sqlite.directory().join("headrace.db"));
    let store = sqlite.open().await;
    (sqlite, store)
}

fn is_told(error: &StoreError) {
    let words = "entry 2 of the log of stream 1 is not what was stored";
    let StoreError::Damaged { what } = error else {
        panic!("{error}");
    };
    assert!(what.contains(words), "{what}");
}

#[tokio::test]
async fn it_is_told_and_ends_all_writing() {
    let (_sqlite, store) = damaged().await;
    let all = Range {
        after: 0,
        limit: 10,
        max_bytes: usize::MAX,
        newest_first: false,
    };
    is_told(
        &store
            .read(STREAM, &Selection::default(), all)
            .await
            .unwrap_err(),
    );
    is_told(&store.record(STREAM, record("b")).await.unwrap_err());
    let whole = store.record(STREAM, record("a")).await.unwrap();
    assert_eq!(whole.unwrap().data, "1");
    is_told(&store.ready().await.unwrap_err());
}

#[tokio::test]
async fn a_delete_does_not_carry_it_on() {
    let (_sqlite, store) = damaged().await;
    let deleting = store.append(
        STREAM,
        Timestamp::from_seconds(2),
        vec![batch([gone("b", 100)])],
    );
    is_told(&deleting.await.unwrap_err());
}

#[tokio::test]
async fn it_is_found_without_anybody_reading_it() {
    let (_sqlite, store) = damaged().await;
    is_told(&store.look_through().await.unwrap_err());
    is_told(&store.ready().await.unwrap_err());
}

/// Damages a database that is in use, and has all of it looked through. Answers what was found.
async fn found_after(is_purged: bool, damage: impl FnOnce(&Path)) -> String {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let records = (0..RECORDS).map(|no| Observation {
        parent_id: Some(format!("{:0>100}", no / 2_000)),
        ..seen(&no.to_string(), 1, MARKED)
    });
    append(&*store, 1, batch(records)).await;
    if is_purged {
        let purge = (0..RECORDS).map(|no| record(&no.to_string())).collect();
        append(&*store, 1, Batch { purge, ..batch([]) }).await;
    }
    store.look_through().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = sqlite.open().await;
    damage(&sqlite.directory().join("headrace.db"));
    let said = store.look_through().await.unwrap_err().to_string();
    let ready = store.ready().await.unwrap_err().to_string();
    assert_eq!(said, ready);
    said
}

const PAGE: usize = 4_096;
const RECORDS: usize = 2_500;

/// Overwrites the last page of this kind.
fn overwrite(file: &Path, kind: u8) {
    let bytes = std::fs::read(file).unwrap();
    let page = bytes.chunks(PAGE).rposition(|page| page[0] == kind);
    let writer = std::fs::File::options().write(true).open(file).unwrap();
    let at = (page.unwrap() * PAGE) as u64;
    writer.write_all_at(&[0xee; PAGE], at).unwrap();
}

const LEAF_OF_TABLE: u8 = 13;
const LEAF_OF_INDEX: u8 = 10;

#[tokio::test]
async fn a_page_that_nobody_reads_is_found_with_its_place() {
    let said = found_after(false, |file| overwrite(file, LEAF_OF_TABLE)).await;
    let words = "headrace.db: table log, behind entry 2000 of stream 1: ";
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn a_page_of_an_index_is_found_too() {
    let said = found_after(false, |file| overwrite(file, LEAF_OF_INDEX)).await;
    assert!(said.contains("headrace.db: "), "{said}");
}

/// The leaves of a table or index, in its order, as places in the file.
fn leaves(file: &Path, tree: &str) -> Vec<u64> {
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = "select pageno from dbstat where name = ? and pagetype = 'leaf' order by path";
    let mut query = db.prepare(sql).unwrap();
    let leaves = query.query_map([tree], |row| row.get(0)).unwrap();
    let at = |page: u32| u64::from(page - 1) * PAGE as u64;
    leaves.map(|page| at(page.unwrap())).collect()
}

/// Writes a page over another.
fn copy(file: &Path, from: u64, to: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file);
    let file = file.unwrap();
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, from).unwrap();
    file.write_all_at(&page, to).unwrap();
}

/// The page that leads to others.
fn root(file: &Path, tree: &str) -> u64 {
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = "select rootpage from sqlite_schema where name = ?";
    let page: u32 = db.query_row(sql, [tree], |row| row.get(0)).unwrap();
    u64::from(page - 1) * PAGE as u64
}

/// All is in its order then, and what is not there leaves no gap.
#[tokio::test]
async fn a_copy_of_a_page_over_the_one_that_leads_to_it_is_found() {
    for (tree, told) in [
        ("log", "which is not in the log"),
        ("key", "is missing from table key"),
        ("log_parent", "is missing from index log_parent"),
    ] {
        let damage = |file: &Path| copy(file, leaves(file, tree)[1], root(file, tree));
        let said = found_after(false, damage).await;
        assert!(said.contains(told), "{tree}: {said}");
    }
}

#[tokio::test]
async fn an_index_of_nothing_is_looked_at_too() {
    let damage = |file: &Path| {
        let root = root(file, "log_purge");
        let writer = std::fs::File::options().write(true).open(file).unwrap();
        writer.write_all_at(&[0xee; PAGE], root).unwrap();
    };
    let said = found_after(false, damage).await;
    assert!(said.contains("malformed"), "{said}");
}

/// The same where all records were taken out.
#[tokio::test]
async fn a_copy_of_another_page_of_what_was_taken_out_is_found() {
    is_found_where_it_was_copied("log_purge", "is missing from index log_purge").await;
}

/// Each page is whole in itself then, and the checksum of each record right.
async fn is_found_where_it_was_copied(tree: &'static str, told: &'static str) {
    let mut looking = tokio::task::JoinSet::new();
    for (from, to) in (0..5).flat_map(|from| (0..5).map(move |to| (from, to))) {
        if from == to {
            continue;
        }
        looking.spawn(async move {
            let damage = |file: &Path| {
                let leaves = leaves(file, tree);
                // So many records are looked at in a step: its end is within one of those around it.
                let end = leaves.len() * 1_000 / RECORDS;
                let chosen = [0, end - 1, end, end + 1, leaves.len() - 1];
                copy(file, leaves[chosen[from]], leaves[chosen[to]]);
            };
            let said = found_after(tree == "log_purge", damage).await;
            assert!(said.contains(told), "{from} over {to}: {said}");
        });
    }
    looking.join_all().await;
}

#[tokio::test]
async fn a_copy_of_another_page_of_the_log_is_found() {
    is_found_where_it_was_copied("log", "table log").await;
}

#[tokio::test]
async fn a_copy_of_another_page_of_the_keys_is_found() {
    is_found_where_it_was_copied("key", "is missing from table key").await;
}

#[tokio::test]
async fn a_copy_of_another_page_of_the_parents_is_found() {
    is_found_where_it_was_copied("log_parent", "is missing from index log_parent").await;
}

/// What no value of its kind can be is noticed before any checksum.
#[tokio::test]
async fn an_impossible_value_is_damage_and_ends_all_writing() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    append(&*store, 1, batch([seen("a", 1, MARKED)])).await;
    store.close().await.unwrap();
    drop(store);
    sqlite.change("update log set lane = -123");
    let store = sqlite.open().await;
    let said = store.look_through().await.unwrap_err().to_string();
    assert!(
        said.contains("table log") && said.contains("-123"),
        "{said}"
    );
    assert_eq!(store.ready().await.unwrap_err().to_string(), said);
    let adding = store.append(
        STREAM,
        Timestamp::from_seconds(2),
        vec![batch([seen("b", 1, "1")])],
    );
    assert!(matches!(
        adding.await.unwrap_err(),
        StoreError::Damaged { .. }
    ));
}

#[tokio::test]
async fn no_backup_is_made_of_it() {
    let (sqlite, store) = damaged().await;
    let backup = sqlite.file("backup");
    let said = store.back_up(&backup, MADE).await.unwrap_err();
    let why = std::error::Error::source(&said).map(ToString::to_string);
    let words = "entry 2 of the log of stream 1 is not what was stored";
    assert!(why.is_some_and(|why| why.contains(words)), "{said}");
    assert!(!backup.exists());
    // Of the database, a copy says nothing.
    put(&*store, "c", 3, "1").await;
}

#[tokio::test]
async fn a_backup_with_one_is_not_restored() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    append(&*store, 1, batch([seen("b", 1, MARKED)])).await;
    let backup = sqlite.file("backup");
    store.back_up(&backup, MADE).await.unwrap();
    flip(&backup);
    let elsewhere = url(&sqlite.file("elsewhere"));
    let restored = headrace_store::restore(&elsewhere, &backup, false).await;
    let said = restored.unwrap_err();
    assert!(matches!(said, StoreError::BrokenBackup { .. }), "{said}");
}

/// What the documentation tells to do where there is no backup.
#[tokio::test]
async fn an_entry_that_was_given_up_is_read_anew() {
    for damage in [
        "update log set lane = 0 where upstream_id = 'b'",
        "update log set record = zeroblob(16) where upstream_id = 'b'",
        "update log set upstream_created_at = 7 where upstream_id = 'b'",
    ] {
        let sqlite = Sqlite::new();
        let store = sqlite.open().await;
        append(&*store, 1, batch([seen("a", 1, "1"), seen("b", 1, MARKED)])).await;
        store.close().await.unwrap();
        drop(store);
        sqlite.change(damage);
        let store = sqlite.open().await;
        is_told(&store.look_through().await.unwrap_err());
        store.close().await.unwrap();
        drop(store);
        let docs = include_str!("../../../../docs/when-it-does-not-start.md");
        let sql = docs
            .lines()
            .filter_map(|line| line.strip_prefix("sqlite> "));
        let sql: Vec<String> = sql
            .map(|line| line.replace("STREAM", "1").replace("ENTRY", "2"))
            .collect();
        assert_eq!(sql.len(), 3);
        sqlite.change(&sql.join(""));
        let store = sqlite.open().await;
        store.look_through().await.unwrap();
        append(&*store, 1, batch([seen("b", 10, MARKED)])).await;
        let row = store.record(STREAM, record("b")).await.unwrap().unwrap();
        assert_eq!((row.idx, &*row.data), (3, MARKED.as_bytes()));
        store.look_through().await.unwrap();
        store.back_up(&sqlite.file("backup"), MADE).await.unwrap();
    }
}
