//! Consumers over a real log: at least once, one worker at a time, the newest version.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use headrace_model::delivery::{Policy, Settled};
use headrace_model::{ConsumerId, OrgId};
use headrace_store::{Kind, Next, Object, Selection, Store, StoreError, Write};
use uuid::Uuid;

use super::Backend;
use super::world::*;

async fn fill(store: &dyn Store, ids: &[&str]) {
    for id in ids {
        put(store, id, 100, "1").await;
    }
}

pub(crate) async fn acked_is_done_and_the_rest_comes_again(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b", "c"]).await;
    let worker = Worker::new(&*store).await;
    let first = worker.next(200, 2).await;
    assert_eq!(brief(&first), ["a=1×1", "b=1×1"]);
    assert_eq!(worker.counts().await, (1, 2, 0));
    assert_eq!(worker.ack(&first[0]).await, Settled::Done);
    assert_eq!(worker.ack(&first[0]).await, Settled::Stale);
    store.close().await.unwrap();
    drop(store);

    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (1, 1, 0));
    assert_eq!(brief(&worker.next(210, 9).await), ["c=1×1"]);
    let again = worker.next(231, 9).await;
    assert_eq!(brief(&again), ["b=1×2"]);
    assert_eq!(worker.ack(&first[1]).await, Settled::Stale);
    assert_eq!(worker.ack(&again[0]).await, Settled::Done);
}

pub(crate) async fn a_consumer_is_made_once(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b", "c"]).await;
    store.create_consumer(STREAM, CONSUMER, 1).await.unwrap();
    store.create_consumer(STREAM, CONSUMER, 3).await.unwrap();
    let worker = Worker::of(&*store);
    assert_eq!(brief(&worker.next(200, 9).await), ["b=1×1", "c=1×1"]);

    store.drop_consumer(CONSUMER).await.unwrap();
    let gone = worker.try_next(200, 9, &everything()).await;
    assert!(matches!(gone, Err(StoreError::NoConsumer)));
    let letters = store.dead_letters(CONSUMER, None, 9).await;
    assert!(matches!(letters, Err(StoreError::NoConsumer)));

    store.create_consumer(STREAM, CONSUMER, 0).await.unwrap();
    assert_eq!(worker.counts().await, (3, 0, 0));
}

/// Tokens name the consumer by a number that is never given to another.
pub(crate) async fn consumers_have_numbers_of_their_own(backend: &impl Backend) {
    let store = backend.open().await;
    let mut numbers = HashSet::new();
    for n in 0..4 {
        let consumer = ConsumerId(Uuid::from_u128(100 + n));
        store.create_consumer(STREAM, consumer, 0).await.unwrap();
        let counts = store.counts(consumer, &everything()).await.unwrap();
        assert!(numbers.insert(counts.consumer));
        store.drop_consumer(consumer).await.unwrap();
    }
}

