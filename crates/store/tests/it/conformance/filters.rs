//! Filters that changed under what is outstanding.

use headrace_model::delivery::Settled;
use headrace_store::{Next, Selection};

use super::Backend;
use super::world::*;

const PRESENT: Selection = Selection {
    lanes: None,
    deleted: Some(false),
};

/// A crash came between a new filter and dropping what it rejects.
pub(crate) async fn what_a_new_filter_rejects_is_not_delivered_again(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    append(&*store, 110, batch([gone("b", 110), gone("c", 110)])).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 9).await;
    assert_eq!(brief(&messages), ["a=1×1", "b=null×1", "c=null×1"]);
    // A newer version of what is with a worker is held, and free once that worker is done.
    put(&*store, "c", 120, "2").await;
    append(&*store, 130, batch([gone("c", 130)])).await;
    assert!(worker.next(200, 9).await.is_empty());
    worker.nack(&messages[0], 200, 0).await;
    worker.nack(&messages[1], 200, 0).await;
    let again = worker.next_of(201, 9, &PRESENT).await;
    assert_eq!(brief(&again), ["a=1×2"]);
    assert_eq!(worker.ack(&messages[2]).await, Settled::Done);
    assert!(worker.next_of(202, 9, &PRESENT).await.is_empty());
    assert_eq!(worker.ack(&again[0]).await, Settled::Done);
    store.close().await.unwrap();

    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (0, 0, 0), "dropped durably");
    assert!(worker.next(300, 9).await.is_empty());
}

/// Another worker, whose selection was resolved later, had it already.
pub(crate) async fn what_the_selection_cannot_know_is_delivered_again(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = Worker::new(&*store).await;
    append(&*store, 100, batch([gone("a", 100)])).await;
    let first = worker.next(200, 9).await;
    worker.nack(&first[0], 200, 0).await;
    let from_before = Next {
        now: at(201),
        policy: &POLICY,
        selection: &PRESENT,
        upto: 0,
        batch: 9,
        max_bytes: usize::MAX,
    };
    let again = store.next(CONSUMER, from_before).await.unwrap();
    assert_eq!(brief(&again), ["a=null×2"]);
}
