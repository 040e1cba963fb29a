//! What only shows from inside: groups, full disks, and state that could not be written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headrace_model::delivery::{Consumer, Policy};
use headrace_model::record::{Content, Observation, Origin, Version};
use headrace_model::{ConsumerId, StreamId, SyncId, Timestamp};
use uuid::Uuid;

use super::SqliteStore;
use super::turn::{Submitted, Turn};
use super::writer::Pending;
use crate::{Batch, Message, Next, Selection, Store, StoreError};

const STREAM: StreamId = StreamId(Uuid::from_u128(1));
const CONSUMER: ConsumerId = ConsumerId(Uuid::from_u128(2));
const POLICY: Policy = Policy {
    ack_wait: Duration::from_secs(30),
    max_deliver: None,
    max_ack_pending: 100,
};

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory).await.unwrap()
}

async fn append(store: &SqliteStore, id: &str, size: usize) -> crate::Result<()> {
    let seen = Observation {
        parent_id: None,
        upstream_id: id.to_owned(),
        content: Content::Present {
            data: vec![b'1'; size].into(),
            hash: 1,
        },
        version: Version::Own(1),
        origin: Origin::Read,
        created_at: None,
        updated_at: None,
    };
    let batch = Batch {
        sync: SyncId(Uuid::from_u128(3)),
        fence: None,
        seen: vec![("c".into(), seen)],
        purge: Vec::new(),
        cursors: Vec::new(),
    };
    let results = store
        .append(STREAM, Timestamp::default(), vec![batch])
        .await?;
    for result in results {
        result?;
    }
    Ok(())
}

async fn next(store: &SqliteStore) -> crate::Result<Vec<Message>> {
    let next = Next {
        now: Timestamp::default(),
        policy: &POLICY,
        selection: &Selection::default(),
        upto: u64::MAX,
        batch: 1,
        max_bytes: usize::MAX,
    };
    store.next(CONSUMER, next).await
}

/// A store with these records, and a consumer that was given the first of them.
async fn with_first(directory: &Path, ids: &[&str]) -> (SqliteStore, Message) {
    let store = open(directory).await;
    for id in ids {
        append(&store, id, 10).await.unwrap();
    }
    store.create_consumer(STREAM, CONSUMER, 0).await.unwrap();
    let first = next(&store).await.unwrap().remove(0);
    (store, first)
}

/// Lets the database grow by so many pages from now on.
async fn leave_room(store: &SqliteStore, pages: i64) {
    let limit = move |db: &rusqlite::Connection| {
        let now: i64 = db.query_row("pragma page_count", [], |row| row.get(0))?;
        let sql = format!("pragma max_page_count = {}", now + pages);
        Ok(db.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
    };
    store.writer.write("limit the size", limit).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_gone_on_from() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    append(&store, "a", 10).await.unwrap();
    leave_room(&store, 4).await;
    let full = append(&store, "b", 100_000).await;
    assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 1);
    append(&store, "c", 10).await.unwrap();
    leave_room(&store, 1_000).await;
    append(&store, "b", 100_000).await.unwrap();
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 3);
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(store.stats(STREAM).await.unwrap().bytes, 100_020);
}

