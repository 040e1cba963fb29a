//! The main job: an account's records reach a worker, once, in order, and are settled.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Setup, sandbox, text};

/// A server with an account of so many customers, all read, and a consumer `c`.
pub(crate) async fn with_customers(
    count: usize,
) -> (headrace_sandbox::stripe::Stripe, Server, String) {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, count);
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    server
        .post(
            "/v1/http-consumers",
            json!({"stream_id": "dev", "slug": "c"}),
        )
        .await
        .expect(201);
    (stripe, server, sync)
}

pub(crate) async fn take(server: &Server, body: Value) -> Vec<Value> {
    let taken = server
        .post("/v1/http-consumers/c/next", body)
        .await
        .expect(200);
    taken.as_array().unwrap().clone()
}

pub(crate) fn tokens(messages: &[Value]) -> Vec<String> {
    messages
        .iter()
        .map(|message| text(&message["ack_token"]))
        .collect()
}

#[tokio::test]
async fn every_record_reaches_a_worker_once() {
    let (stripe, server, _) = with_customers(250).await;
    let mut seen = BTreeSet::new();
    loop {
        let messages = take(&server, json!({"batch_size": 100})).await;
        if messages.is_empty() {
            break;
        }
        for message in &messages {
            assert_eq!(message["attempts"], 1);
            assert!(
                seen.insert(text(&message["record"]["upstream_id"])),
                "twice: {message}"
            );
        }
        let acked = server
            .post(
                "/v1/http-consumers/c/ack",
                json!({"ack_tokens": tokens(&messages)}),
            )
            .await;
        acked.expect(204);
        assert_eq!(
            acked.header("headrace-settled"),
            Some(messages.len().to_string().as_str())
        );
        assert_eq!(acked.header("headrace-stale"), Some("0"));
    }
    let all: BTreeSet<String> = stripe
        .list_all(headrace_sandbox::stripe::Collection::Customer)
        .iter()
        .map(|customer| text(&customer["id"]))
        .collect();
    assert_eq!(seen, all);
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_pending"], 0);
    assert_eq!(consumer["num_ack_pending"], 0);
}

#[tokio::test]
async fn a_message_given_back_comes_again_and_a_dead_one_is_redriven() {
    let (_, server, _) = with_customers(1).await;
    server
        .patch("/v1/http-consumers/c", json!({"max_deliver": 2}))
        .await
        .expect(200);
    for attempts in 1..=2 {
        let messages = take(&server, json!({})).await;
        assert_eq!(messages[0]["attempts"], attempts);
        let nack = json!({"ack_tokens": tokens(&messages), "error": "no luck"});
        server
            .post("/v1/http-consumers/c/nack", nack)
            .await
            .expect(204);
    }
    assert!(take(&server, json!({})).await.is_empty());
    let dead = server.get("/v1/http-consumers/c/dead-letters").await;
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_dead"], 1);
    assert!(consumer["oldest_dead_at"].is_string());
    assert_eq!(consumer["oldest_dead_at"], dead["data"][0]["died_at"]);
    assert_eq!(dead["data"][0]["attempts"], 2);
    assert_eq!(dead["data"][0]["last_error"], "no luck");
    assert_eq!(dead["data"][0]["record"]["data"]["object"], "customer");
    let redriven = server
        .post(
            "/v1/http-consumers/c/dead-letters/redrive",
            json!({"all": true}),
        )
        .await;
    assert_eq!(redriven.expect(200)["count"], 1);
    assert_eq!(take(&server, json!({})).await[0]["attempts"], 1);
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_dead"], 0);
    assert!(consumer["oldest_dead_at"].is_null());
}

#[tokio::test]
async fn a_window_that_ends_gives_the_message_to_another_and_the_late_ack_is_stale() {
    let (_, server, _) = with_customers(1).await;
    server
        .patch("/v1/http-consumers/c", json!({"ack_wait_ms": 200}))
        .await
        .expect(200);
    let first = take(&server, json!({})).await;
    let second = take(&server, json!({"wait_for": "30s"})).await;
    assert_eq!(second[0]["attempts"], 2);
    let late = server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": tokens(&first)}),
        )
        .await;
    assert_eq!(
        (
            late.header("headrace-settled"),
            late.header("headrace-stale")
        ),
        (Some("0"), Some("1"))
    );
}

