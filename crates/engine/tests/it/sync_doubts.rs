//! What seems older than what the stream holds, because a clock was set back, and is newer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use headrace_engine::sync::{Activity, Reread, SyncStatus};
use headrace_model::Timestamp;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use headrace_store::Row;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::sync_failures::{faults, status_fault};
use crate::sync_harness::{Rig, collection};
use crate::sync_links::define;

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_change_is_not_taken_for_old_after_the_clocks_were_set_back() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    let made = rig.stripe.create(Collection::Customer, json!({})).unwrap();
    let id = made["id"].as_str().unwrap();
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig.clock.leap(-DAY);
    rig.start().await;
    for name in ["a", "b"] {
        let change = json!({"name": name});
        rig.stripe.update(Collection::Customer, id, change).unwrap();
        rig.until_equal(&[Collection::Customer]).await;
    }
    rig.stripe.delete(Collection::Customer, id).unwrap();
    rig.until_stream("it is gone", |rows| rows.iter().all(|row| row.deleted))
        .await;
    rig.stop().await;
}

/// Changes of this collection are told by nobody, so that they are only found by reading it.
const UNTOLD: &str = "shipping_rate";

const IDS: [&str; 3] = ["shr_1", "shr_2", "shr_3"];

fn put(rig: &Rig, note: &str) {
    for id in IDS {
        let object = json!({"id": id, "object": UNTOLD, "created": 1_000_000, "note": note});
        rig.stripe.put("shipping_rates", object);
    }
}

/// A rig that was stopped when it had read records.
async fn rig_that_read_first(page_size: Option<u32>) -> Rig {
    let mut rig = Rig::new(StripeOptions::default(), &[UNTOLD]).await;
    rig.settings.page_size = page_size;
    put(&rig, "first");
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig
}

async fn until_stream_has(rig: &Rig, wanted: &str) {
    rig.until_stream(wanted, |rows| rows.iter().all(|row| note(row) == wanted))
        .await;
}

/// Reads of single records fail but for the first so many.
fn refuse_reads_after(rig: &Rig, skip: u32) {
    fail_reads(rig, skip, FaultKind::ResetConnection);
}

fn fail_reads(rig: &Rig, skip: u32, kind: FaultKind) {
    let faults = faults("/v1/shipping_rates/", skip, 1_000, kind);
    rig.stripe.faults().push(faults);
}

async fn until_in_doubt(rig: &Rig) {
    until_it_is(rig, Activity::Retrying).await;
}

async fn until_it_is(rig: &Rig, activity: Activity) {
    rig.until("the page is in doubt", |status| {
        collection(status, UNTOLD).status == activity
    })
    .await;
}

fn refusal() -> FaultKind {
    status_fault(400, "{}")
}

async fn until_told_of(rig: &Rig, refused: usize) {
    let words = format!("refuses to show {refused} of the records");
    rig.until("it is told", |status| {
        let mut notes = status.health.notes.iter();
        notes.any(|note| note.contains(&words))
    })
    .await;
}

async fn until_nothing_is_told(rig: &Rig) {
    rig.until("all is well", |status| status.health.notes.is_empty())
        .await;
}