#[tokio::test]
async fn a_refused_job_undoes_nothing_of_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let insert = |one: i64| {
        move |db: &rusqlite::Connection| {
            db.execute("insert into probe (one, count) values (1, ?)", [one])?;
            Ok(())
        }
    };
    let refuse = |db: &rusqlite::Connection| {
        db.execute("update probe set count = 9", [])?;
        Err::<(), _>(StoreError::Fenced.into())
    };
    // All of them are to be queued before the first is run.
    let go = held_up(&store).await;
    let good = store.writer.submit("insert", 0, insert(1), |_| {});
    let refused = store.writer.submit("refuse", 0, refuse, |_| {});
    let twice = store.writer.submit("insert again", 0, insert(2), |_| {});
    go.send(()).unwrap();
    good.durable().await.unwrap();
    assert!(matches!(refused.durable().await, Err(StoreError::Fenced)));
    let twice = twice.durable().await;
    assert!(
        matches!(twice, Err(StoreError::Backend { .. })),
        "{twice:?}"
    );
    let count = store.readers.read("count", |db| {
        Ok(db.query_row("select count from probe", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(count.await.unwrap(), 1);
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    append(&store, "a", 10).await.unwrap();
    // A job that ends the transaction under the group: nothing of the group may be told as done.
    let go = held_up(&store).await;
    let add = |db: &rusqlite::Connection| {
        db.execute("insert into probe (one, count) values (1, 1)", [])?;
        Ok(())
    };
    let added = store
        .writer
        .submit("add", 0, add, |done| assert!(done.is_none()));
    let end = |db: &rusqlite::Connection| Ok(db.execute_batch("rollback")?);
    let ended = store
        .writer
        .submit("end", 0, end, |done| assert!(done.is_none()));
    go.send(()).unwrap();
    assert!(added.durable().await.is_err());
    assert!(ended.durable().await.is_err());
    append(&store, "b", 10).await.unwrap();
    store.ready().await.unwrap();
}

/// A step that could not be written is undone in memory, with what was computed on top of it; what was
/// journalled before stays.
#[tokio::test]
async fn a_consumer_never_differs_from_its_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = with_first(directory.path(), &["a", "b", "c"]).await;
    let disturb = |sql: &'static str| {
        let disturb = move |db: &rusqlite::Connection| Ok(db.execute_batch(sql)?);
        store.writer.write("disturb", disturb)
    };
    disturb(
        "create trigger refuse before insert on dead_letter begin select raise(abort, 'no'); end",
    )
    .await
    .unwrap();
    let token = first.leased.token(first.consumer);
    let mut reject = |consumer: &mut Consumer| {
        consumer.reject(&token, Timestamp::default(), None);
    };
    assert!(store.update(CONSUMER, &mut reject).await.is_err());
    let all = Selection::default();
    let counts = store.counts(CONSUMER, &all).await.unwrap();
    let found = (counts.pending, counts.ack_pending, counts.dead);
    assert_eq!(found, (2, 1, 0), "nothing was rejected");
    disturb("drop trigger refuse").await.unwrap();
    store.update(CONSUMER, &mut reject).await.unwrap();
    assert_eq!(next(&store).await.unwrap()[0].row.upstream_id, "b");
    drop(store);
    let store = open(directory.path()).await;
    let counts = store.counts(CONSUMER, &all).await.unwrap();
    let found = (counts.pending, counts.ack_pending, counts.dead);
    assert_eq!(found, (1, 1, 1));
}

/// While the rows cannot be written the journal grows to its bound, and then takes nothing more; when
/// they can again, it goes on.
#[tokio::test]
async fn a_journal_that_became_too_long_goes_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = with_first(directory.path(), &["a"]).await;
    let token = first.leased.token(first.consumer);
    // Each later step has it in the journal again.
    let words: Arc<str> = "x".repeat(1 << 20).into();
    let mut give_back = |consumer: &mut Consumer| {
        let now = Timestamp::default();
        consumer.nack(&token, now, Duration::ZERO, Some(words.clone()), &POLICY);
    };
    store.update(CONSUMER, &mut give_back).await.unwrap();
    let again = next(&store).await.unwrap().remove(0);
    let token = again.leased.token(again.consumer);
    let disturb = |sql: &'static str| {
        let disturb = move |db: &rusqlite::Connection| Ok(db.execute_batch(sql)?);
        store.writer.write("disturb", disturb)
    };
    disturb("create trigger refuse before update on journal begin select raise(abort, 'no'); end")
        .await
        .unwrap();
    let extend = async |second| {
        let mut extend = |consumer: &mut Consumer| {
            consumer.extend(&token, Timestamp::from_seconds(second), &POLICY);
        };
        store.update(CONSUMER, &mut extend).await
    };
    let mut second = 0;
    let refused = loop {
        second += 1;
        assert!(second < 400, "it is bounded");
        if let Err(refused) = extend(second).await {
            break refused;
        }
    };
    let why = format!("{refused:?}");
    assert!(why.contains("the log says why"), "{why}");
    assert!(extend(second).await.is_err());
    disturb("drop trigger refuse").await.unwrap();
    assert!(
        store.ready().await.is_err(),
        "it asks for them to be written"
    );
    store.writer.barrier().durable().await.unwrap();
    extend(second).await.unwrap();
    store.ready().await.unwrap();
}

