//! Deletes that nothing tells of, and what was missed while nobody looked.

use std::sync::Arc;
use std::time::Duration;

use headrace_engine::clock::Clock as _;
use headrace_engine::sync::{Activity, Reread, SyncStatus};
use headrace_model::health::HealthStatus;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::sync_harness::{Rig, collection};

const DAY: i64 = 86_400;

fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

fn is_live(status: &SyncStatus) -> bool {
    let is_live = |one: &headrace_engine::sync::CollectionStatus| one.status == Activity::Live;
    status.collections.iter().all(is_live)
}

async fn deleted(rig: &Rig) -> Vec<String> {
    let rows = rig.rows().await.into_iter().filter(|row| row.deleted);
    rows.map(|row| row.upstream_id).collect()
}

#[tokio::test]
async fn an_item_taken_out_of_a_subscription_becomes_a_tombstone() {
    let collections = ["subscription", "subscription_item"];
    let mut rig = Rig::new(StripeOptions::default(), &collections).await;
    let sandbox = &rig.stripe;
    let price = || {
        let product = sandbox
            .create(Collection::Product, json!({"name": "p"}))
            .unwrap();
        let params = json!({"product": id_of(&product), "currency": "eur", "unit_amount": 100,
            "recurring": {"interval": "month"}});
        id_of(&sandbox.create(Collection::Price, params).unwrap())
    };
    let customer = sandbox.create(Collection::Customer, json!({})).unwrap();
    let items = json!([{"price": price()}, {"price": price()}]);
    let params = json!({"customer": id_of(&customer), "items": items});
    let subscription = sandbox.create(Collection::Subscription, params).unwrap();
    let item = id_of(&subscription["items"]["data"][0]);
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::SubscriptionItem]).await;
    rig.stripe
        .delete(Collection::SubscriptionItem, &item)
        .unwrap();
    rig.until_equal(&[Collection::SubscriptionItem]).await;
    assert_eq!(deleted(&rig).await, [item]);
    rig.stop().await;
}

#[tokio::test]
async fn a_gap_ends_with_what_was_deleted_in_it() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 35);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    let customers = rig.stripe.list_all(Collection::Customer);
    let gone = id_of(&customers[17]);
    rig.stripe.delete(Collection::Customer, &gone).unwrap();
    rig.clock.leap(31 * DAY);
    rig.start().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("the warning has ended by itself", |status| {
        status.health.status == HealthStatus::Healthy && is_live(status)
    })
    .await;
    assert_eq!(deleted(&rig).await, [gone]);
    assert_eq!(
        rig.store.cursors(rig.sync).await.unwrap().len(),
        2,
        "no notes are left behind"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_collection_that_comes_back_learns_what_was_deleted_meanwhile() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    rig.stripe.seed(Collection::Customer, 5);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.put_sync(|sync| sync.collection_ids.retain(|id| id == "stripe:product"))
        .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    let gone = id_of(&rig.stripe.list_all(Collection::Customer)[2]);
    rig.stripe.delete(Collection::Customer, &gone).unwrap();
    rig.put_sync(|sync| sync.collection_ids.push("stripe:customer".to_owned()))
        .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    rig.until_equal(&[Collection::Customer]).await;
    assert_eq!(deleted(&rig).await, [gone]);
    rig.stop().await;
}

#[tokio::test]
async fn a_record_that_a_list_leaves_out_is_not_deleted() {
    let mut rig = Rig::new(StripeOptions::default(), &["charge"]).await;
    rig.stripe.seed_all(60);
    let supervisor = rig.start().await;
    rig.until_read().await;
    let before = rig.rows().await.len();
    assert!(before > 0);
    rig.list_nothing_once("/v1/charges");
    let reread = supervisor.backfill(
        rig.sync,
        "stripe:charge",
        Reread::All {
            confirm_deletes: false,
        },
    );
    reread.await.unwrap();
    rig.until("nothing was listed", |status| {
        collection(status, "charge").backfill.records == 0 && is_live(status)
    })
    .await;
    assert_eq!(deleted(&rig).await, [""; 0]);
    rig.stop().await;
}

fn charge(rig: &Rig) {
    let charge = json!({"amount": 100, "currency": "eur", "source": "tok_visa"});
    rig.stripe.create(Collection::Charge, charge).unwrap();
}

async fn read_and_stop(rig: &mut Rig) {
    rig.stripe.seed_all(30);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
}