pub(crate) async fn workers_never_share_a_message(backend: &impl Backend) {
    let store = backend.open().await;
    let ids: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
    append(&*store, 100, batch(ids.iter().map(|id| seen(id, 100, "1")))).await;
    Worker::new(&*store).await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = Arc::clone(&store);
        workers.spawn(async move {
            let worker = Worker::of(&*store);
            let mut got = Vec::new();
            loop {
                let messages = worker.next(200, 7).await;
                if messages.is_empty() {
                    return got;
                }
                for message in &messages {
                    assert_eq!(worker.ack(message).await, Settled::Done);
                    got.push(message.row.idx);
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(got) = workers.join_next().await {
        all.extend(got.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<u64>>());
    assert_eq!(Worker::of(&*store).counts().await, (0, 0, 0));
}

pub(crate) async fn a_new_version_waits_for_the_worker_that_has_the_old(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    let held = worker.next(200, 9).await;
    put(&*store, "a", 110, "2").await;
    put(&*store, "a", 120, "3").await;
    assert_eq!(worker.counts().await, (1, 2, 0));
    assert!(worker.next(201, 9).await.is_empty(), "withheld");
    assert_eq!(worker.counts().await, (1, 2, 0));
    put(&*store, "a", 130, "4").await;
    assert!(worker.next(202, 9).await.is_empty(), "withheld");
    assert_eq!(worker.ack(&held[0]).await, Settled::Done);
    let newest = worker.next(203, 9).await;
    assert_eq!(brief(&newest), ["a=4×1"]);
    assert_eq!(worker.counts().await, (0, 2, 0));
}

pub(crate) async fn a_version_that_left_the_log_is_not_delivered_again(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b", "c"]).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    worker.nack(&messages[0], 200, 0).await;
    worker.nack(&messages[1], 200, 0).await;
    put(&*store, "a", 110, "2").await;
    purge(&*store, "b").await;
    purge(&*store, "c").await;
    assert_eq!(worker.counts().await, (1, 1, 0));
    let next = worker.next(201, 9).await;
    assert_eq!(brief(&next), ["a=2×1"]);
    assert_eq!(
        worker.ack(&messages[2]).await,
        Settled::Done,
        "kept until it is settled"
    );
    assert_eq!(worker.ack(&next[0]).await, Settled::Done);
    assert_eq!(worker.counts().await, (0, 0, 0));
}

/// The same when the store was closed in between.
pub(crate) async fn what_left_the_log_is_known_after_reopening(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    put(&*store, "a", 110, "2").await;
    assert!(worker.next(201, 9).await.is_empty());
    store.close().await.unwrap();
    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (1, 2, 0));
    assert!(worker.next(202, 9).await.is_empty(), "the old one is out");
    let after = worker.next(231, 9).await;
    assert_eq!(brief(&after), ["b=1×2", "a=2×1"]);
    assert_eq!(worker.ack(&messages[0]).await, Settled::Stale);
}

pub(crate) async fn max_ack_pending_bounds_what_is_out(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b", "c", "d"]).await;
    let worker = Worker {
        policy: Policy {
            max_ack_pending: 2,
            ..POLICY
        },
        ..Worker::new(&*store).await
    };
    let first = worker.next(200, 9).await;
    assert_eq!(brief(&first), ["a=1×1", "b=1×1"]);
    assert!(worker.next(200, 9).await.is_empty());
    let mut wake = store.watch_consumer(CONSUMER).await.unwrap();
    worker.ack(&first[0]).await;
    assert!(wake.has_changed().unwrap(), "there is room");
    wake.mark_unchanged();
    assert_eq!(brief(&worker.next(200, 9).await), ["c=1×1"]);
}

pub(crate) async fn only_what_matches_is_delivered_and_counted(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    append(
        &*store,
        110,
        batch_of(SYNC, "invoice", [seen("i", 100, "1")]),
    )
    .await;
    append(&*store, 120, batch([gone("a", 120)])).await;
    let lanes = store.lanes(STREAM).await.unwrap();
    let invoice = lanes
        .iter()
        .find(|lane| &*lane.collection == "invoice")
        .unwrap();
    let invoices = Selection {
        lanes: Some(Arc::from([invoice.no])),
        deleted: None,
    };
    let tombstones = Selection {
        lanes: None,
        deleted: Some(true),
    };
    let worker = Worker::new(&*store).await;
    let all = everything();
    let pending = async |selection| store.counts(CONSUMER, selection).await.unwrap().pending;
    assert_eq!(pending(&all).await, 3);
    assert_eq!(pending(&invoices).await, 1);
    assert_eq!(pending(&tombstones).await, 1);
    assert_eq!(brief(&worker.next_of(200, 9, &invoices).await), ["i=1×1"]);
    assert_eq!(pending(&all).await, 1, "b was passed over");
    let tombstone = worker.next_of(200, 9, &tombstones).await;
    assert_eq!(brief(&tombstone), ["a=1×1"]);
    assert!(tombstone[0].row.deleted);
}

pub(crate) async fn nothing_beyond_upto_is_delivered(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    Worker::new(&*store).await;
    let selection = everything();
    let next = |upto| Next {
        now: at(200),
        policy: &POLICY,
        selection: &selection,
        upto,
        batch: 9,
        max_bytes: usize::MAX,
    };
    assert!(store.next(CONSUMER, next(0)).await.unwrap().is_empty());
    assert_eq!(
        brief(&store.next(CONSUMER, next(1)).await.unwrap()),
        ["a=1×1"]
    );
    assert_eq!(
        brief(&store.next(CONSUMER, next(9)).await.unwrap()),
        ["b=1×1"]
    );
}

pub(crate) async fn an_answer_stops_at_the_byte_limit(backend: &impl Backend) {
    let store = backend.open().await;
    for id in ["a", "b", "c"] {
        put(&*store, id, 100, "0123456789").await;
    }
    let worker = Worker::new(&*store).await;
    let selection = everything();
    let next = async |now, max_bytes| {
        let next = Next {
            now: at(now),
            policy: &POLICY,
            selection: &selection,
            upto: 3,
            batch: 9,
            max_bytes,
        };
        store.next(CONSUMER, next).await.unwrap()
    };
    assert_eq!(next(200, 5).await.len(), 1, "at least one");
    assert_eq!(
        worker.counts().await,
        (2, 1, 0),
        "only what was returned is leased"
    );
    assert_eq!(next(200, 29).await.len(), 2);
    let again = next(230, 25).await;
    assert_eq!(
        again
            .iter()
            .map(|message| message.row.idx)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(worker.counts().await, (0, 3, 0));
    let rest = next(231, 25).await;
    assert_eq!(
        rest.iter()
            .map(|message| message.row.idx)
            .collect::<Vec<_>>(),
        [3]
    );
}

pub(crate) async fn a_restart_and_its_object_are_both_written_or_neither(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a"]).await;
    let worker = Worker::new(&*store).await;
    for message in worker.next(200, 9).await {
        worker.ack(&message).await;
    }
    let object = |revision| Object {
        kind: Kind::Consumer,
        id: CONSUMER.0,
        org: OrgId(Uuid::nil()),
        revision,
        names: Vec::new(),
        body: b"{}".to_vec(),
        created_at: at(1),
        updated_at: at(1),
    };
    let restart = async |revision| {
        let with = Write::Put(object(revision));
        store.restart(CONSUMER, 0, with).await
    };
    let refused = restart(7).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })));
    assert_eq!(brief(&worker.next(201, 9).await), Vec::<String>::new());
    assert!(
        store
            .object(Kind::Consumer, CONSUMER.0)
            .await
            .unwrap()
            .is_none()
    );
    restart(0).await.unwrap();
    assert!(
        store
            .object(Kind::Consumer, CONSUMER.0)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(brief(&worker.next(202, 9).await), ["a=1×1"]);
}

pub(crate) async fn a_reset_begins_anew(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    let mut wake = store.watch_consumer(CONSUMER).await.unwrap();
    store
        .update(CONSUMER, &mut |consumer| consumer.reset(0))
        .await
        .unwrap();
    assert!(wake.has_changed().unwrap());
    wake.mark_unchanged();
    assert_eq!(worker.ack(&messages[0]).await, Settled::Stale);
    assert_eq!(worker.counts().await, (2, 0, 0));
    store.close().await.unwrap();
    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (2, 0, 0));
    assert_eq!(worker.ack(&messages[0]).await, Settled::Stale);
    assert_eq!(brief(&worker.next(200, 9).await), ["a=1×1", "b=1×1"]);
}

pub(crate) async fn a_changed_filter_drops_what_no_longer_matches(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    store
        .update(CONSUMER, &mut |consumer| consumer.refilter(|idx| idx == 2))
        .await
        .unwrap();
    assert_eq!(worker.ack(&messages[0]).await, Settled::Stale);
    store.close().await.unwrap();
    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (0, 1, 0));
    assert_eq!(worker.ack(&messages[1]).await, Settled::Done);
}

