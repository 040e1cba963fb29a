//! `max_age_days` while this machine's clock is wrong: what is hidden or removed by mistake never comes
//! back by itself.

use axum::routing::get;
use axum::{Json, Router};
use headrace_engine::clock::{Clock, SystemClock};
use headrace_engine::sync::Reread;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_store::Row;
use serde_json::json;

use crate::sync_harness::Rig;
use crate::sync_links::define;

const DAY: i64 = 86_400;
const UNTOLD: &str = "shipping_rate";

fn now() -> i64 {
    SystemClock.now().as_seconds()
}

fn is_there(rows: &[Row], id: &str) -> bool {
    rows.iter().any(|row| row.upstream_id == id)
}

#[tokio::test]
async fn a_clock_that_is_ahead_ages_out_only_what_is_old_by_the_providers() {
    let mut rig = Rig::with_provider_right(StripeOptions::default(), &[UNTOLD]).await;
    for (id, days) in [("old", 20), ("new", 2)] {
        let created = now() - days * DAY;
        let object = json!({"id": id, "object": UNTOLD, "created": created});
        rig.stripe.put("shipping_rates", object);
    }
    let supervisor = rig.start().await;
    rig.until_read().await;
    assert_eq!(rig.rows().await.len(), 2);
    rig.clock.leap(2_000 * DAY);
    rig.put_sync(|sync| sync.max_age_days = Some(10)).await;
    supervisor.changed(rig.sync);
    // All that is too old leaves in one step.
    rig.until_stream("the old one has aged out", |rows| !is_there(rows, "old"))
        .await;
    assert!(is_there(&rig.rows().await, "new"));
    rig.stop().await;
}

#[tokio::test]
async fn what_was_stored_by_a_clock_that_was_behind_is_not_too_old_for_it() {
    let mut rig = Rig::with_provider_right(StripeOptions::default(), &[UNTOLD]).await;
    rig.clock.leap(-20 * DAY);
    let created = now() - 20 * DAY;
    let old = json!({"id": "old", "object": UNTOLD, "created": created});
    rig.stripe.put("shipping_rates", old);
    let supervisor = rig.start().await;
    rig.until_read().await;
    // By now the provider has told the time.
    let timeless = json!({"id": "timeless", "object": UNTOLD});
    rig.stripe.put("shipping_rates", timeless);
    let all = Reread::All {
        confirm_deletes: false,
    };
    let asking = supervisor.backfill(rig.sync, "stripe:shipping_rate", all);
    asking.await.unwrap();
    rig.until_stream("it is there", |rows| is_there(rows, "timeless"))
        .await;
    rig.clock.leap(20 * DAY);
    rig.put_sync(|sync| sync.max_age_days = Some(10)).await;
    supervisor.changed(rig.sync);
    rig.until_stream("the old one has aged out", |rows| !is_there(rows, "old"))
        .await;
    assert!(is_there(&rig.rows().await, "timeless"));
    rig.stop().await;
}

#[tokio::test]
async fn what_is_made_while_the_clock_is_ahead_is_not_too_old() {
    let mut rig = Rig::with_provider_right(StripeOptions::default(), &["customer"]).await;
    rig.put_sync(|sync| sync.max_age_days = Some(1_000)).await;
    rig.start().await;
    rig.until_read().await;
    rig.clock.leap(2_000 * DAY);
    rig.stripe.create(Collection::Customer, json!({})).unwrap();
    rig.until_equal(&[Collection::Customer]).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_first_reading_while_the_clock_is_ahead_is_whole() {
    let mut rig = Rig::with_provider_right(StripeOptions::default(), &["customer"]).await;
    rig.clock.leap(2_000 * DAY);
    rig.put_sync(|sync| sync.max_age_days = Some(1_000)).await;
    rig.stripe.seed(Collection::Customer, 250);
    rig.start().await;
    rig.until_read().await;
    assert_eq!(rig.rows().await.len(), 250);
    rig.stop().await;
}

#[tokio::test]
async fn where_the_provider_tells_no_time_nothing_is_too_old_and_that_is_told() {
    // What is no date is none; without it, one is added.
    let books = async || ([("date", "-")], Json(json!([{"id": 1, "made": 1_000_000}])));
    let router = Router::new().route("/books", get(books));
    let any = ([127, 0, 0, 1], 0).into();
    let (address, server) = headrace_sandbox::serve(router, any).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    define(&mut rig, folder.path(), address, &["shelf:book"]).await;
    rig.put_sync(|sync| sync.max_age_days = Some(10)).await;
    rig.start().await;
    rig.until("it is told", |status| {
        let notes = &status.health.notes;
        notes.iter().any(|note| note.contains("max_age_days"))
    })
    .await;
    assert!(is_there(&rig.rows().await, "1"));
    rig.stop().await;
    server.abort();
}
