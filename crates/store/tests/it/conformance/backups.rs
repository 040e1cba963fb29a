//! Backups, and what is made of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use headrace_model::delivery::Settled;
use headrace_model::{ConsumerId, StreamId, Timestamp};
use headrace_store::{CursorWrite, Kind, Object, Store, StoreError, Write};
use uuid::Uuid;

use super::Backend;
use super::world::*;

/// When backups are made here: long ago, so that much may have happened since.
const MADE: Timestamp = Timestamp::from_seconds(150);

async fn back_up(backend: &impl Backend, store: &dyn Store) -> std::path::PathBuf {
    let file = backend.file("backup");
    store.back_up(&file, MADE).await.unwrap();
    file
}

async fn restored<B: Backend>(backup: &Path) -> (B, std::sync::Arc<dyn Store>) {
    let elsewhere = B::new();
    elsewhere.restore(backup, false).await.unwrap();
    let store = elsewhere.open().await;
    (elsewhere, store)
}

fn stream_object() -> Object {
    Object {
        kind: Kind::Stream,
        id: Uuid::from_u128(77),
        org: ORG,
        revision: 0,
        names: vec!["dev".to_owned()],
        body: b"{}".to_vec(),
        created_at: at(10),
        updated_at: at(10),
    }
}

pub(crate) async fn a_backup_is_everything_that_was_answered<B: Backend>(backend: &B) {
    let store = backend.open().await;
    store
        .write(vec![Write::Put(stream_object())])
        .await
        .unwrap();
    let seen = ["a", "b", "c", "d"].map(|id| seen(id, 100, "1"));
    let cursor = CursorWrite {
        collection: COLLECTION.into(),
        body: b"here".to_vec(),
    };
    let first = headrace_store::Batch {
        cursors: vec![cursor],
        ..batch(seen)
    };
    append(&*store, 100, first).await;
    append(&*store, 190, batch([gone("b", 190)])).await;
    let worker = Worker::new(&*store).await;
    let taken = worker.next(200, 3).await;
    assert_eq!(brief(&taken), ["a=1×1", "c=1×1", "d=1×1"]);
    assert_eq!(worker.ack(&taken[0]).await, Settled::Done);
    assert_eq!(worker.reject(&taken[1], 200).await, Settled::Done);
    let (rows, counts) = (log(&*store).await, worker.counts().await);
    let cursors = store.cursors(SYNC).await.unwrap();
    let backup = back_up(backend, &*store).await;
    put(&*store, "e", 300, "later").await;
    assert_eq!(worker.ack(&taken[2]).await, Settled::Done);

    let (_elsewhere, copy) = restored::<B>(&backup).await;
    assert_eq!(log(&*copy).await, rows);
    assert_eq!(copy.cursors(SYNC).await.unwrap(), cursors);
    let found = copy.object_named(Kind::Stream, ORG, "dev").await.unwrap();
    assert_eq!(found.unwrap().id, Uuid::from_u128(77));
    let counted = Worker::of(&*copy).counts().await;
    assert_eq!(counted, counts, "b is to come, d unsettled, and c dead");
    assert_eq!(counted, (1, 1, 1));
}

pub(crate) async fn a_restored_consumer_goes_on_where_it_was<B: Backend>(backend: &B) {
    let store = backend.open().await;
    append(
        &*store,
        100,
        batch(["a", "b", "c"].map(|id| seen(id, 100, "1"))),
    )
    .await;
    let worker = Worker::new(&*store).await;
    let taken = worker.next(200, 2).await;
    assert_eq!(worker.ack(&taken[0]).await, Settled::Done);
    let backup = back_up(backend, &*store).await;

    let (elsewhere, copy) = restored::<B>(&backup).await;
    let worker = Worker::of(&*copy);
    assert_eq!(worker.ack(&taken[1]).await, Settled::Stale);
    // What was with a worker comes again at once; what was acknowledged does not.
    let again = worker.next(201, 9).await;
    assert_eq!(brief(&again), ["b=1×2", "c=1×1"]);
    for message in &again {
        assert_eq!(worker.ack(message).await, Settled::Done);
    }
    copy.close().await.unwrap();
    // It is a store like others from then on.
    let copy = elsewhere.open().await;
    assert_eq!(Worker::of(&*copy).counts().await, (0, 0, 0));
    put(&*copy, "d", 300, "1").await;
    assert_eq!(brief(&Worker::of(&*copy).next(300, 9).await), ["d=1×1"]);
}

