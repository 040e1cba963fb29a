//! Catching up, and how far a reading has come.

use headrace_engine::sync::SyncStatus;
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
async fn a_machine_whose_clock_is_ahead_passes_nothing_over() {
    let mut rig = Rig::with_provider_behind(StripeOptions::default(), &["customer"], 7_200).await;
    rig.stripe.create(Collection::Customer, json!({})).unwrap();
    for _ in 0..3 {
        rig.start().await;
        rig.until_read().await;
        rig.stripe.create(Collection::Customer, json!({})).unwrap();
        rig.until_equal(&[Collection::Customer]).await;
        rig.stop().await;
        rig.stripe.create(Collection::Customer, json!({})).unwrap();
        rig.clock.leap(60);
    }
}

#[tokio::test]
async fn a_machine_whose_clock_is_behind_loses_no_update_and_asks_no_more_often() {
    let mut rig =
        Rig::with_provider_behind(StripeOptions::default(), &["customer"], -3 * DAY).await;
    let made = rig.stripe.create(Collection::Customer, json!({})).unwrap();
    let id = made["id"].as_str().unwrap();
    rig.start().await;
    rig.until_read().await;
    for name in ["a", "b", "c"] {
        let change = json!({"name": name});
        rig.stripe.update(Collection::Customer, id, change).unwrap();
        rig.until_equal(&[Collection::Customer]).await;
        rig.clock.leap(3);
    }
    let checked_at = async |rig: &Rig| rig.status().await.collections[0].last_checked_at;
    let asked_before = rig.stripe.requests().count();
    for _ in 0..5 {
        let last = checked_at(&rig).await;
        rig.until("it looked again", |status| {
            status.collections[0].last_checked_at > last
        })
        .await;
    }
    let asked = rig.stripe.requests().count() - asked_before;
    assert!(asked <= 10, "{asked} requests for five looks");
    rig.stop().await;
}

#[tokio::test]
async fn a_long_reading_tells_about_how_much_there_is_and_when_it_ends() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 2_000);
    // It stands still in the middle.
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
            let is_told = backfill.estimated_completion_at.is_some();
            backfill.estimated_total.is_some() && is_told && backfill.records >= 1_000
        })
        .await;
    let backfill = &status.collections[0].backfill;
    let total = backfill.estimated_total.unwrap();
    assert!((1_600..2_400).contains(&total), "{total}");
    rig.stripe.faults().clear();
    rig.until_read().await;
    rig.stop().await;
}
