//! The machine's clock is set while the server works: by an hour, and by a month.

use std::time::Duration;

use headrace_sandbox::stripe::{Collection, Stripe};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::disk::Disk;
use crate::harness::{PATIENCE, Server, Setup, sandbox, text};

const HOUR: i64 = 3_600;
const MONTH: i64 = 30 * 24 * HOUR;
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

/// A server whose consumer's ack windows are short, and all five customers of its account.
async fn with_customers(disk: &Disk) -> (Stripe, Setup, Server, String) {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 5);
    let server = disk.server().stripe(&base).start();
    let sync = server.sync_stripe(&["customer"]).await;
    let wait = u64::try_from(ACK_WAIT.as_millis()).unwrap();
    let consumer = json!({"slug": "c", "ack_wait_ms": wait});
    let made = server.post("/v1/http-consumers", consumer).await;
    made.expect(201);
    server.backfilled(&sync).await;
    (stripe, disk.server().stripe(&base), server, sync)
}

/// How far the machine's clock is ahead of the server's, as its metrics tell.
async fn told_ahead(server: &Server) -> f64 {
    let metrics = server.send(Method::GET, "/metrics").await.text;
    let name = "headrace_clock_ahead_seconds ";
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
    value.parse().unwrap()
}

/// Windows neither all end at once, nor stay open for an hour; and times never go back along the log.
async fn steps(ahead: i64) {
    let disk = Disk::new();
    let (stripe, _, server, sync) = with_customers(&disk).await;
    let taken_at = Instant::now();
    let taken = next(&server, Duration::ZERO).await;
    assert_eq!(taken.len(), 5);
    disk.set_clock(ahead);
    let told = told_ahead(&server).await;
    assert!((told - ahead as f64).abs() < 10.0, "{told}");
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
async fn a_clock_that_is_a_month_ahead_for_a_moment_ends_no_ack_window() {
    steps(MONTH).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_ack_window_open() {
    steps(-HOUR).await;
}

#[tokio::test]
async fn a_clock_that_was_a_month_ahead_is_followed_at_once() {
    let disk = Disk::new();
    let (stripe, _, server, sync) = with_customers(&disk).await;
    let taken_at = Instant::now();
    let taken = next(&server, Duration::ZERO).await;
    assert_eq!(taken.len(), 5);
    disk.set_clock(-MONTH);
    server
        .until(|| async { told_ahead(&server).await.abs() < 1.0 })
        .await;
    let again = next(&server, PATIENCE / 2).await;
    assert_eq!(upstream_ids(&again), upstream_ids(&taken));
    assert!(taken_at.elapsed() < PATIENCE);
    let ack: Vec<_> = again.iter().map(|one| &one["ack_token"]).collect();
    let acked = server.post("/v1/http-consumers/c/ack", json!({"ack_tokens": ack}));
    assert_eq!(acked.await.header("headrace-settled"), Some("5"));
    one_more(&server, &stripe, &sync).await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_before_a_start_keeps_no_ack_window_open() {
    let disk = Disk::new();
    let (_stripe, setup, mut server, _) = with_customers(&disk).await;
    let taken = next(&server, Duration::ZERO).await;
    assert_eq!(taken.len(), 5);
    assert!(server.terminate().success());
    disk.set_clock(-HOUR);
    let server = setup.start();
    let again = next(&server, 3 * ACK_WAIT).await;
    assert_eq!(upstream_ids(&again), upstream_ids(&taken));
}