/// After the backup: other messages are handed out, a consumer is made, a stream gets its first entry.
pub(crate) async fn what_was_made_after_the_backup_is_not_mistaken_for_what_comes<B: Backend>(
    backend: &B,
) {
    let store = backend.open().await;
    let other = StreamId(Uuid::from_u128(77));
    store
        .write(vec![Write::Put(stream_object())])
        .await
        .unwrap();
    put(&*store, "a", 100, "1").await;
    let worker = Worker::new(&*store).await;
    let backup = back_up(backend, &*store).await;
    put(&*store, "b", 101, "lost").await;
    let mut lost = worker.next(200, 9).await;
    for _ in 0..3 {
        let reset = &mut |state: &mut headrace_model::delivery::Consumer| state.reset(0);
        store.update(CONSUMER, reset).await.unwrap();
        lost.extend(worker.next(200, 9).await);
    }
    let late = ConsumerId(Uuid::from_u128(78));
    store.create_consumer(STREAM, late, 0).await.unwrap();
    let worker = Worker {
        consumer: late,
        ..worker
    };
    let of_late = worker.next(200, 9).await;
    let newest = store.last_idx(STREAM).await.unwrap();
    let first = store.append(other, at(101), vec![batch([seen("x", 101, "1")])]);
    first.await.unwrap();
    assert_eq!(store.last_idx(other).await.unwrap(), 1);

    let (_elsewhere, copy) = restored::<B>(&backup).await;
    put(&*copy, "c", 102, "new").await;
    assert!(copy.last_idx(STREAM).await.unwrap() > newest);
    let first = copy.append(other, at(101), vec![batch([seen("y", 101, "1")])]);
    first.await.unwrap();
    assert!(copy.last_idx(other).await.unwrap() > 1);
    let another = ConsumerId(Uuid::from_u128(79));
    copy.create_consumer(STREAM, another, 0).await.unwrap();
    for consumer in [CONSUMER, another] {
        let worker = Worker {
            consumer,
            ..Worker::of(&*copy)
        };
        assert_eq!(brief(&worker.next(200, 9).await), ["a=1×1", "c=new×1"]);
        for message in lost.iter().chain(&of_late) {
            let token = message.leased.token(message.consumer);
            let known = store_number(&*copy, consumer).await == message.consumer;
            if known {
                assert_eq!(worker.ack_token(token).await, Settled::Stale);
            }
        }
        assert_eq!(worker.counts().await, (0, 2, 0));
    }
    let numbers = store_number(&*copy, another).await;
    assert!(of_late.iter().all(|message| message.consumer < numbers));
}

/// The number of a consumer, by which its tokens are known.
async fn store_number(store: &dyn Store, consumer: ConsumerId) -> u64 {
    let counts = store.counts(consumer, &everything()).await.unwrap();
    counts.consumer
}

