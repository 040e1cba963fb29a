//! What seems older than what the stream holds, because a clock was set back, and is newer.

use headrace_engine::sync::Activity;
use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::sync_harness::{Rig, collection};

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

fn put(rig: &Rig, note: &str) {
    for id in ["shr_1", "shr_2", "shr_3"] {
        let object = json!({"id": id, "object": UNTOLD, "created": 1_000_000, "note": note});
        rig.stripe.put("shipping_rates", object);
    }
}

#[tokio::test]
async fn doubts_that_a_crash_left_about_a_page_are_settled_by_the_next_start() {
    let mut rig = Rig::new(StripeOptions::default(), &[UNTOLD]).await;
    rig.settings.page_size = Some(1);
    put(&rig, "first");
    rig.start().await;
    rig.until_read().await;
    rig.stop().await;
    // What is read from now on seems older than what was.
    rig.clock.leap(-DAY);
    put(&rig, "second");
    rig.stripe.faults().push(Fault {
        path: "/v1/shipping_rates/".to_owned(),
        method: None,
        skip: 0,
        times: 1_000,
        kind: FaultKind::ResetConnection,
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    rig.start_in(&runtime).await;
    rig.until("the first page is in doubt", |status| {
        collection(status, UNTOLD).status == Activity::Retrying
    })
    .await;
    runtime.shutdown_background();
    rig.stripe.faults().clear();
    rig.start().await;
    let is_second = |data: &[u8]| {
        let data: Value = serde_json::from_slice(data).unwrap();
        data["note"] == "second"
    };
    rig.until_stream("all has come", |rows| {
        rows.iter().all(|row| is_second(&row.data))
    })
    .await;
    rig.stop().await;
}