/// What stands before the provider may refuse for a while what it does not at other times.
#[tokio::test]
async fn a_doubt_about_what_is_refused_holds_nothing_up_and_outlives_a_restart() {
    let mut rig = rig_that_read_first(None).await;
    rig.clock.leap(-DAY);
    put(&rig, "second");
    fail_reads(&rig, 0, refusal());
    rig.start().await;
    until_told_of(&rig, IDS.len()).await;
    until_it_is(&rig, Activity::Live).await;
    rig.stop().await;
    // A start tells it as well, and does not give up.
    rig.start().await;
    until_told_of(&rig, IDS.len()).await;
    rig.stripe.faults().clear();
    until_stream_has(&rig, "second").await;
    until_nothing_is_told(&rig).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_record_that_fails_in_another_way_holds_no_other_up() {
    let mut rig = rig_that_read_first(None).await;
    rig.clock.leap(-DAY);
    put(&rig, "second");
    fail_reads(&rig, 0, refusal());
    rig.start().await;
    until_told_of(&rig, IDS.len()).await;
    rig.stop().await;
    rig.stripe.faults().clear();
    let error = status_fault(500, "{}");
    rig.stripe
        .faults()
        .push(fault(&format!("/v1/shipping_rates/{}", IDS[0]), error));
    rig.start().await;
    rig.until_stream("the others are read", |rows| {
        let mut others = rows.iter().filter(|row| row.upstream_id != IDS[0]);
        others.all(|row| note(row) == "second")
    })
    .await;
    until_told_of(&rig, 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_listed_record_whose_part_is_gone_and_that_is_refused_holds_no_page_up() {
    let mut rig = Rig::new(StripeOptions::default(), &["credit_note"]).await;
    for (id, more) in [("cn_1", true), ("cn_2", false)] {
        let lines = json!({"object": "list", "url": "/v1/x", "has_more": more,
            "data": [{"id": "cnli_1", "object": "credit_note_line_item"}]});
        let credit_note =
            json!({"id": id, "object": "credit_note", "created": 1_000_000, "lines": lines});
        rig.stripe.put("credit_notes", credit_note);
    }
    for id in ["cnli_1", "cnli_2"] {
        let line = json!({"id": id, "object": "credit_note_line_item"});
        rig.stripe.put("credit_notes/cn_1/lines", line);
    }
    rig.stripe
        .faults()
        .push(fault("/v1/credit_notes/cn_1/lines", lost_cursor(404)));
    rig.stripe
        .faults()
        .push(fault("/v1/credit_notes/cn_1", refusal()));
    rig.start().await;
    rig.until_stream("the other one is there", |rows| {
        rows.iter().any(|row| row.upstream_id == "cn_2")
    })
    .await;
    until_told_of(&rig, 1).await;
    rig.stripe.faults().clear();
    rig.until_stream("it is there as well", |rows| rows.len() == 2)
        .await;
    rig.stop().await;
}

/// The next part of a list is to be read after something that is gone.
fn lost_cursor(code: u16) -> FaultKind {
    let body = r#"{"error":{"code":"resource_missing","param":"starting_after"}}"#;
    status_fault(code, body)
}

/// It happens to all requests whose path begins so.
fn fault(path: &str, kind: FaultKind) -> Fault {
    faults(path, 0, 1_000, kind)
}

fn note(row: &Row) -> String {
    let data: Value = serde_json::from_slice(&row.data).unwrap();
    data["note"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_record_that_is_only_in_lists_is_not_left_out_when_a_part_of_it_moves() {
    let mut rig = Rig::new(StripeOptions::default(), &["account"]).await;
    let accounts = json!({"object": "list", "url": "/v1/x", "has_more": true,
        "data": [{"id": "ba_1", "object": "bank_account"}]});
    let account = json!({"id": "acct_1", "object": "account", "created": 1_000_000,
        "external_accounts": accounts});
    rig.stripe.put("accounts", account);
    let path = "accounts/acct_1/external_accounts";
    // The newest one first.
    for id in ["ba_2", "ba_1"] {
        rig.stripe
            .put(path, json!({"id": id, "object": "bank_account"}));
    }
    let once = Fault {
        times: 1,
        ..fault(&format!("/v1/{path}"), lost_cursor(400))
    };
    rig.stripe.faults().push(once);
    rig.start().await;
    rig.until_stream("it is there", |rows| !rows.is_empty())
        .await;
    rig.stop().await;
}

#[tokio::test]
async fn an_event_of_a_record_that_is_refused_holds_no_other_up() {
    let mut rig = Rig::new(StripeOptions::default(), &["customer"]).await;
    let ids = [0, 1].map(|_| rig.stripe.create(Collection::Customer, json!({})));
    let ids = ids.map(|made| made.unwrap()["id"].as_str().unwrap().to_owned());
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig.clock.leap(-DAY);
    let refused = fault(&format!("/v1/customers/{}", ids[0]), refusal());
    rig.stripe.faults().push(refused);
    for id in &ids {
        let change = json!({"name": "new"});
        rig.stripe.update(Collection::Customer, id, change).unwrap();
    }
    rig.start().await;
    until_told_of(&rig, 1).await;
    // One that is being moved to a newer index may be missing for a moment.
    rig.until_stream("the other one has changed", |rows| {
        let mut others = rows.iter().filter(|row| row.upstream_id == ids[1]);
        others.any(|row| serde_json::from_slice::<Value>(&row.data).unwrap()["name"] == "new")
    })
    .await;
    let made = rig.stripe.create(Collection::Customer, json!({})).unwrap();
    rig.until_stream("what happens later is followed", |rows| {
        rows.iter().any(|row| made["id"] == row.upstream_id)
    })
    .await;
    rig.stripe.faults().clear();
    rig.until_equal(&[Collection::Customer]).await;
    until_nothing_is_told(&rig).await;
    rig.stop().await;
}

#[tokio::test]
async fn doubts_that_a_crash_left_about_a_page_are_settled_by_the_next_start() {
    let mut rig = rig_that_read_first(Some(1)).await;
    // What is read from now on seems older than what was.
    rig.clock.leap(-DAY);
    put(&rig, "second");
    refuse_reads_after(&rig, 0);
    let runtime = Runtime::new().unwrap();
    rig.start_in(&runtime).await;
    until_in_doubt(&rig).await;
    runtime.shutdown_background();
    rig.stripe.faults().clear();
    rig.start().await;
    until_stream_has(&rig, "second").await;
    rig.stop().await;
}

/// A rig whose records have changed, and seem older than what the stream holds of them. They are not
/// due to be listed.
async fn rig_of_seemingly_older_records() -> Rig {
    let mut rig = rig_that_read_first(None).await;
    rig.clock.leap(600);
    put(&rig, "ahead");
    let supervisor = rig.start().await;
    let ids = Reread::UpstreamIds(IDS.map(str::to_owned).to_vec());
    let asking = supervisor.backfill(rig.sync, "stripe:shipping_rate", ids);
    asking.await.unwrap();
    until_stream_has(&rig, "ahead").await;
    rig.stop().await;
    rig.clock.leap(-600);
    put(&rig, "second");
    rig
}

/// Crashes in the middle of this reading, as soon as there are doubts.
async fn crash_in_doubt(rig: &mut Rig, reread: Reread) {
    let runtime = Runtime::new().unwrap();
    let supervisor = rig.start_in(&runtime).await;
    let asking = supervisor.backfill(rig.sync, "stripe:shipping_rate", reread);
    asking.await.unwrap();
    until_in_doubt(rig).await;
    runtime.shutdown_background();
    rig.stripe.faults().clear();
}

#[tokio::test]
async fn doubts_about_the_last_page_of_a_reading_outlive_a_crash() {
    let mut rig = rig_of_seemingly_older_records().await;
    refuse_reads_after(&rig, 0);
    let since = Reread::Since(Timestamp::from_seconds(0));
    crash_in_doubt(&mut rig, since).await;
    rig.start().await;
    until_stream_has(&rig, "second").await;
    rig.stop().await;
}

#[tokio::test]
async fn doubts_about_what_a_list_left_out_outlive_a_crash() {
    let mut rig = rig_of_seemingly_older_records().await;
    rig.list_nothing_once("/v1/shipping_rates");
    refuse_reads_after(&rig, 3);
    let all = Reread::All {
        confirm_deletes: false,
    };
    crash_in_doubt(&mut rig, all).await;
    rig.start().await;
    until_stream_has(&rig, "second").await;
    rig.stop().await;
}

/// Shows one book of which nothing but its name is known, and never the time.
async fn book(State(name): State<Arc<Mutex<&'static str>>>) -> impl IntoResponse {
    let name = *name.lock().unwrap();
    ([("date", "-")], Json(json!([{"id": 1, "name": name}])))
}

#[tokio::test]
async fn what_is_only_in_lists_is_taken_as_it_is_after_the_clock_was_set_back() {
    let name = Arc::new(Mutex::new("first"));
    let router = Router::new().route("/books", get(book));
    let router = router.with_state(Arc::clone(&name));
    let any = ([127, 0, 0, 1], 0).into();
    let (address, server) = headrace_sandbox::serve(router, any).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    define(&mut rig, folder.path(), address, &["shelf:book"]).await;
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig.clock.leap(-DAY);
    for new in ["second", "third"] {
        *name.lock().unwrap() = new;
        let supervisor = rig.start().await;
        let all = Reread::All {
            confirm_deletes: false,
        };
        supervisor
            .backfill(rig.sync, "shelf:book", all)
            .await
            .unwrap();
        rig.until_stream(new, |rows| {
            let name =
                |row: &Row| serde_json::from_slice::<Value>(&row.data).unwrap()["name"] == new;
            rows.iter().any(name)
        })
        .await;
        rig.stop().await;
    }
    server.abort();
}

#[tokio::test]
async fn what_is_only_in_lists_is_listed_once_more_where_its_order_cannot_be_told() {
    let collections = ["setup_intent", "setup_attempt"];
    let mut rig = Rig::new(StripeOptions::default(), &collections).await;
    let intent = json!({"id": "seti_1", "object": "setup_intent", "created": 1_000_000});
    rig.stripe.put("setup_intents", intent.clone());
    let attempt = |note: &str| {
        json!({"id": "setatt_1", "object": "setup_attempt", "created": 1_000_000,
            "setup_intent": "seti_1", "note": note})
    };
    rig.stripe.put("setup_attempts", attempt("first"));
    rig.start().await;
    rig.until_read().await;
    // The second change comes while nobody can tell which listing is the newer one.
    for note in ["second", "third"] {
        rig.stripe.put("setup_attempts", attempt(note));
        rig.stripe
            .announce("setup_intent.succeeded", intent.clone());
        rig.until_stream(note, |rows| {
            let mut attempts = rows.iter().filter(|row| row.upstream_id == "setatt_1");
            attempts.any(|row| self::note(row) == note)
        })
        .await;
    }
    rig.stop().await;
}

/// A page of a list, asked for while what the stream holds is of the future, is overtaken by another
/// listing.
#[tokio::test]
async fn a_page_in_flight_does_not_overwrite_what_was_listed_later() {
    let collections = ["setup_intent", "setup_attempt"];
    let mut rig = Rig::new(StripeOptions::default(), &collections).await;
    let intent = |n: i64| json!({"id": format!("seti_{n}"), "object": "setup_intent", "created": 1_000_000 + n});
    let put_attempts = |rig: &Rig, note: &str| {
        for n in [1, 2] {
            let attempt = json!({"id": format!("setatt_{n}"), "object": "setup_attempt",
                "created": 1_000_000, "setup_intent": format!("seti_{n}"), "note": note});
            rig.stripe.put("setup_attempts", attempt);
        }
    };
    for n in [1, 2] {
        rig.stripe.put("setup_intents", intent(n));
    }
    put_attempts(&rig, "first");
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    rig.clock.leap(-DAY);
    put_attempts(&rig, "second");
    // One of the two lists of the page takes long; the other one shows what is there now.
    let slow = FaultKind::Delay(Duration::from_secs(4));
    rig.stripe.faults().push(Fault {
        skip: 1,
        times: 1,
        ..fault("/v1/setup_attempts", slow)
    });
    rig.start().await;
    let asked = async {
        while rig.stripe.faults().pending() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .unwrap();
    put_attempts(&rig, "third");
    for n in [1, 2] {
        rig.stripe.announce("setup_intent.succeeded", intent(n));
    }
    let all_third = |rows: &[Row]| {
        let attempts = rows
            .iter()
            .filter(|row| row.upstream_id.starts_with("setatt"));
        attempts.filter(|row| note(row) == "third").count() == 2
    };
    rig.until_stream("third", all_third).await;
    // The reading goes on to its end, and puts nothing old there.
    rig.until_read().await;
    let backfilled = |status: &SyncStatus| {
        let attempts = collection(status, "setup_attempt");
        attempts.backfill.completed_at.is_some() && attempts.status == Activity::Live
    };
    rig.until("the page has come", backfilled).await;
    assert!(all_third(&rig.rows().await));
    rig.stop().await;
}
