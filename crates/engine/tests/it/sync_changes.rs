//! Following changes: events, doubts, gaps, listing again.

use std::path::Path;

use headrace_engine::sync::{Activity, Reread, SyncStatus};
use headrace_model::health::HealthStatus;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::sync_harness::{Rig, collection};

const FOLLOWED: [(&str, Collection); 7] = [
    ("customer", Collection::Customer),
    ("product", Collection::Product),
    ("price", Collection::Price),
    ("subscription", Collection::Subscription),
    ("invoice", Collection::Invoice),
    ("charge", Collection::Charge),
    ("refund", Collection::Refund),
];

fn followed() -> (Vec<&'static str>, Vec<Collection>) {
    FOLLOWED.into_iter().unzip()
}

#[tokio::test]
async fn the_stream_equals_the_account_after_random_changes() {
    let (names, kinds) = followed();
    let mut rig = Rig::new(StripeOptions::default(), &names).await;
    rig.settings.page_size = Some(20);
    rig.stripe.seed_all(150);
    let supervisor = rig.start().await;
    // Changes during the first reading, and after it.
    for _ in 0..10 {
        rig.stripe.mutate_randomly(10);
        supervisor.check(rig.sync, "stripe:customer").await.ok();
        tokio::task::yield_now().await;
    }
    rig.until_read().await;
    rig.stripe.mutate_randomly(150);
    rig.until_equal(&kinds).await;
    rig.stop().await;
}

#[tokio::test]
async fn changes_while_nothing_ran_arrive_after_the_next_start() {
    let (names, kinds) = followed();
    let mut rig = Rig::new(StripeOptions::default(), &names).await;
    rig.stripe.seed_all(60);
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&kinds).await;
    rig.stop().await;
    rig.clock.leap(5 * 86_400);
    rig.stripe.mutate_randomly(300);
    rig.start().await;
    rig.until_equal(&kinds).await;
    rig.stop().await;
}

#[tokio::test]
async fn events_of_another_api_version_are_read_by_id() {
    let options = StripeOptions {
        api_version: "2020-08-27".to_owned(),
        ..StripeOptions::default()
    };
    let mut rig = Rig::new(options, &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 3);
    rig.start().await;
    rig.until_read().await;
    let customer = rig
        .stripe
        .create(Collection::Customer, json!({"name": "new"}))
        .unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    let read = format!("/v1/customers/{}", customer["id"].as_str().unwrap());
    let requests = rig.stripe.requests().recent();
    assert!(
        requests.iter().any(|line| line.contains(&read)),
        "{requests:#?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn changes_are_timed_and_the_check_is_dated() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.start().await;
    rig.until_read().await;
    rig.stripe
        .create(Collection::Customer, json!({"name": "new"}))
        .unwrap();
    let status = rig
        .until("a change was timed", |status| {
            status.collections[0].lag_ms.is_some()
        })
        .await;
    let customers = collection(&status, "customer");
    assert!(customers.last_checked_at.is_some());
    assert!(customers.lag_ms.is_some_and(|lag| lag < 30_000));
    rig.stop().await;
}

#[tokio::test]
async fn a_gap_is_told_and_everything_is_read_again() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    rig.stripe.seed(Collection::Customer, 20);
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    // Its event is lost by the time anybody looks.
    rig.stripe
        .create(Collection::Customer, json!({"name": "while we were away"}))
        .unwrap();
    rig.clock.leap(31 * 86_400);
    let broken = Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 0,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    };
    rig.stripe.faults().push(broken);
    rig.start().await;
    let status = rig
        .until("the gap is told", |status| {
            let customers = collection(status, "customer");
            let is_told = |note: &String| note.contains("could not be followed");
            customers.notes.iter().any(is_told)
        })
        .await;
    assert_eq!(status.health.status, HealthStatus::Warning);
    rig.stripe.faults().clear();
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("the warning ends", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_collection_without_events_is_listed_again() {
    let mut rig = Rig::new(StripeOptions::default(), &["balance_transaction"]).await;
    rig.stripe.seed_all(40);
    let supervisor = rig.start().await;
    rig.until_read().await;
    let before = rig.rows().await.len();
    rig.stripe.seed(Collection::Charge, 5);
    let after = rig.stripe.count(Collection::BalanceTransaction);
    assert!(after > before);
    supervisor
        .check(rig.sync, "stripe:balance_transaction")
        .await
        .unwrap();
    let recent = rig.stripe.list_all(Collection::BalanceTransaction);
    let newest = recent[0]["id"].as_str().unwrap().to_owned();
    rig.until_stream("the newest is there", |rows| {
        rows.iter().any(|row| row.upstream_id == newest)
    })
    .await;
    let status = rig.status().await;
    assert_eq!(status.collections[0].status, Activity::Live);
    rig.stop().await;
}

/// A folder with Stripe's definition, pinned to another version of the API.
fn pinned_to(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let stripe = folder.path().join("stripe");
    std::fs::create_dir(&stripe).unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../providers/stripe");
    for file in std::fs::read_dir(built_in).unwrap() {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let text = text.replace("2026-10-28.endive", version);
        std::fs::write(stripe.join(file.file_name()), text).unwrap();
    }
    folder
}

#[tokio::test]
async fn another_api_version_starts_a_visible_re_read() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 30);
    let older = pinned_to("2025-01-27.acacia");
    rig.providers = Some(older.path().to_owned());
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig.providers = None;
    rig.settings.page_size = Some(10);
    let broken = Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 1,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    };
    rig.stripe.faults().push(broken);
    rig.start().await;
    let told = |status: &SyncStatus| {
        let customers = collection(status, "customer");
        customers
            .notes
            .iter()
            .any(|note| note.contains("another version"))
    };
    let status = rig.until("the re-read is told", told).await;
    assert!(status.initial_backfill_completed_at.is_some());
    rig.stripe.faults().clear();
    let done = |status: &SyncStatus| {
        let customers = collection(status, "customer");
        customers.notes.is_empty() && customers.status == Activity::Live
    };
    let status = rig.until("it is read again", done).await;
    assert_eq!(collection(&status, "customer").backfill.records, 30);
    rig.stop().await;
}

#[tokio::test]
async fn records_are_read_again_by_id_on_demand() {
    let mut rig = Rig::new(StripeOptions::default(), &["payment_intent"]).await;
    rig.stripe.seed_all(30);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::PaymentIntent]).await;
    let intents = rig.stripe.list_all(Collection::PaymentIntent);
    let id = intents[0]["id"].as_str().unwrap();
    // No event tells of it.
    let change = json!({"description": "changed in silence"});
    rig.stripe
        .update(Collection::PaymentIntent, id, change)
        .unwrap();
    let wanted = Reread::UpstreamIds(vec![id.to_owned(), "pi_unknown".to_owned()]);
    supervisor
        .backfill(rig.sync, "stripe:payment_intent", wanted)
        .await
        .unwrap();
    rig.until_equal(&[Collection::PaymentIntent]).await;
    let rows = rig.rows().await;
    assert!(rows.iter().all(|row| row.upstream_id != "pi_unknown"));
    rig.stop().await;
}
