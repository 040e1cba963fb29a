//! Reading everything: backfill, restart, pausing, reading again, ageing.

use headrace_engine::sync::{Activity, Reread};
use headrace_model::health::HealthStatus;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::sync_harness::{Rig, collection};

#[tokio::test]
async fn everything_is_read_once_and_the_status_says_so() {
    let names = ["customer", "product", "price", "invoice", "charge"];
    let mut rig = Rig::new(StripeOptions::default(), &names).await;
    rig.stripe.seed_all(250);
    rig.start().await;
    rig.until_read().await;
    let kinds = [
        Collection::Customer,
        Collection::Product,
        Collection::Price,
        Collection::Invoice,
        Collection::Charge,
    ];
    rig.until_equal(&kinds).await;
    let status = rig
        .until("health", |status| {
            status.health.status == HealthStatus::Healthy
        })
        .await;
    assert_eq!(status.health.notes, [""; 0]);
    let customers = collection(&status, "customer");
    assert_eq!(customers.status, Activity::Live);
    assert_eq!(customers.backfill.records, 250);
    assert!(customers.backfill.completed_at.is_some());
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_at_the_page_where_it_stopped() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 200);
    let fault = Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 10,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    };
    rig.stripe.faults().push(fault);
    rig.start().await;
    rig.until("the connection breaks", |status| {
        let customers = collection(status, "customer");
        customers.status == Activity::Retrying && customers.backfill.records == 100
    })
    .await;
    rig.stop().await;
    rig.stripe.faults().clear();
    let before = rig.stripe.requests().recent().len();
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    let requests = rig.stripe.requests().recent();
    let pages: Vec<&String> = requests
        .iter()
        .skip(before)
        .filter(|line| line.contains("/v1/customers"))
        .collect();
    assert_eq!(pages.len(), 10, "{pages:#?}");
    assert!(
        pages.iter().all(|page| page.contains("starting_after")),
        "{pages:#?}"
    );
    let status = rig.status().await;
    assert_eq!(collection(&status, "customer").backfill.records, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_crash_costs_the_page_in_flight_and_the_one_before_it() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 200);
    let fault = Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 10,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    };
    rig.stripe.faults().push(fault);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    rig.start_in(&runtime).await;
    rig.until("the connection breaks", |status| {
        let customers = collection(status, "customer");
        customers.status == Activity::Retrying && customers.backfill.records == 100
    })
    .await;
    runtime.shutdown_background();
    rig.stripe.faults().clear();
    let before = rig.stripe.requests().recent().len();
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    let requests = rig.stripe.requests().recent();
    let pages = requests
        .iter()
        .skip(before)
        .filter(|line| line.contains("/v1/customers"));
    assert_eq!(pages.count(), 11);
    rig.stop().await;
}