pub(crate) async fn a_window_that_ends_is_told(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a"]).await;
    let worker = Worker::new(&*store).await;
    let expire = async |second| store.expire(CONSUMER, at(second), &POLICY).await.unwrap();
    assert_eq!(expire(190).await, None);
    let mut wake = store.watch_consumer(CONSUMER).await.unwrap();
    let message = worker.next(200, 1).await.remove(0);
    assert!(wake.has_changed().unwrap(), "there is a deadline now");
    wake.mark_unchanged();
    assert_eq!(expire(229).await, Some(at(230)));
    assert!(!wake.has_changed().unwrap());
    assert_eq!(expire(230).await, Some(at(230)));
    assert!(wake.has_changed().unwrap(), "it can go out again");
    wake.mark_unchanged();
    assert_eq!(
        worker.ack(&message).await,
        Settled::Done,
        "late, but not too late"
    );
    assert_eq!(expire(300).await, None);
}

pub(crate) async fn whoever_waits_is_woken(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    let mut wake = store.watch_consumer(CONSUMER).await.unwrap();
    let mut woken = || {
        let woken = wake.has_changed().unwrap();
        wake.mark_unchanged();
        woken
    };
    assert!(worker.next(200, 9).await.is_empty());
    assert!(!woken(), "nothing happened");
    worker.nack(&messages[0], 201, 0).await;
    assert!(woken(), "given back");
    let again = worker.next(202, 9).await;
    put(&*store, "a", 110, "2").await;
    assert!(worker.next(202, 9).await.is_empty());
    woken();
    worker.ack(&again[0]).await;
    assert!(woken(), "the withheld version is free");
    worker.next(203, 9).await;
    woken();
    worker.reject(&messages[1], 204).await;
    store
        .redrive(CONSUMER, None, &everything(), u64::MAX)
        .await
        .unwrap();
    assert!(woken(), "redriven");
}

