//! Sweeping: what nobody needs any more leaves the log, and nothing else does.

use std::sync::Arc;

use headrace_model::ConsumerId;
use headrace_model::delivery::Settled;
use headrace_store::{Outcome, Store, Sweep, Swept};
use uuid::Uuid;

use super::Backend;
use super::world::*;

const SLOW: ConsumerId = ConsumerId(Uuid::from_u128(50));
/// Its filter takes nothing here.
const ELSEWHERE: ConsumerId = ConsumerId(Uuid::from_u128(51));

/// Sweeps tombstones from before this second, in one step.
async fn sweep(store: &dyn Store, second: i64) -> (usize, usize) {
    let swept = step(store, Some(second), 0, 100).await;
    assert_eq!(swept.next, None);
    (swept.tombstones, swept.purges)
}

async fn step(store: &dyn Store, before: Option<i64>, after: u64, limit: usize) -> Swept {
    let sweep = Sweep {
        tombstones_before: before.map(at),
        after,
        upto: store.last_idx(STREAM).await.unwrap(),
        limit,
        wants: Arc::new(|consumer, _| consumer != ELSEWHERE),
    };
    store.sweep(STREAM, sweep).await.unwrap()
}

/// Acks everything there is.
async fn drain(worker: &Worker<'_>, second: i64) {
    for message in worker.next(second, 100).await {
        assert_eq!(worker.ack(&message).await, Settled::Done);
    }
}

pub(crate) async fn old_tombstones_leave_once_everybody_has_passed(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(
        sweep(&*store, 1_000).await,
        (0, 0),
        "nothing was ever there"
    );
    put(&*store, "a", 100, "1").await;
    append(&*store, 110, batch([gone("a", 110), gone("b", 110)])).await;
    append(&*store, 120, batch([gone("c", 120)])).await;
    put(&*store, "d", 130, "1").await;
    let worker = Worker::new(&*store).await;
    store.create_consumer(STREAM, SLOW, 2).await.unwrap();
    store.create_consumer(STREAM, ELSEWHERE, 0).await.unwrap();
    drain(&worker, 200).await;
    assert_eq!(sweep(&*store, 110).await, (0, 0), "none is older");
    assert_eq!(sweep(&*store, 120).await, (1, 0), "one has passed them all");
    assert_eq!(
        short(&log(&*store).await),
        ["3:-b=null", "4:-c=null", "5:d=1"]
    );
    let slow = Worker {
        consumer: SLOW,
        ..worker
    };
    drain(&slow, 200).await;
    assert_eq!(sweep(&*store, 120).await, (1, 0));
    assert_eq!(sweep(&*store, 120).await, (0, 0));
    let rest = ["4:-c=null", "5:d=1"];
    assert_eq!(short(&log(&*store).await), rest);
    let stats = store.stats(STREAM).await.unwrap();
    let counts = (stats.records, stats.live, stats.bytes, stats.last_idx);
    assert_eq!(counts, (2, 1, 5, 5));
    assert_eq!(worker.counts().await, (0, 0, 0));
    assert_eq!(store.record(STREAM, record("b")).await.unwrap(), None);
    store.close().await.unwrap();

    let store = backend.open().await;
    assert_eq!(short(&log(&*store).await), rest);
    assert_eq!(store.stats(STREAM).await.unwrap(), stats);
    let again = put(&*store, "b", 90, "1").await;
    assert_eq!(again, Outcome::Appended { idx: 6, new: true });
    let worker = Worker::of(&*store);
    assert_eq!(brief(&worker.next(210, 9).await), ["b=1×1"]);
}

pub(crate) async fn what_is_not_settled_stays(backend: &impl Backend) {
    let store = backend.open().await;
    let goes = ["a", "b", "c", "d"].map(|id| gone(id, 100));
    append(&*store, 100, batch(goes)).await;
    put(&*store, "d", 110, "1").await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    append(&*store, 120, batch([gone("d", 120)])).await;
    assert!(worker.next(200, 9).await.is_empty(), "d is held");
    assert_eq!(worker.nack(&messages[1], 200, 60).await, Settled::Done);
    assert_eq!(worker.ack(&messages[2]).await, Settled::Done);
    assert_eq!(sweep(&*store, 1_000).await, (1, 0));
    let left = ["1:-a=null", "2:-b=null", "6:-d=1"];
    assert_eq!(short(&log(&*store).await), left);
    assert_eq!(worker.ack(&messages[0]).await, Settled::Done);
    assert_eq!(worker.ack(&messages[3]).await, Settled::Done);
    assert_eq!(
        sweep(&*store, 1_000).await,
        (1, 0),
        "only the first is done"
    );
    let rest = worker.next(300, 9).await;
    assert_eq!(brief(&rest), ["b=null×2", "d=1×1"]);
    assert_eq!(worker.counts().await, (0, 2, 0));
}

pub(crate) async fn a_dead_letter_keeps_its_tombstone(backend: &impl Backend) {
    let store = backend.open().await;
    append(&*store, 100, batch([gone("a", 100)])).await;
    let worker = Worker::new(&*store).await;
    let message = worker.next(200, 9).await.remove(0);
    assert_eq!(worker.reject(&message, 200).await, Settled::Done);
    assert_eq!(sweep(&*store, 1_000).await, (0, 0));
    store
        .redrive(CONSUMER, None, &everything(), u64::MAX)
        .await
        .unwrap();
    assert_eq!(sweep(&*store, 1_000).await, (0, 0));
    drain(&worker, 210).await;
    assert_eq!(sweep(&*store, 1_000).await, (1, 0));
}

pub(crate) async fn purge_entries_wait_for_no_consumer(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = Worker::new(&*store).await;
    for id in ["a", "b", "c"] {
        put(&*store, id, 100, "1").await;
    }
    purge(&*store, "a").await;
    purge(&*store, "b").await;
    append(&*store, 110, batch([gone("d", 110)])).await;
    let keep = async || step(&*store, None, 0, 100).await;
    let swept = keep().await;
    assert_eq!((swept.tombstones, swept.purges, swept.next), (0, 2, None));
    assert_eq!(keep().await.purges, 0);
    assert_eq!(short(&log(&*store).await), ["3:c=1", "6:-d=null"]);
    assert_eq!(brief(&worker.next(200, 9).await), ["c=1×1", "d=null×1"]);
    purge(&*store, "c").await;
    assert_eq!(keep().await.purges, 1);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 7);
}

pub(crate) async fn a_sweep_goes_in_steps(backend: &impl Backend) {
    let store = backend.open().await;
    let ids = ["a", "b", "c", "d", "e"];
    append(&*store, 100, batch(ids.map(|id| gone(id, 100)))).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    // The first two stay, and are not looked at again.
    for message in &messages[2..] {
        worker.ack(message).await;
    }
    let mut after = Some(0);
    let mut swept = Vec::new();
    while let Some(from) = after {
        let step = step(&*store, Some(1_000), from, 2).await;
        swept.push(step.tombstones);
        after = step.next;
    }
    assert_eq!(swept, [0, 2, 1]);
    assert_eq!(short(&log(&*store).await), ["1:-a=null", "2:-b=null"]);
}
