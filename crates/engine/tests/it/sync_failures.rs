//! What goes wrong at the provider: survived where it passes, told where somebody has to act.

use bytes::Bytes;
use headrace_engine::sync::{Activity, Reread};
use headrace_model::health::HealthStatus;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::sync_harness::{Rig, collection};

pub(crate) fn faults(path: &str, skip: u32, times: u32, kind: FaultKind) -> Fault {
    Fault {
        path: path.to_owned(),
        method: None,
        skip,
        times,
        kind,
    }
}

pub(crate) fn status_fault(code: u16, body: &str) -> FaultKind {
    FaultKind::Status {
        code,
        headers: Vec::new(),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn errors_that_pass_are_survived() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 100);
    let limited =
        r#"{"error":{"type":"invalid_request_error","code":"rate_limit","message":"slow down"}}"#;
    for (skip, kind) in [
        (0, status_fault(429, limited)),
        (1, status_fault(500, "{}")),
        (0, FaultKind::ResetConnection),
        (1, FaultKind::LoseAnswer),
        (1, FaultKind::TruncateBody),
        (0, status_fault(503, "<html>")),
        (
            2,
            FaultKind::RawBody(Bytes::from_static(b"{\"object\":\"list\",\"data\":[")),
        ),
    ] {
        rig.stripe.faults().push(faults("/v1/", skip, 3, kind));
    }
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("health", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    assert_eq!(rig.stripe.faults().pending(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_with_a_lower_limit_than_ours_is_read_all_the_same() {
    let options = StripeOptions {
        rate: Some(20),
        ..StripeOptions::default()
    };
    let mut rig = Rig::new(options, &["customer"]).await;
    rig.settings.page_size = Some(2);
    rig.stripe.seed(Collection::Customer, 80);
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_told_and_a_new_one_goes_on() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 5);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.stripe.set_key("sk_test_another");
    let status = rig
        .until("the key is refused", |status| {
            status.health.status == HealthStatus::Error
        })
        .await;
    let note = status.health.notes.join(" ");
    assert!(note.contains("reauthorise"), "{note}");
    assert!(!note.contains("sk_test_sandbox"), "{note}");
    assert_eq!(collection(&status, "customer").status, Activity::Failed);
    let health = rig.credential_health().await;
    assert_eq!(health.status, HealthStatus::Error, "{health:?}");
    // It comes back by itself where the provider thinks better of it.
    rig.stripe.set_key("sk_test_sandbox");
    rig.until("the key works again", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    let health = rig.credential_health().await;
    assert_eq!(health.status, HealthStatus::Healthy, "{health:?}");
    rig.stripe.set_key("sk_test_another");
    rig.until("it is refused again", |status| {
        status.health.status == HealthStatus::Error
    })
    .await;
    rig.put_credential("sk_test_another").await;
    supervisor.changed(rig.sync);
    rig.until("it goes on", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_collection_does_not_stop_the_others() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product", "charge"]).await;
    rig.stripe.seed_all(30);
    let forbidden =
        r#"{"error":{"type":"invalid_request_error","message":"This key may not read charges."}}"#;
    rig.stripe.faults().push(faults(
        "/v1/charges",
        0,
        10_000,
        status_fault(403, forbidden),
    ));
    rig.stripe.faults().push(faults(
        "/v1/products",
        0,
        10_000,
        status_fault(404, "not found"),
    ));
    rig.start().await;
    rig.until_equal(&[Collection::Customer]).await;
    let status = rig
        .until("both are told", |status| {
            ["product", "charge"]
                .iter()
                .all(|name| collection(status, name).status == Activity::Failed)
                && collection(status, "customer").status == Activity::Live
        })
        .await;
    let charges = collection(&status, "charge").error.clone().unwrap();
    assert!(
        charges.contains("This key may not read charges."),
        "{charges}"
    );
    assert!(
        collection(&status, "product")
            .error
            .clone()
            .unwrap()
            .contains("404")
    );
    assert_eq!(status.health.status, HealthStatus::Error);
    assert_eq!(status.initial_backfill_completed_at, None);
    rig.stripe.faults().clear();
    rig.until_read().await;
    rig.until("health", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_without_events_is_read_and_the_lack_is_told() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 5);
    rig.stripe.faults().push(faults(
        "/v1/events",
        0,
        10_000,
        status_fault(404, "not found"),
    ));
    rig.start().await;
    rig.until_read().await;
    let status = rig
        .until("the lack is told", |status| {
            status.health.status == HealthStatus::Error
        })
        .await;
    let error = collection(&status, "customer").error.clone().unwrap();
    assert!(
        error.starts_with("Changes cannot be looked for."),
        "{error}"
    );
    assert_eq!(rig.rows().await.len(), 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_record_without_an_id_stops_its_collection_at_that_page() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 5);
    let page = br#"{"object":"list","has_more":false,"data":[{"object":"customer"}]}"#;
    let raw = FaultKind::RawBody(Bytes::from_static(page));
    rig.stripe
        .faults()
        .push(faults("/v1/customers", 0, 10_000, raw));
    rig.start().await;
    let status = rig
        .until("it is told", |status| {
            collection(status, "customer").error.is_some()
        })
        .await;
    let error = collection(&status, "customer").error.clone().unwrap();
    assert!(error.contains("item 0"), "{error}");
    assert_eq!(rig.rows().await.len(), 0);
    rig.stripe.faults().clear();
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn broken_text_is_repaired_and_told() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    let page = b"{\"object\":\"list\",\"has_more\":false,\"data\":[{\"object\":\"customer\",\"id\":\"cus_1\",\"created\":1700000000,\"name\":\"\xff\"}]}";
    let raw = FaultKind::RawBody(Bytes::from_static(page));
    rig.stripe.faults().push(faults("/v1/customers", 0, 1, raw));
    rig.start().await;
    let status = rig.until_read().await;
    let customers = collection(&status, "customer");
    assert!(
        customers.notes.iter().any(|note| note.contains("U+FFFD")),
        "{:?}",
        customers.notes
    );
    assert_eq!(rig.rows().await.len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_backfill_asked_for_before_the_feed_answered_is_followed_up() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 5);
    let unavailable = faults("/v1/events", 0, 1_000, status_fault(503, ""));
    rig.stripe.faults().push(unavailable);
    let supervisor = rig.start().await;
    rig.until("the feed does not answer", |status| {
        collection(status, "customer").status == Activity::Retrying
    })
    .await;
    let all = Reread::All {
        confirm_deletes: false,
    };
    supervisor
        .backfill(rig.sync, "stripe:customer", all)
        .await
        .unwrap();
    assert!(
        rig.rows().await.is_empty(),
        "nothing is read without a position"
    );
    rig.stripe.faults().clear();
    rig.until_read().await;
    rig.stripe
        .create(Collection::Customer, json!({"name": "later"}))
        .unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_id_does_not_stop_the_others_that_were_asked_for() {
    let mut rig = Rig::new(StripeOptions::default(), &["payment_intent"]).await;
    rig.stripe.seed_all(30);
    let supervisor = rig.start().await;
    rig.until_read().await;
    let intents = rig.stripe.list_all(Collection::PaymentIntent);
    let id = intents[0]["id"].as_str().unwrap();
    let refused = faults(
        "/v1/payment_intents/pi_odd",
        0,
        1_000,
        status_fault(400, "{}"),
    );
    rig.stripe.faults().push(refused);
    rig.stripe
        .update(Collection::PaymentIntent, id, json!({"description": "new"}))
        .unwrap();
    let wanted = ["..", "pi_odd", id].map(str::to_owned);
    supervisor
        .backfill(
            rig.sync,
            "stripe:payment_intent",
            Reread::UpstreamIds(wanted.to_vec()),
        )
        .await
        .unwrap();
    rig.until_equal(&[Collection::PaymentIntent]).await;
    rig.until("both are told", |status| {
        let mut notes = status.collections[0].notes.iter();
        notes.any(|note| note.contains("refuses to show 2 of the records"))
    })
    .await;
    rig.stop().await;
}

/// Answers of the feed that are dated wrong, one or several that agree.
async fn dated_wrong(times: u32) {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.start().await;
    rig.until_read().await;
    let dated = FaultKind::Status {
        code: 200,
        headers: vec![(
            "Date".to_owned(),
            "Tue, 01 Jan 2030 00:00:00 GMT".to_owned(),
        )],
        body: r#"{"object":"list","has_more":false,"data":[]}"#.to_owned(),
    };
    rig.stripe
        .faults()
        .push(faults("/v1/events", 0, times, dated));
    rig.until("the answers were given", |_| {
        rig.stripe.faults().pending() == 0
    })
    .await;
    rig.stripe
        .create(Collection::Customer, json!({"name": "later"}))
        .unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    rig.until("all is well", |status| {
        status.health.status == HealthStatus::Healthy
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_from_the_far_future_moves_no_position() {
    dated_wrong(1).await;
}

#[tokio::test]
async fn a_position_that_was_moved_to_the_future_is_a_gap() {
    dated_wrong(5).await;
}