#[tokio::test]
async fn a_deleted_page_cursor_is_gone_on_from_by_time() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.settings.page_size = Some(10);
    rig.stripe.seed(Collection::Customer, 50);
    let customers = rig.stripe.list_all(Collection::Customer);
    let fault = Fault {
        path: "/v1/customers".to_owned(),
        method: None,
        skip: 2,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    };
    rig.stripe.faults().push(fault);
    rig.start().await;
    rig.until("the connection breaks", |status| {
        let customers = collection(status, "customer");
        customers.status == Activity::Retrying && customers.backfill.records == 20
    })
    .await;
    rig.stop().await;
    let cursor = customers[19]["id"].as_str().unwrap();
    rig.stripe.delete(Collection::Customer, cursor).unwrap();
    rig.stripe.faults().clear();
    rig.start().await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn lists_that_are_cut_short_are_completed() {
    let mut rig = Rig::new(StripeOptions::default(), &["subscription", "invoice"]).await;
    let customer = rig.stripe.create(Collection::Customer, json!({})).unwrap();
    let product = rig
        .stripe
        .create(Collection::Product, json!({"name": "p"}))
        .unwrap();
    let mut items = Vec::new();
    for n in 1..=25 {
        let price = json!({"product": product["id"], "currency": "usd", "unit_amount": n, "recurring": {"interval": "month"}});
        let price = rig.stripe.create(Collection::Price, price).unwrap();
        items.push(json!({"price": price["id"]}));
    }
    let subscription = json!({"customer": customer["id"], "items": items});
    rig.stripe
        .create(Collection::Subscription, subscription)
        .unwrap();
    rig.start().await;
    rig.until_read().await;
    let rows = rig.rows().await;
    let lists = [("sub_", "items"), ("in_", "lines")];
    for (prefix, list) in lists {
        let row = rows
            .iter()
            .find(|row| row.upstream_id.starts_with(prefix))
            .unwrap();
        let record: Value = serde_json::from_slice(&row.data).unwrap();
        assert_eq!(record[list]["data"].as_array().unwrap().len(), 25, "{list}");
        assert_eq!(record[list]["has_more"], false, "{list}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn children_are_listed_under_their_parents() {
    let mut rig = Rig::new(StripeOptions::default(), &["subscription_item"]).await;
    rig.stripe.seed_all(120);
    rig.start().await;
    rig.until_read().await;
    let items = rig.stripe.list_all(Collection::SubscriptionItem);
    assert!(items.len() > 20);
    rig.until_stream("all items are there", |rows| {
        let has = |item: &Value| {
            rows.iter()
                .any(|row| item["id"] == row.upstream_id.as_str())
        };
        items.iter().all(has)
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_paused_collection_stands_still_and_misses_nothing() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    rig.stripe.seed(Collection::Customer, 20);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.put_sync(|sync| {
        sync.paused.insert("stripe:customer".to_owned());
    })
    .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    let ids = rig.stripe.list_all(Collection::Customer);
    let gone = ids[3]["id"].as_str().unwrap();
    rig.stripe.delete(Collection::Customer, gone).unwrap();
    rig.stripe
        .create(Collection::Product, json!({"name": "later"}))
        .unwrap();
    rig.until_stream("the other collection goes on", |rows| {
        rows.iter().any(|row| row.upstream_id.starts_with("prod_"))
    })
    .await;
    let rows = rig.rows().await;
    let row = rows.iter().find(|row| row.upstream_id == gone).unwrap();
    assert!(!row.deleted, "a paused collection changes nothing");
    rig.put_sync(|sync| sync.paused.clear()).await;
    supervisor.changed(rig.sync);
    rig.until_equal(&[Collection::Customer, Collection::Product])
        .await;
    rig.stop().await;
}

#[tokio::test]
async fn reading_again_finds_what_no_event_told() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 30);
    let supervisor = rig.start().await;
    rig.until_read().await;
    let first = rig.status().await.collections[0].backfill.completed_at;
    supervisor
        .backfill(
            rig.sync,
            "stripe:customer",
            Reread::All {
                confirm_deletes: false,
            },
        )
        .await
        .unwrap();
    let status = rig
        .until("it is read again", |status| {
            let backfill = &status.collections[0].backfill;
            backfill.completed_at.is_some() && backfill.completed_at != first
        })
        .await;
    assert_eq!(status.collections[0].backfill.records, 30);
    let count = rig.rows().await.len();
    assert_eq!(count, 30, "what is unchanged is not written again");
    let unknown = supervisor
        .backfill(
            rig.sync,
            "stripe:charge",
            Reread::All {
                confirm_deletes: false,
            },
        )
        .await;
    assert!(unknown.is_err());
    rig.stop().await;
}

#[tokio::test]
async fn old_records_are_not_admitted_and_age_out() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.put_sync(|sync| sync.max_age_days = Some(100)).await;
    // Seeded over a year.
    rig.stripe.seed(Collection::Customer, 365);
    rig.start().await;
    rig.until_read().await;
    let admitted = rig.rows().await.len();
    assert!((95..=101).contains(&admitted), "{admitted}");
    rig.clock.leap(50 * 86_400);
    rig.until_stream("half of them have aged out", |rows| {
        (45..=51).contains(&rows.len())
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_collection_that_comes_back_is_read_from_the_beginning() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer", "product"]).await;
    rig.stripe.seed(Collection::Customer, 10);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.put_sync(|sync| sync.collection_ids = vec!["stripe:product".to_owned()])
        .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    rig.stripe
        .create(Collection::Customer, json!({"name": "unseen"}))
        .unwrap();
    rig.put_sync(|sync| sync.collection_ids.push("stripe:customer".to_owned()))
        .await;
    supervisor.changed(rig.sync);
    supervisor.in_effect(rig.sync).await;
    rig.until_read().await;
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_deleted_sync_leaves_no_state() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    rig.stripe.seed(Collection::Customer, 10);
    let supervisor = rig.start().await;
    rig.until_read().await;
    rig.delete_sync().await;
    supervisor.forget(rig.sync).await.unwrap();
    assert_eq!(rig.store.cursors(rig.sync).await.unwrap(), []);
    assert_eq!(rig.rows().await.len(), 10);
    rig.stop().await;
}
