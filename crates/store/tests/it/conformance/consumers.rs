//! Consumers over a real log: at least once, one worker at a time, exact counts.

use headrace_model::delivery::Settled;

use super::Backend;
use super::world::*;

pub(crate) async fn acked_is_done_and_the_rest_comes_again(backend: &impl Backend) {
    let store = backend.open().await;
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        put(&*store, id, 100 + n as i64, "1").await;
    }
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