pub(crate) async fn looking_changes_nothing(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a", "b"]).await;
    let worker = Worker::new(&*store).await;
    worker.next(200, 1).await;
    let mut seen = None;
    store
        .inspect(CONSUMER, &mut |consumer| {
            let out: Vec<u64> = consumer.outstanding().map(|(idx, _)| idx).collect();
            seen = Some((consumer.position(), consumer.generation(), out));
        })
        .await
        .unwrap();
    assert_eq!(seen, Some((1, 1, vec![1])));
    let nobody = ConsumerId(Uuid::from_u128(99));
    let missing = store.inspect(nobody, &mut |_| {}).await;
    assert!(matches!(missing, Err(StoreError::NoConsumer)));
}

pub(crate) async fn an_extended_window_is_durable(backend: &impl Backend) {
    let store = backend.open().await;
    fill(&*store, &["a"]).await;
    let worker = Worker::new(&*store).await;
    let message = worker.next(200, 1).await.remove(0);
    let token = message.leased.token(message.consumer);
    let mut settled = Settled::Stale;
    let longer = Policy {
        ack_wait: Duration::from_secs(60),
        ..POLICY
    };
    store
        .update(CONSUMER, &mut |consumer| {
            settled = consumer.extend(&token, at(220), &longer)
        })
        .await
        .unwrap();
    assert_eq!(settled, Settled::Done);
    store.close().await.unwrap();
    let store = backend.open().await;
    assert_eq!(
        store.expire(CONSUMER, at(270), &POLICY).await.unwrap(),
        Some(at(280))
    );
    assert!(Worker::of(&*store).next(279, 1).await.is_empty());
    assert_eq!(brief(&Worker::of(&*store).next(280, 1).await), ["a=1×2"]);
}
