//! What goes with what was removed, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::{NewCredential, SyncPatch};
use headrace_model::record::{Content, Observation, Origin, Version};
use headrace_model::secret::Secret;
use headrace_model::{CredentialId, RecordId, SyncId, Timestamp};
use headrace_store::{Batch, Kind, Object, Write};
use serde_json::json;
use uuid::Uuid;

use crate::desk::{CHARGE, CUSTOMER, Desk, idle_sync};

const SYNC: SyncId = SyncId(Uuid::from_u128(9));

/// Makes a sync of two collections that stands still.
async fn make_sync(desk: &Desk) {
    let fields = BTreeMap::from([("secret".to_owned(), "sk_test_x".to_owned())]);
    let new = NewCredential {
        kind: "stripe_key".to_owned(),
        name: None,
        fields: Secret(fields),
        oauth_app_id: None,
        metadata: None,
        verify: false,
        id: None,
    };
    let (credential, _) = desk.engine.put_credential(desk.org, new).await.unwrap();
    let credential = CredentialId(credential.id);
    let sync = idle_sync(desk.stream, credential, &[CUSTOMER, CHARGE]);
    let making = desk.engine.create_sync(desk.org, sync, None, Some(SYNC.0));
    making.await.unwrap();
}

/// Reads these customers.
async fn read(desk: &Desk, customers: impl Iterator<Item = usize>) {
    let seen = |n: usize| Observation {
        parent_id: None,
        upstream_id: n.to_string(),
        content: Content::Present {
            data: "{}".into(),
            hash: 1,
        },
        version: Version::Own(1),
        origin: Origin::Read,
        created_at: None,
        updated_at: None,
    };
    let batch = Batch {
        sync: SYNC,
        fence: None,
        seen: customers.map(|n| (CUSTOMER.into(), seen(n))).collect(),
        purge: Vec::new(),
        cursors: Vec::new(),
    };
    let appending = desk
        .store
        .append(desk.stream, Timestamp::default(), vec![batch]);
    for result in appending.await.unwrap() {
        result.unwrap();
    }
}

fn reads(collections: &[&str]) -> SyncPatch {
    SyncPatch {
        collection_ids: Some(collections.iter().map(|&id| id.to_owned()).collect()),
        ..SyncPatch::default()
    }
}

#[tokio::test]
async fn what_is_read_of_a_collection_that_came_back_is_not_purged() {
    const CUSTOMERS: usize = 10_000;
    let desk = Desk::new().await;
    make_sync(&desk).await;
    read(&desk, 0..CUSTOMERS).await;
    let sync = async || desk.engine.sync(desk.org, &SYNC.to_string()).await.unwrap();
    let (engine, all) = (Arc::clone(&desk.engine), sync().await);
    let purging = tokio::spawn(async move {
        engine
            .patch_sync(all, reads(&[CHARGE]), true)
            .await
            .map(drop)
    });
    let without = loop {
        let sync = sync().await;
        if sync.value.collection_ids == [CHARGE] {
            break sync;
        }
        tokio::task::yield_now().await;
    };
    let both = reads(&[CUSTOMER, CHARGE]);
    desk.engine.patch_sync(without, both, false).await.unwrap();
    // What would be purged last.
    let last = CUSTOMERS - 1;
    read(&desk, last..CUSTOMERS).await;
    purging.await.unwrap().unwrap();
    let record = RecordId::of(SYNC, CUSTOMER, &last.to_string());
    let found = desk.store.record(desk.stream, record).await;
    assert!(found.unwrap().is_some());
}

#[tokio::test]
async fn a_removal_that_cannot_be_read_does_not_keep_others_waiting() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let stream = desk.stream;
    let note = json!({"stream": stream.0, "consumers": [], "syncs": [], "purges": []});
    for (id, body) in [(1, b"?".to_vec()), (2, note.to_string().into_bytes())] {
        let object = Object {
            kind: Kind::Removal,
            id: Uuid::from_u128(id),
            org: desk.org,
            revision: 0,
            names: Vec::new(),
            body,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        desk.store.write(vec![Write::Put(object)]).await.unwrap();
    }
    desk.restart().await;
    // Stopping waits for what the start has begun.
    desk.restart().await;
    assert_eq!(desk.store.last_idx(stream).await.unwrap(), 0, "it is gone");
}