#[tokio::test]
async fn a_long_poll_answers_when_something_changes() {
    let (stripe, server, _) = with_customers(3).await;
    let messages = take(&server, json!({"batch_size": 10})).await;
    server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": tokens(&messages)}),
        )
        .await
        .expect(204);
    let id = text(&messages[0]["record"]["upstream_id"]);
    let poll = take(&server, json!({"wait_for": "50s"}));
    let change = async {
        stripe
            .update(
                headrace_sandbox::stripe::Collection::Customer,
                &id,
                json!({"name": "Paul Atreides"}),
            )
            .unwrap();
        server
            .post(
                &format!(
                    "/v1/syncs/{}/collections/stripe:customer/check",
                    sync_id(&server).await
                ),
                json!({}),
            )
            .await
    };
    let (changed, _) = tokio::join!(poll, change);
    assert_eq!(changed[0]["record"]["data"]["name"], "Paul Atreides");
    assert_eq!(text(&changed[0]["record"]["upstream_id"]), id);
}

async fn sync_id(server: &Server) -> String {
    text(&server.get("/v1/syncs").await["data"][0]["id"])
}

#[tokio::test]
async fn an_update_is_withheld_while_a_worker_has_the_record() {
    let (stripe, server, sync) = with_customers(1).await;
    let first = take(&server, json!({})).await;
    let id = text(&first[0]["record"]["upstream_id"]);
    stripe
        .update(
            headrace_sandbox::stripe::Collection::Customer,
            &id,
            json!({"name": "Chani"}),
        )
        .unwrap();
    server
        .post(
            &format!("/v1/syncs/{sync}/collections/stripe:customer/check"),
            json!({}),
        )
        .await
        .expect(202);
    server
        .until(|| async { server.get("/v1/http-consumers/c").await["num_pending"] == 1 })
        .await;
    assert!(
        take(&server, json!({})).await.is_empty(),
        "two versions of a record are never out together"
    );
    server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": tokens(&first)}),
        )
        .await
        .expect(204);
    let second = take(&server, json!({})).await;
    assert_eq!(second[0]["record"]["data"]["name"], "Chani");
    assert_eq!(second[0]["attempts"], 1);
}

#[tokio::test]
async fn deletes_arrive_with_the_last_known_data() {
    let (stripe, server, sync) = with_customers(2).await;
    let messages = take(&server, json!({"batch_size": 10})).await;
    server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": tokens(&messages)}),
        )
        .await
        .expect(204);
    let id = text(&messages[0]["record"]["upstream_id"]);
    stripe
        .delete(headrace_sandbox::stripe::Collection::Customer, &id)
        .unwrap();
    server
        .post(
            &format!("/v1/syncs/{sync}/collections/stripe:customer/check"),
            json!({}),
        )
        .await
        .expect(202);
    let gone = take(&server, json!({"wait_for": "50s"})).await;
    assert_eq!(gone[0]["record"]["deleted"], true);
    assert_eq!(text(&gone[0]["record"]["data"]["id"]), id);
}

#[tokio::test]
async fn a_reset_starts_anew_and_makes_old_tokens_stale() {
    let (_, server, _) = with_customers(3).await;
    let before = take(&server, json!({"batch_size": 3})).await;
    server
        .post("/v1/http-consumers/c/reset", json!({"from_idx": 1}))
        .await
        .expect(200);
    let late = server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": tokens(&before)}),
        )
        .await;
    assert_eq!(late.header("headrace-stale"), Some("3"));
    assert_eq!(take(&server, json!({"batch_size": 3})).await.len(), 3);
}

#[tokio::test]
async fn peeking_changes_nothing() {
    let (_, server, _) = with_customers(3).await;
    for _ in 0..2 {
        let seen = server
            .get("/v1/http-consumers/c/messages?state=available")
            .await;
        assert_eq!(seen["data"].as_array().unwrap().len(), 3);
    }
    take(&server, json!({})).await;
    let out = server
        .get("/v1/http-consumers/c/messages?state=delivered")
        .await;
    assert_eq!(out["data"][0]["attempts"], 1);
}

#[tokio::test]
async fn a_paused_consumer_gives_nothing() {
    let (_, server, _) = with_customers(1).await;
    server
        .post("/v1/http-consumers/c/pause", json!({}))
        .await
        .expect(200);
    assert!(take(&server, json!({})).await.is_empty());
    server
        .post("/v1/http-consumers/c/resume", json!({}))
        .await
        .expect(200);
    assert_eq!(take(&server, json!({})).await.len(), 1);
}