/// Writers go on while copies are made. Each copy has all of a batch or nothing, and everything up to
/// some batch.
pub(crate) async fn a_backup_beside_writers_is_one_state<B: Backend>(backend: &B) {
    const BATCH: usize = 50;
    let store = backend.open().await;
    let stop = AtomicBool::new(false);
    let write = async {
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            let ids: Vec<String> = (0..BATCH).map(|n| format!("{number}.{n}")).collect();
            let batch = headrace_store::Batch {
                cursors: vec![CursorWrite {
                    collection: COLLECTION.into(),
                    body: number.to_string().into_bytes(),
                }],
                ..batch(ids.iter().map(|id| seen(id, 1, &"x".repeat(900))))
            };
            append(&*store, 1, batch).await;
            number += 1;
        }
        number
    };
    let copy = async {
        let mut copies = Vec::new();
        for number in 0..4 {
            let file = backend.file(&format!("backup-{number}"));
            let before = store.last_idx(STREAM).await.unwrap();
            store.back_up(&file, MADE).await.unwrap();
            copies.push((file, before));
        }
        stop.store(true, Ordering::SeqCst);
        copies
    };
    let (written, copies) = tokio::join!(write, copy);
    assert!(written > 4, "{written} batches were written meanwhile");
    for (file, before) in copies {
        let (_elsewhere, copy) = restored::<B>(&file).await;
        let stats = copy.stats(STREAM).await.unwrap();
        let cursors = copy.cursors(SYNC).await.unwrap();
        let batches = cursors.first().map_or(0, |(_, body)| {
            let body = std::str::from_utf8(body).unwrap();
            body.parse::<u64>().unwrap() + 1
        });
        assert_eq!(stats.records, batches * BATCH as u64);
        assert!(stats.records >= before, "what was answered is in it");
    }
}

pub(crate) async fn a_backup_replaces_no_file(backend: &impl Backend) {
    let store = backend.open().await;
    let file = backend.file("backup");
    std::fs::write(&file, "precious").unwrap();
    let refused = store.back_up(&file, MADE).await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let nowhere = backend.file("missing").join("backup");
    assert!(store.back_up(&nowhere, MADE).await.is_err());
    // The store has not suffered.
    put(&*store, "a", 100, "1").await;
    store.back_up(&backend.file("other"), MADE).await.unwrap();
}

pub(crate) async fn a_restore_replaces_what_it_is_told_to<B: Backend>(backend: &B) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    let backup = back_up(backend, &*store).await;
    let refused = backend.restore(&backup, true).await;
    assert!(matches!(refused, Err(StoreError::InUse { .. })));
    let worker = Worker::new(&*store).await;
    put(&*store, "b", 100, "later").await;
    for message in worker.next(200, 9).await {
        worker.ack(&message).await;
    }
    // Without a farewell: what was settled is in the journal only.
    drop(store);
    let refused = backend.restore(&backup, false).await;
    assert!(matches!(refused, Err(StoreError::NotEmpty { .. })));
    let store = backend.open().await;
    assert_eq!(short(&log(&*store).await), ["1:a=1", "2:b=later"]);
    drop(store);
    backend.restore(&backup, true).await.unwrap();
    let store = backend.open().await;
    assert_eq!(short(&log(&*store).await), ["1:a=1"]);
    assert_eq!(store.consumers().await.unwrap(), []);
}

pub(crate) async fn what_is_no_whole_backup_is_not_restored<B: Backend>(backend: &B) {
    let store = backend.open().await;
    let ids: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    append(
        &*store,
        1,
        batch(ids.iter().map(|id| seen(id, 1, &"x".repeat(500)))),
    )
    .await;
    let backup = back_up(backend, &*store).await;
    let whole = std::fs::read(&backup).unwrap();
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 8_192].fill(0xff);
    let broken = |error: &StoreError| matches!(error, StoreError::BrokenBackup { .. });
    let cases = [
        ("cut off", whole[..whole.len() / 2].to_vec(), true),
        ("torn", torn, true),
        (
            "text",
            b"not a database at all, but long enough to have a header: ".repeat(20),
            true,
        ),
        ("empty", Vec::new(), false),
    ];
    for (name, bytes, is_broken) in cases {
        let elsewhere = B::new();
        let file = elsewhere.file("wrong");
        std::fs::write(&file, bytes).unwrap();
        let error = elsewhere.restore(&file, false).await.unwrap_err();
        assert_eq!(broken(&error), is_broken, "{name}: {error}");
        assert!(error.to_string().contains("wrong"), "{name}: {error}");
        // Nothing is left of it: the right one fits.
        elsewhere.restore(&backup, false).await.unwrap();
        let copy = elsewhere.open().await;
        assert_eq!(log(&*copy).await.len(), 500, "{name}");
    }
}