/// What ends before it has begun is no clean end: the run before may have lost deliveries.
#[tokio::test]
async fn a_start_that_fails_before_it_begins_does_not_count_as_a_clean_end() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _first) = with_first(directory.path(), &["a", "b"]).await;
    store.begin().await.unwrap();
    let generation = async |store: &SqliteStore| {
        let mut generation = 0;
        let look = &mut |consumer: &Consumer| generation = consumer.generation();
        store.inspect(CONSUMER, look).await.unwrap();
        generation
    };
    let before = generation(&store).await;
    drop(store);
    let store = open(directory.path()).await;
    let mut refilter = |consumer: &mut Consumer| consumer.refilter(|_| false);
    store.update(CONSUMER, &mut refilter).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(directory.path()).await;
    store.begin().await.unwrap();
    assert_eq!(generation(&store).await, before + 1);
}

/// Holds the writer up, in a group of its own: what is submitted from here on is the next group.
async fn held_up(store: &SqliteStore) -> std::sync::mpsc::Sender<()> {
    let (alone, begun) = tokio::sync::oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &rusqlite::Connection| {
        alone.send(()).unwrap();
        Ok(wait.recv().is_ok())
    };
    drop(store.writer.submit("hold", 0, hold, |_| {}));
    begun.await.unwrap();
    go
}

/// A job that holds the writer up until it is told to go on.
fn hold(store: &SqliteStore) -> (std::sync::mpsc::Sender<()>, Pending<bool>) {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &rusqlite::Connection| Ok(wait.recv().is_ok());
    (go, store.writer.submit("hold", 0, hold, |_| {}))
}

fn fail_the_group(store: &SqliteStore) -> Pending<()> {
    let end = |db: &rusqlite::Connection| Ok(db.execute_batch("rollback")?);
    store.writer.submit("end", 0, end, |_| {})
}

/// A step that was computed while the one before it was on its way is not kept when that is lost.
#[tokio::test]
async fn what_was_computed_on_a_lost_step_is_lost_too() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = with_first(directory.path(), &["a", "b", "c"]).await;
    let go = held_up(&store).await;
    let token = first.leased.token(first.consumer);
    let mut rejecting = store.turn(CONSUMER).await.unwrap();
    let machine = &mut rejecting.active.machine;
    machine.reject(&token, Timestamp::default(), None);
    let Ok(Some(Submitted::Pending(rejected))) = store.submit(&mut rejecting, false) else {
        panic!("a dead letter is written by the writer");
    };
    drop(rejecting);
    // The same with what follows: `b` is leased by a step that is lost.
    let Submitted::Pending(leased) = lease(&store, 2).await.unwrap() else {
        panic!("it must be written after the dead letter");
    };
    // This one is made of both, and sent off when nothing is on its way any more.
    let mut late = store.turn(CONSUMER).await.unwrap();
    lease_in(&mut late, 3);
    let failing = fail_the_group(&store);
    go.send(()).unwrap();
    assert!(rejected.durable().await.is_err());
    assert!(leased.durable().await.is_err());
    assert!(failing.durable().await.is_err());
    assert!(store.submit(&mut late, false).unwrap().is_none());
    drop(late);
    for id in ["b", "c"] {
        assert_eq!(next(&store).await.unwrap()[0].row.upstream_id, id);
    }
    drop(store);
    let store = open(directory.path()).await;
    let counts = store.counts(CONSUMER, &Selection::default()).await.unwrap();
    let found = (counts.pending, counts.ack_pending, counts.dead);
    assert_eq!(found, (0, 3, 0));
}

