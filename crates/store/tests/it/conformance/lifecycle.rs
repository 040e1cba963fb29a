//! Opening and closing.

use headrace_store::{Kind, StoreError};
use uuid::Uuid;

use super::Backend;
use super::world::*;

pub(crate) async fn a_closed_store_refuses_everything(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    let worker = Worker::new(&*store).await;
    worker.next(100, 1).await;
    store.ready().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.ready().await, Err(StoreError::Closed)));
    let read = store.object(Kind::Org, Uuid::nil()).await;
    assert!(matches!(read, Err(StoreError::Closed)));
    assert!(matches!(
        store.last_idx(STREAM).await,
        Err(StoreError::Closed)
    ));
    let next = worker.try_next(100, 1, &everything()).await;
    assert!(matches!(next, Err(StoreError::Closed)));
    let counts = store.counts(CONSUMER, &everything()).await;
    assert!(matches!(counts, Err(StoreError::Closed)));
    let append = store.append(STREAM, at(1), vec![batch([])]).await;
    assert!(matches!(append, Err(StoreError::Closed)));
    store.close().await.unwrap();
}

/// What was answered survives without a farewell.
pub(crate) async fn a_store_that_was_just_left_opens_again(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(short(&log(&*store).await), ["1:a=1"]);
}