#[tokio::test]
async fn next_by_get_and_the_envelope() {
    let (_, server, _) = with_customers(2).await;
    let answer = server
        .send(
            Method::GET,
            "/v1/http-consumers/c/next?batch_size=1&info=true",
        )
        .await;
    let body = answer.expect(200);
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        body["info"],
        json!({"num_pending": 1, "num_ack_pending": 1})
    );
    assert_eq!(answer.header("headrace-num-pending"), Some("1"));
}

#[tokio::test]
async fn settling_many_ways_in_one_call() {
    let (_, server, _) = with_customers(4).await;
    let tokens = tokens(&take(&server, json!({"batch_size": 4})).await);
    let settle = json!({
        "ack": [tokens[0]],
        "nack": [{"token": tokens[1], "delay_ms": 60_000, "error": "later"}],
        "extend": [tokens[2]],
        "reject": [{"token": tokens[3], "error": "never"}],
    });
    let settled = server
        .post("/v1/http-consumers/c/settle", settle)
        .await
        .expect(200);
    assert_eq!(settled, json!({"settled": 4, "stale": 0}));
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(
        (&consumer["num_ack_pending"], &consumer["num_dead"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn windows_end_without_anybody_asking_whatever_else_waits() {
    let (_, mut server, _) = with_customers(1).await;
    // A worker took this message and died; it is due again, and nobody asks for it.
    server
        .patch("/v1/http-consumers/c", json!({"ack_wait_ms": 100}))
        .await
        .expect(200);
    assert_eq!(take(&server, json!({})).await.len(), 1);
    let second = json!({"slug": "d", "ack_wait_ms": 700, "max_deliver": 1});
    server.post("/v1/http-consumers", second).await.expect(201);
    let taken = server
        .post("/v1/http-consumers/d/next", json!({}))
        .await
        .expect(200);
    assert_eq!(taken.as_array().unwrap().len(), 1);
    server
        .until(|| async { server.get("/v1/http-consumers/d").await["num_dead"] == 1 })
        .await;
    assert!(
        server.terminate().success(),
        "no timer keeps the server from stopping"
    );
}

#[tokio::test]
async fn a_waiting_worker_sees_a_patch() {
    let (_, server, _) = with_customers(2).await;
    let filtered = json!({"slug": "f", "filters": {"collection_id": "stripe:invoice"}});
    server
        .post("/v1/http-consumers", filtered)
        .await
        .expect(201);
    let poll = server.post("/v1/http-consumers/f/next", json!({"wait_for": "50s"}));
    let everything = server.patch("/v1/http-consumers/f", json!({"filters": {}}));
    let (polled, _) = tokio::join!(poll, everything);
    assert_eq!(polled.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn head_takes_no_messages() {
    let (_, server, _) = with_customers(1).await;
    let head = server.send(Method::HEAD, "/v1/http-consumers/c/next").await;
    assert_eq!(head.status.as_u16(), 405);
    assert_eq!(take(&server, json!({})).await.len(), 1);
}

#[tokio::test]
async fn long_polls_beyond_the_limit_are_told_to_wait() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
        .post("/v1/http-consumers", json!({"slug": "c", "max_waiting": 1}))
        .await
        .expect(201);
    let wait = || server.post("/v1/http-consumers/c/next", json!({"wait_for": "50s"}));
    let (first, second) = (wait(), wait());
    tokio::pin!(first, second);
    let refused = tokio::select! {
        answer = &mut first => answer,
        answer = &mut second => answer,
    };
    assert_eq!(refused.expect(429)["code"], "too_many");
    assert!(refused.header("retry-after").is_some());
    // Who does not wait takes no place.
    take(&server, json!({})).await;
}

#[tokio::test]
async fn an_extended_message_stays_with_its_worker() {
    let (_, server, _) = with_customers(2).await;
    let window = json!({"ack_wait_ms": 700});
    server
        .patch("/v1/http-consumers/c", window)
        .await
        .expect(200);
    let taken = take(&server, json!({"batch_size": 2})).await;
    let long = json!({"ack_wait_ms": 43_200_000});
    server.patch("/v1/http-consumers/c", long).await.expect(200);
    let kept = tokens(&taken[..1]);
    let extended = server
        .post("/v1/http-consumers/c/extend", json!({"ack_tokens": kept}))
        .await;
    assert_eq!(extended.header("headrace-settled"), Some("1"));
    // The other window ends, and only that message comes again.
    let again = take(&server, json!({"batch_size": 2, "wait_for": "50s"})).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["record"]["id"], taken[1]["record"]["id"]);
    let acked = server
        .post("/v1/http-consumers/c/ack", json!({"ack_tokens": kept}))
        .await;
    assert_eq!(acked.header("headrace-settled"), Some("1"));
}