/// What is taken to be written twice in one transaction is given back in the right order.
#[tokio::test]
async fn an_ack_is_kept_when_its_consumer_could_not_be_written_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = with_first(directory.path(), &["a", "b"]).await;
    let token = first.leased.token(first.consumer);
    let mut ack = |consumer: &mut Consumer| {
        consumer.ack(&token);
    };
    let begin = held_up(&store).await;
    let once = store.write_journalled();
    let (go, held) = hold(&store);
    let twice = store.write_journalled();
    let (end, ending) = hold(&store);
    let failing = fail_the_group(&store);
    begin.send(()).unwrap();
    // Nobody is told before the commit: what was taken shows in the journal.
    taken(&store).await;
    store.update(CONSUMER, &mut ack).await.unwrap();
    go.send(()).unwrap();
    taken(&store).await;
    assert_eq!(next(&store).await.unwrap()[0].row.upstream_id, "b");
    end.send(()).unwrap();
    for hold in [held, ending] {
        drop(hold.durable().await);
    }
    assert!(once.durable().await.is_err());
    assert!(twice.durable().await.is_err());
    assert!(failing.durable().await.is_err());
    store.write_journalled().durable().await.unwrap().written();
    drop(store);
    let store = open(directory.path()).await;
    let counts = store.counts(CONSUMER, &Selection::default()).await.unwrap();
    assert_eq!((counts.pending, counts.ack_pending), (0, 1));
}

async fn taken(store: &SqliteStore) {
    while store.journal.is_ahead() {
        tokio::task::yield_now().await;
    }
}

fn lease_in(turn: &mut Turn, idx: u64) {
    let record = headrace_model::RecordId(u128::from(idx));
    let entry = headrace_model::delivery::Entry { idx, record };
    let machine = &mut turn.active.machine;
    machine.lease(Timestamp::default(), &POLICY, &[], &[entry], 1);
}

async fn lease(store: &SqliteStore, idx: u64) -> crate::Result<Submitted> {
    let mut turn = store.turn(CONSUMER).await?;
    lease_in(&mut turn, idx);
    Ok(store.submit(&mut turn, false)?.unwrap())
}

/// A caller who goes away in the middle of a `next` leaves nothing half done.
#[tokio::test]
async fn a_next_that_is_given_up_on_leases_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    append(&store, "a", 10).await.unwrap();
    store.create_consumer(STREAM, CONSUMER, 0).await.unwrap();
    let mut turn = store.turn(CONSUMER).await.unwrap();
    lease_in(&mut turn, 1);
    drop(turn);
    let counts = store.counts(CONSUMER, &Selection::default()).await.unwrap();
    assert_eq!((counts.pending, counts.ack_pending), (1, 0));
    assert_eq!(next(&store).await.unwrap().len(), 1);
}

/// Everything else rests on it: what is answered survives a power cut.
#[tokio::test]
async fn the_writer_waits_for_the_disk_at_every_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let settings = |db: &rusqlite::Connection| {
        let synchronous = db.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0))?;
        let journal = db.query_row("pragma journal_mode", [], |row| row.get::<_, String>(0))?;
        Ok((synchronous, journal))
    };
    let settings = store.writer.write("read settings", settings).await;
    const FULL: i64 = 2;
    assert_eq!(settings.unwrap(), (FULL, "wal".to_owned()));
}

#[tokio::test]
async fn a_backup_that_nobody_waits_for_is_not_looked_through_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("data")).await;
    for id in 0..2_000 {
        append(&store, &id.to_string(), 10).await.unwrap();
    }
    let backup = folder.path().join("backup");
    let made = Timestamp::from_seconds(1);
    store.back_up(&backup, made).await.unwrap();
    let looked = super::restore::check_copy(&backup, &backup, || false);
    assert!(looked.is_ok(), "{looked:?}");
    let given_up = super::restore::check_copy(&backup, &backup, || true);
    assert!(given_up.is_err());
}