async fn found_by_the_next_start(rig: &mut Rig) {
    rig.start().await;
    rig.until_equal(&[Collection::BalanceTransaction]).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_is_listed_again_goes_back_to_the_last_listing() {
    let mut rig = Rig::new(StripeOptions::default(), &["balance_transaction"]).await;
    read_and_stop(&mut rig).await;
    // Longer ago than the window by the time anybody looks.
    charge(&rig);
    rig.clock.leap(50 * DAY);
    found_by_the_next_start(&mut rig).await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_nothing_out_between_two_listings() {
    let ahead = 40 * DAY;
    let collections = ["balance_transaction"];
    let mut rig = Rig::with_provider_behind(StripeOptions::default(), &collections, ahead).await;
    read_and_stop(&mut rig).await;
    charge(&rig);
    // Longer than the window, and not as long as the clock was ahead.
    rig.clock.leap(35 * DAY);
    found_by_the_next_start(&mut rig).await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_put_listing_again_off() {
    let mut rig = Rig::new(StripeOptions::default(), &["balance_transaction"]).await;
    read_and_stop(&mut rig).await;
    rig.clock.leap(-DAY);
    charge(&rig);
    found_by_the_next_start(&mut rig).await;
}

#[tokio::test]
async fn a_raised_greatest_age_is_read_back_to() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 4);
    rig.clock.leap(20 * DAY);
    rig.stripe.seed(Collection::Customer, 2);
    rig.put_sync(|sync| sync.max_age_days = Some(10)).await;
    let supervisor = rig.start().await;
    rig.until_read().await;
    let admitted = rig.rows().await.len();
    assert!(
        admitted < rig.stripe.count(Collection::Customer),
        "{admitted}"
    );
    rig.put_sync(|sync| sync.max_age_days = Some(10_000)).await;
    supervisor.changed(rig.sync);
    rig.until_equal(&[Collection::Customer]).await;
    // Lowered and raised again: what left the stream comes back.
    rig.put_sync(|sync| sync.max_age_days = Some(10)).await;
    supervisor.changed(rig.sync);
    rig.until_stream("the old ones have left", |rows| rows.len() == admitted)
        .await;
    rig.put_sync(|sync| sync.max_age_days = None).await;
    supervisor.changed(rig.sync);
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn archived_prices_are_read_too() {
    let mut rig = Rig::new(StripeOptions::default(), &["price"]).await;
    rig.settings.page_size = Some(5);
    rig.stripe.seed_all(60);
    let prices = rig.stripe.list_all(Collection::Price);
    assert!(prices.len() > 6);
    for price in prices.iter().step_by(2) {
        let archive = json!({"active": "false"});
        rig.stripe
            .update(Collection::Price, &id_of(price), archive)
            .unwrap();
    }
    // No event of the overlap tells of them.
    rig.clock.leap(DAY);
    rig.start().await;
    rig.until_read().await;
    assert_eq!(rig.rows().await.len(), prices.len());
    rig.until_equal(&[Collection::Price]).await;
    rig.stop().await;
}

#[tokio::test]
async fn more_deletes_than_usual_wait_for_a_word() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 40);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    for customer in rig.stripe.list_all(Collection::Customer).iter().skip(10) {
        rig.stripe
            .delete(Collection::Customer, &id_of(customer))
            .unwrap();
    }
    // No event tells of them any more.
    rig.clock.leap(31 * DAY);
    let supervisor = rig.start().await;
    let doubtful = |status: &SyncStatus| {
        let notes = &collection(status, "customer").notes;
        notes.iter().any(|note| note.contains("confirm_deletes"))
    };
    let status = rig.until("it is doubted", doubtful).await;
    assert_eq!(status.health.status, HealthStatus::Warning);
    assert_eq!(deleted(&rig).await, [""; 0]);
    let confirm_deletes = true;
    let all = Reread::All { confirm_deletes };
    supervisor
        .backfill(rig.sync, "stripe:customer", all)
        .await
        .unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    assert_eq!(deleted(&rig).await.len(), 30);
    rig.until("all is well", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn an_old_event_that_is_read_again_is_not_deleted() {
    let mut rig = Rig::new(StripeOptions::default(), &["event"]).await;
    rig.stripe
        .create(Collection::Customer, json!({"name": "a"}))
        .unwrap();
    let event = id_of(&rig.stripe.list_all(Collection::Event)[0]);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.clock.leap(31 * DAY);
    let ids = Reread::UpstreamIds(vec![event.clone()]);
    supervisor
        .backfill(rig.sync, "stripe:event", ids)
        .await
        .unwrap();
    let all = Reread::All {
        confirm_deletes: false,
    };
    supervisor
        .backfill(rig.sync, "stripe:event", all)
        .await
        .unwrap();
    rig.until("all is read again", |status| {
        status.collections[0].backfill.records == 0 && is_live(status)
    })
    .await;
    let rows = rig.rows().await;
    assert!(
        rows.iter()
            .any(|row| row.upstream_id == event && !row.deleted)
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_sweep_that_is_cut_off_goes_on_and_leaves_no_notes() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(100);
    rig.stripe.seed(Collection::Customer, 400);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    let customers = rig.stripe.list_all(Collection::Customer);
    for customer in customers.iter().step_by(6) {
        rig.stripe
            .delete(Collection::Customer, &id_of(customer))
            .unwrap();
    }
    rig.clock.leap(31 * DAY);
    // Lists are answered, and the first ones that are asked for by id.
    rig.stripe.faults().push(Fault {
        path: "/v1/customers/".to_owned(),
        method: None,
        skip: 60,
        times: 10_000,
        kind: FaultKind::ResetConnection,
    });
    let supervisor = rig.start().await;
    rig.until("the sweep fails", |status| {
        collection(status, "customer").status == Activity::Retrying
    })
    .await;
    assert_eq!(deleted(&rig).await, [""; 0], "nothing is deleted by halves");
    rig.stop().await;
    let asked_before = rig.stripe.requests().count();
    rig.stripe.faults().clear();
    drop(supervisor);
    rig.start().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("all is well", |status| {
        status.health.status == HealthStatus::Healthy && is_live(status)
    })
    .await;
    assert_eq!(deleted(&rig).await.len(), 67);
    let asked = rig.stripe.requests().count() - asked_before;
    assert!(asked < 60, "{asked}: what was asked for is not asked again");
    assert!(rig.store.notes(rig.sync, "/").await.unwrap().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_reading_that_replaces_another_leaves_no_notes_of_it() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 60);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.stripe.faults().push(Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 4,
        times: 10_000,
        kind: FaultKind::ResetConnection,
    });
    let all = Reread::All {
        confirm_deletes: false,
    };
    let reread = supervisor.backfill(rig.sync, "stripe:customer", all.clone());
    reread.await.unwrap();
    rig.until("it stands still", |status| {
        collection(status, "customer").status == Activity::Retrying
    })
    .await;
    assert!(!rig.store.notes(rig.sync, "/").await.unwrap().is_empty());
    rig.stripe.faults().clear();
    let reread = supervisor.backfill(rig.sync, "stripe:customer", all);
    reread.await.unwrap();
    rig.until("it is read again", |status| {
        collection(status, "customer").backfill.records == 60 && is_live(status)
    })
    .await;
    assert_eq!(deleted(&rig).await, [""; 0]);
    assert!(rig.store.notes(rig.sync, "/").await.unwrap().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_tombstone_that_has_left_is_not_brought_back_by_its_event() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 3);
    rig.start().await;
    rig.until_read().await;
    let gone = id_of(&rig.stripe.list_all(Collection::Customer)[0]);
    rig.stripe.delete(Collection::Customer, &gone).unwrap();
    rig.until_stream("it is deleted", |rows| rows.iter().any(|row| row.deleted))
        .await;
    // So long ago, by the position that the next start has, that there is no doubt of its order.
    rig.clock.leap(10);
    // The first may have begun before the leap, and the leap is believed when the third agrees with the second.
    for _ in 0..3 {
        let last = rig.status().await.collections[0].last_checked_at;
        rig.until("it looked again", |status| {
            status.collections[0].last_checked_at > last
        })
        .await;
    }
    rig.stop().await;
    let sweep = headrace_store::Sweep {
        tombstones_before: Some(rig.clock.now() + Duration::from_secs(60)),
        after: 0,
        upto: rig.store.last_idx(rig.stream).await.unwrap(),
        limit: 1_000,
        wants: Arc::new(|_, _| false),
    };
    let swept = rig.store.sweep(rig.stream, sweep).await.unwrap();
    assert_eq!(swept.tombstones, 1);
    rig.start().await;
    // The event is of the overlap, which this look reads again.
    let customer = json!({"name": "later"});
    rig.stripe.create(Collection::Customer, customer).unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    assert_eq!(deleted(&rig).await, [""; 0]);
    rig.stop().await;
}

#[tokio::test]
async fn a_late_event_does_not_bring_back_what_was_deleted_before() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    let made = rig.stripe.create(Collection::Customer, json!({})).unwrap();
    let id = id_of(&made);
    rig.stripe.delete(Collection::Customer, &id).unwrap();
    let events = rig.stripe.list_all(Collection::Event);
    let event = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    show_only(&rig, &[]);
    rig.clock.leap(60);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    show_only(&rig, &[event("customer.deleted")]);
    rig.start().await;
    until_checked_again(&rig).await;
    show_only(&rig, &[event("customer.created")]);
    until_checked_again(&rig).await;
    let rows = rig.rows().await;
    assert!(rows.is_empty(), "{rows:?}");
    rig.stop().await;
}

/// The feed tells of these events, and of no others.
fn show_only(rig: &Rig, events: &[&serde_json::Value]) {
    rig.stripe.faults().clear();
    let list = json!({"object": "list", "has_more": false, "data": events});
    rig.stripe.faults().push(Fault {
        path: "/v1/events".to_owned(),
        method: None,
        skip: 0,
        times: 100_000,
        kind: FaultKind::RawBody(list.to_string().into()),
    });
}

/// Waits for a look at the feed that began after this.
async fn until_checked_again(rig: &Rig) {
    // The first may have begun before.
    for _ in 0..2 {
        let last = rig.status().await.collections[0].last_checked_at;
        rig.until("it looked again", |status| {
            status.collections[0].last_checked_at > last
        })
        .await;
    }
}
