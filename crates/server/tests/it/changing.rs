//! Changes of the configuration are carried out whole, or not at all.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Server, Setup, sandbox};

/// A server with two customers, and a consumer `c` that has both before it.
async fn with_backlog(setup: Setup) -> Server {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 2);
    let server = setup.stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    server
}

#[tokio::test]
async fn a_refused_patch_of_a_consumer_changes_nothing() {
    let server = with_backlog(Setup::new()).await;
    server
        .post("/v1/http-consumers", json!({"slug": "taken"}))
        .await
        .expect(201);
    let patch = json!({"deliver_policy": "new", "slug": "taken"});
    server
        .patch("/v1/http-consumers/c", patch)
        .await
        .expect(409);
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_pending"], 2, "the backlog is still there");
    assert_eq!(consumer["deliver_policy"], "all");
}

#[tokio::test]
async fn a_patch_says_whether_it_restarted_the_consumer() {
    let server = with_backlog(Setup::new()).await;
    let path = "/v1/http-consumers/c";
    let named = server.patch(path, json!({"name": "n"})).await.expect(200);
    assert_eq!(named["restarted"], false);
    let again = json!({"deliver_policy": "new"});
    let restarted = server.patch(path, again.clone()).await.expect(200);
    assert_eq!(
        (&restarted["restarted"], &restarted["num_pending"]),
        (&json!(true), &json!(0))
    );
    let same = server.patch(path, again).await.expect(200);
    assert_eq!(same["restarted"], false);
    assert!(server.get(path).await.get("restarted").is_none());
}

#[tokio::test]
async fn a_restart_that_a_crash_cut_off_is_done_at_the_next_start() {
    let mut server = with_backlog(Setup::new().env("HEADRACE_CRASH_AT", "decided:1")).await;
    let path = "/v1/http-consumers/c";
    let next = format!("{path}/next");
    let taken = server.post(&next, json!({"batch_size": 2})).await;
    assert_eq!(taken.expect(200).as_array().unwrap().len(), 2);
    let patch = json!({"deliver_policy": {"from_idx": 2}});
    let cut_off = server.request(Method::PATCH, path).json(&patch).send();
    assert!(cut_off.await.is_err(), "no answer");
    server.until_it_ends().await;
    let again = Setup::on(&server.data).start();
    let consumer = again.get(path).await;
    assert_eq!(consumer["deliver_policy"], json!({"from_idx": 2}));
    assert_eq!(
        (&consumer["num_pending"], &consumer["num_ack_pending"]),
        (&json!(1), &json!(0)),
        "it has started anew"
    );
}
