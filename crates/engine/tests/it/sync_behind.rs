//! Catching up, and how far a reading has come.

use std::time::Duration;

use headrace_engine::sync::SyncStatus;
use headrace_model::Timestamp;
use headrace_model::health::HealthStatus;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::sync_harness::{Rig, collection};

const DAY: i64 = 86_400;

#[tokio::test]
async fn what_was_missed_is_looked_at_in_slices_and_told() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    for _ in 0..10 {
        rig.stripe.create(Collection::Customer, json!({})).unwrap();
        rig.clock.leap(2 * DAY);
    }
    // The first slices are read, one in the middle is not.
    rig.stripe.faults().push(Fault {
        path: "/v1/events".to_owned(),
        method: None,
        skip: 4,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    });
    rig.start().await;
    let behind = |status: &SyncStatus| {
        let notes = &collection(status, "customer").notes;
        notes.iter().any(|note| note.contains("catching up"))
    };
    let status = rig.until("it is behind", behind).await;
    assert_eq!(status.health.status, HealthStatus::Warning);
    rig.stripe.faults().clear();
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("it has caught up", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    let requests = rig.stripe.requests().recent();
    let bounded = |line: &&String| line.contains("created%5Blte%5D") && line.contains("/events");
    assert!(requests.iter().filter(bounded).count() > 4, "{requests:#?}");
    rig.stop().await;
}

#[tokio::test]
async fn one_that_is_far_behind_catches_up_beside_the_others() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    let supervisor = rig.start().await;
    rig.until_read().await;
    let product = "stripe:product".to_owned();
    rig.put_sync(|sync| sync.paused.extend([product.clone()]))
        .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    rig.clock.leap(20 * DAY);
    let customer = json!({"name": "now"});
    rig.stripe.create(Collection::Customer, customer).unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    rig.put_sync(|sync| sync.paused.clear()).await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    let params = json!({"name": "while it caught up"});
    rig.stripe.create(Collection::Customer, params).unwrap();
    rig.stripe
        .create(Collection::Product, json!({"name": "p"}))
        .unwrap();
    rig.until_equal(&[Collection::Customer, Collection::Product])
        .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_long_reading_tells_about_how_much_there_is_and_when_it_ends() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 2_000);
    // The clock and the pages stand still in the middle.
    rig.stripe.faults().push(Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 20,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    });
    rig.start().await;
    let status = rig
        .until("there is an estimate", |status| {
            let backfill = &status.collections[0].backfill;
            backfill.estimated_total.is_some() && backfill.records >= 1_000
        })
        .await;
    let backfill = &status.collections[0].backfill;
    let total = backfill.estimated_total.unwrap();
    assert!((1_600..2_400).contains(&total), "{total}");
    rig.stripe.faults().clear();
    rig.until("there is a time", |status| {
        let backfill = &status.collections[0].backfill;
        let at: Option<Timestamp> = backfill.estimated_completion_at;
        let soon = rig_now(&rig) + Duration::from_secs(600);
        at.is_some_and(|at| at < soon) || backfill.completed_at.is_some()
    })
    .await;
    rig.until_read().await;
    rig.stop().await;
}

fn rig_now(rig: &Rig) -> Timestamp {
    use headrace_engine::clock::Clock as _;
    rig.clock.now()
}
