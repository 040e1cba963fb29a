//! The machine's clock is set by an hour while the server works.

use std::time::Duration;

use headrace_sandbox::stripe::{Collection, Stripe};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::disk::Disk;
use crate::harness::{Server, sandbox, text};

const HOUR: i64 = 3_600;
const ACK_WAIT: Duration = Duration::from_secs(6);

async fn next(server: &Server, wait: Duration) -> Vec<Value> {
    let wait = u64::try_from(wait.as_millis()).unwrap();
    let body = json!({"batch_size": 100, "wait_for": wait});
    let taken = server.post("/v1/http-consumers/c/next", body).await;
    taken.expect(200).as_array().unwrap().clone()
}

fn upstream_ids(messages: &[Value]) -> Vec<String> {
    let mut ids: Vec<_> = messages
        .iter()
        .map(|message| text(&message["record"]["upstream_id"]))
        .collect();
    ids.sort();
    ids
}

/// Makes a customer, and waits until it is delivered; nothing else may be.
async fn one_more(server: &Server, stripe: &Stripe, sync: &str) {
    let made = stripe.create(Collection::Customer, json!({})).unwrap();
    let check = format!("/v1/syncs/{sync}/collections/stripe:customer/check");
    server.post(&check, json!({})).await.expect(202);
    let messages = next(server, ACK_WAIT / 2).await;
    assert_eq!(upstream_ids(&messages), [text(&made["id"])]);
    let token = json!({"ack_tokens": [messages[0]["ack_token"]]});
    let acked = server.post("/v1/http-consumers/c/ack", token).await;
    acked.expect(204);
    assert_eq!(acked.header("headrace-settled"), Some("1"));
}

/// Windows neither all end at once, nor stay open for an hour; and times never go back along the log.
async fn steps(ahead: i64) {
    let disk = Disk::new();
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 5);
    let server = disk.server().stripe(&base).start();
    let sync = server.sync_stripe(&["customer"]).await;
    let wait = u64::try_from(ACK_WAIT.as_millis()).unwrap();
    server
        .post(
            "/v1/http-consumers",
            json!({"slug": "c", "ack_wait_ms": wait}),
        )
        .await
        .expect(201);
    server.backfilled(&sync).await;
    let taken_at = Instant::now();
    let taken = next(&server, Duration::ZERO).await;
    assert_eq!(taken.len(), 5);
    disk.set_clock(ahead);
    one_more(&server, &stripe, &sync).await;
    assert!(taken_at.elapsed() < ACK_WAIT * 9 / 10, "too slow to tell");
    let ack = json!({"ack_tokens": [taken[0]["ack_token"]]});
    let acked = server.post("/v1/http-consumers/c/ack", ack).await;
    assert_eq!(acked.header("headrace-settled"), Some("1"));
    let again = next(&server, 2 * ACK_WAIT).await;
    let passed = taken_at.elapsed();
    assert_eq!(upstream_ids(&again), upstream_ids(&taken[1..]));
    assert!(
        (ACK_WAIT * 9 / 10..ACK_WAIT * 3).contains(&passed),
        "the windows ended after {passed:?}"
    );
    disk.set_clock(0);
    one_more(&server, &stripe, &sync).await;
    let records = server.get("/v1/records?stream_id=dev&limit=1000").await;
    let times: Vec<_> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| text(&record["updated_at"]))
        .collect();
    assert_eq!(times.len(), 7);
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_forward_ends_no_ack_window() {
    steps(HOUR).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_ack_window_open() {
    steps(-HOUR).await;
}
