//! Tombstones leave a stream after their days.

use std::time::Duration;

use headrace_engine::{Stored, StreamPatch, SyncPatch, only};
use headrace_model::config::{DeliverPolicy, HttpConsumer};
use headrace_model::filter::Filter;
use headrace_model::{CredentialId, Timestamp};
use headrace_store::{Kind, Object, Range, Selection, Write};
use uuid::Uuid;

use crate::desk::{CHARGE, CUSTOMER, Desk, idle_sync, ids};

async fn left(desk: &Desk) -> Vec<String> {
    desk.engine.sweep_streams().await.unwrap();
    let all = Range {
        after: 0,
        limit: 100,
        max_bytes: usize::MAX,
        newest_first: false,
    };
    let everything = Selection::default();
    let page = desk.store.read(desk.stream, &everything, all).await;
    let rows = page.unwrap().rows;
    rows.into_iter().map(|row| row.upstream_id).collect()
}

async fn keep_for(desk: &Desk, days: Option<u32>) {
    let patch = StreamPatch {
        tombstone_retention_days: Some(days),
        ..StreamPatch::default()
    };
    let patching = desk.engine.update_stream(desk.org, "dev", patch);
    patching.await.unwrap();
}

#[tokio::test]
async fn a_tombstone_leaves_after_its_days_when_every_consumer_that_wants_it_has_it() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "old", Some("{}")).await;
    desk.put(CUSTOMER, "old", None).await;
    let all = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let charges = Filter {
        collection_id: only(CHARGE),
        ..Filter::default()
    };
    let other = desk.consumer(DeliverPolicy::All, charges).await;
    let present = Filter {
        deleted: Some(false),
        ..Filter::default()
    };
    desk.consumer(DeliverPolicy::All, present).await;
    desk.clock.leap(31 * 86_400);
    desk.put(CUSTOMER, "young", None).await;
    assert_eq!(left(&desk).await, ["old", "young"], "unlimited");
    keep_for(&desk, Some(30)).await;
    assert_eq!(left(&desk).await, ["old", "young"], "nobody has it");
    let messages = desk.next(&all).await;
    assert_eq!(ids(&messages), ["old", "young"]);
    assert_eq!(left(&desk).await, ["old", "young"], "a worker has it");
    desk.ack(&all, &messages).await;
    assert!(desk.next(&other).await.is_empty());
    assert_eq!(left(&desk).await, ["young"]);
    desk.clock.leap(29 * 86_400);
    assert_eq!(left(&desk).await, ["young"]);
    desk.clock.leap(2 * 86_400);
    assert!(left(&desk).await.is_empty());
}

#[tokio::test]
async fn days_for_ever_keep_every_tombstone() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", None).await;
    keep_for(&desk, Some(1)).await;
    keep_for(&desk, None).await;
    desk.clock.leap(1_000 * 86_400);
    assert_eq!(left(&desk).await, ["a"]);
}

/// Records of which a sweep takes many steps to take the deletes out.
const MANY: u64 = 6_000;

/// Deletes many records, of which a consumer has or wants none, and waits until a sweep is in the middle.
async fn sweep_many(desk: &mut Desk, records: &[String]) {
    desk.put_all(CUSTOMER, records, None).await;
    desk.clock.leap(31 * 86_400);
    keep_for(desk, Some(30)).await;
    // That wakes the sweeper.
    let begins = async {
        while desk.store.stats(desk.stream).await.unwrap().records == MANY {
            tokio::task::yield_now().await;
        }
    };
    let begun = tokio::time::timeout(Duration::from_secs(60), begins).await;
    begun.expect("the sweep begins");
}

fn many() -> Vec<String> {
    (0..MANY).map(|id| id.to_string()).collect()
}

/// What a consumer is told that it is to be given, in the middle of a sweep that takes out what it did not
/// want before.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_widened_during_a_sweep_loses_no_delete() {
    let mut desk = Desk::new().await;
    let present = Filter {
        deleted: Some(false),
        ..Filter::default()
    };
    desk.put_all(CUSTOMER, &many(), Some("{}")).await;
    let consumer = desk.consumer(DeliverPolicy::All, present).await;
    assert_eq!(take_all(&desk, &consumer).await, MANY);
    let id = consumer.id.to_string();
    let consumer = desk.engine.consumer(desk.org, &id).await.unwrap();
    let mut value = consumer.value.clone();
    value.filters = Filter::default();
    sweep_many(&mut desk, &many()).await;
    let (view, _) = desk.engine.update_consumer(consumer, value).await.unwrap();
    desk.engine.sweep_streams().await.unwrap();
    assert_eq!(take_all(&desk, &view.consumer).await, view.counts.pending);
}

/// The same where a sync is patched, by which the filter takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_patched_during_a_sweep_loses_no_delete() {
    let mut desk = Desk::new().await;
    let id = Uuid::from_u128(9);
    let credential = CredentialId(Uuid::from_u128(3));
    let mut sync = idle_sync(desk.stream, credential, &[CUSTOMER]);
    sync.external_id = Some("other".to_owned());
    let object = Object {
        kind: Kind::Sync,
        id,
        org: desk.org,
        revision: 0,
        names: Vec::new(),
        body: serde_json::to_vec(&sync).unwrap(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    desk.store.write(vec![Write::Put(object)]).await.unwrap();
    let acme = Filter {
        external_id: only("acme"),
        ..Filter::default()
    };
    let consumer = desk.consumer(DeliverPolicy::All, acme).await;
    let sync = desk.engine.sync(desk.org, &id.to_string()).await.unwrap();
    sweep_many(&mut desk, &many()).await;
    let patch = SyncPatch {
        external_id: Some(Some("acme".to_owned())),
        ..SyncPatch::default()
    };
    desk.engine.patch_sync(sync, patch, false).await.unwrap();
    let view = desk.engine.consumer_view(consumer).await.unwrap();
    desk.engine.sweep_streams().await.unwrap();
    assert_eq!(take_all(&desk, &view.consumer).await, view.counts.pending);
}

/// Takes and acknowledges everything; answers how much it was.
async fn take_all(desk: &Desk, consumer: &Stored<HttpConsumer>) -> u64 {
    let mut taken = 0;
    loop {
        let messages = desk.next(consumer).await;
        if messages.is_empty() {
            return taken;
        }
        taken += messages.len() as u64;
        desk.ack(consumer, &messages).await;
    }
}