#[tokio::test]
async fn a_removal_that_failed_is_finished_without_a_restart() {
    let mut desk = Desk::new().await;
    make_sync(&desk).await;
    read(&desk, 0..1).await;
    let stored = desk.store.object(Kind::Sync, SYNC.0).await.unwrap();
    let whole = stored.unwrap();
    let purge = json!({"stream": desk.stream, "sync": SYNC, "collection": CUSTOMER});
    let note = json!({"stream": null, "consumers": [], "syncs": [], "purges": [purge]});
    let removal = Object {
        kind: Kind::Removal,
        id: Uuid::from_u128(1),
        body: note.to_string().into_bytes(),
        revision: 0,
        names: Vec::new(),
        ..whole.clone()
    };
    // The purge asks what the sync reads, and cannot be told.
    let broken = Object {
        body: b"?".to_vec(),
        ..whole.clone()
    };
    let writes = vec![Write::Put(removal), Write::Put(broken)];
    desk.store.write(writes).await.unwrap();
    desk.restart().await;
    // Stopping waits for what the start has begun.
    desk.restart().await;
    let record = RecordId::of(SYNC, CUSTOMER, "0");
    let is_there = async || {
        let found = desk.store.record(desk.stream, record).await;
        found.unwrap().is_some()
    };
    assert!(is_there().await, "what was to fail did not");
    let mut log = desk.store.watch(desk.stream).await.unwrap();
    let mut sync: serde_json::Value = serde_json::from_slice(&whole.body).unwrap();
    sync["collection_ids"] = json!([CHARGE]);
    let stored = desk.store.object(Kind::Sync, SYNC.0).await.unwrap();
    let mended = Object {
        body: sync.to_string().into_bytes(),
        revision: stored.unwrap().revision,
        ..whole
    };
    desk.store.write(vec![Write::Put(mended)]).await.unwrap();
    let purged = async {
        while is_there().await {
            log.changed().await.unwrap();
        }
    };
    let purged = tokio::time::timeout(Duration::from_secs(60), purged).await;
    purged.expect("the record goes");
}

#[tokio::test]
async fn a_purge_that_is_left_to_do_ends_when_its_collection_is_taken_in_again() {
    let mut desk = Desk::new().await;
    make_sync(&desk).await;
    read(&desk, 0..1).await;
    let patch = async |desk: &Desk, collections: &[&str]| {
        let sync = desk.engine.sync(desk.org, &SYNC.to_string()).await.unwrap();
        let patched = desk.engine.patch_sync(sync, reads(collections), false);
        patched.await.unwrap();
    };
    patch(&desk, &[CHARGE]).await;
    // As if it had been taken out with its records, and that had failed.
    let purge = json!({"stream": desk.stream, "sync": SYNC, "collection": CUSTOMER});
    let note = json!({"stream": null, "consumers": [], "syncs": [], "purges": [purge]});
    let removal = Object {
        kind: Kind::Removal,
        id: Uuid::from_u128(1),
        org: desk.org,
        revision: 0,
        names: Vec::new(),
        body: note.to_string().into_bytes(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    desk.store.write(vec![Write::Put(removal)]).await.unwrap();
    patch(&desk, &[CUSTOMER, CHARGE]).await;
    patch(&desk, &[CHARGE]).await;
    desk.restart().await;
    // Stopping waits for what the start has begun.
    desk.restart().await;
    let left = desk.store.object(Kind::Removal, Uuid::from_u128(1)).await;
    assert_eq!(left.unwrap(), None, "it is worked off");
    let record = RecordId::of(SYNC, CUSTOMER, "0");
    let found = desk.store.record(desk.stream, record).await;
    assert!(found.unwrap().is_some(), "it was to be kept");
}
