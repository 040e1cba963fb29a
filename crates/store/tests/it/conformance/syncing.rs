//! Cursors and leases.

use std::sync::Arc;

use headrace_model::SyncId;
use headrace_store::{Batch, CursorWrite};
use uuid::Uuid;

use super::Backend;
use super::world::*;

pub(crate) async fn a_lease_has_one_owner_and_a_growing_fence(backend: &impl Backend) {
    let store = backend.open().await;
    let (ann, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let lease = async |owner, now, until| {
        let fence = store
            .lease("sync", owner, at(now), at(until))
            .await
            .unwrap();
        fence.map(|fence| {
            assert_eq!(&*fence.name, "sync");
            fence.number
        })
    };
    assert_eq!(lease(ann, 0, 10).await, Some(1));
    assert_eq!(lease(bob, 9, 20).await, None);
    assert_eq!(lease(ann, 9, 20).await, Some(1), "renewed");
    assert_eq!(lease(bob, 19, 30).await, None, "the renewal counts");
    assert_eq!(lease(bob, 20, 30).await, Some(2));
    assert_eq!(lease(ann, 21, 40).await, None);
    store.release("sync", ann).await.unwrap();
    assert_eq!(lease(ann, 22, 40).await, None, "it was not hers to give");
    store.release("sync", bob).await.unwrap();
    assert_eq!(lease(ann, 23, 40).await, Some(3));
    let other = store.lease("other", bob, at(23), at(40)).await.unwrap();
    assert_eq!(other.unwrap().number, 1);
    store.close().await.unwrap();
    let store = backend.open().await;
    assert_eq!(
        store.lease("sync", bob, at(30), at(50)).await.unwrap(),
        None
    );
}

pub(crate) async fn cursors_are_kept_by_collection(backend: &impl Backend) {
    let store = backend.open().await;
    let write = |collection: &str, body: &str| CursorWrite {
        collection: Arc::from(collection),
        body: body.as_bytes().to_vec(),
    };
    let with = |cursors| Batch {
        cursors,
        ..batch([])
    };
    append(&*store, 1, with(vec![write("b", "1"), write("a", "1")])).await;
    append(&*store, 2, with(vec![write("b", "2"), write("c", "1")])).await;
    let pair = |name: &str, body: &str| (name.to_owned(), body.as_bytes().to_vec());
    let expected = [pair("a", "1"), pair("b", "2"), pair("c", "1")];
    assert_eq!(store.cursors(SYNC).await.unwrap(), expected);
    assert_eq!(store.cursors(SyncId(Uuid::from_u128(9))).await.unwrap(), []);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 0);
    store.close().await.unwrap();

    let store = backend.open().await;
    assert_eq!(store.cursors(SYNC).await.unwrap(), expected);
    append(&*store, 3, with(vec![write("c", ""), write("d", "")])).await;
    let expected = [pair("a", "1"), pair("b", "2")];
    assert_eq!(
        store.cursors(SYNC).await.unwrap(),
        expected,
        "empty ones are removed"
    );
    let notes = ["/b/1", "/a/2", "/a/10", "/aa/1"];
    let notes = notes.map(|name| write(name, name)).to_vec();
    append(&*store, 4, with(notes)).await;
    assert_eq!(
        store.cursors(SYNC).await.unwrap(),
        expected,
        "without notes"
    );
    let below_a = store.notes(SYNC, "/a/").await.unwrap();
    assert_eq!(below_a, [pair("/a/10", "/a/10"), pair("/a/2", "/a/2")]);
    assert_eq!(store.notes(SYNC, "/").await.unwrap().len(), 4);
    append(&*store, 4, with(vec![write("/a/", "")])).await;
    let left = [pair("/aa/1", "/aa/1"), pair("/b/1", "/b/1")];
    assert_eq!(store.notes(SYNC, "/").await.unwrap(), left);
    append(&*store, 4, with(vec![write("c", "1")])).await;
    store.drop_cursors(SYNC, Some("b")).await.unwrap();
    let left = [pair("a", "1"), pair("c", "1")];
    assert_eq!(store.cursors(SYNC).await.unwrap(), left);
    store.drop_cursors(SYNC, None).await.unwrap();
    assert_eq!(store.notes(SYNC, "/").await.unwrap(), []);
    assert_eq!(store.cursors(SYNC).await.unwrap(), []);
}
