//! `Idempotency-Key`: a repeated request does nothing again.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, KEY, Server, Setup, answer, sandbox, text};

async fn keyed(server: &Server, path: &str, key: &str, body: serde_json::Value) -> Answer {
    answer(
        server
            .request(Method::POST, path)
            .header("idempotency-key", key)
            .json(&body),
    )
    .await
}

#[tokio::test]
async fn a_replay_answers_the_first_answer() {
    let server = Server::start();
    let first = keyed(&server, "/v1/streams", "k1", json!({"slug": "dev"})).await;
    let made = first.expect(201);
    let again = keyed(&server, "/v1/streams", "k1", json!({"slug": "dev"})).await;
    assert_eq!(again.expect(201), made);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(first.header("idempotent-replayed"), None);
    let other = keyed(&server, "/v1/streams", "k1", json!({"slug": "other"})).await;
    assert_eq!(other.expect(409)["code"], "conflict");
}

#[tokio::test]
async fn a_refused_request_frees_its_key() {
    let server = Server::start();
    keyed(&server, "/v1/streams", "k", json!({"slug": "a/b"}))
        .await
        .expect(422);
    keyed(&server, "/v1/streams", "k", json!({"slug": "ab"}))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_secret_is_masked_in_the_replay_and_the_key_is_bound_to_its_token() {
    let server = Server::start();
    let body = json!({"name": "t", "scopes": ["read"]});
    let first = keyed(&server, "/v1/api-tokens", "k", body.clone())
        .await
        .expect(201);
    let again = keyed(&server, "/v1/api-tokens", "k", body.clone())
        .await
        .expect(201);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["token"], "***********");
    let request = server
        .bare(Method::POST, "/v1/api-tokens")
        .bearer_auth(text(&first["token"]));
    let lesser = answer(request.header("idempotency-key", "k").json(&body)).await;
    assert_eq!(lesser.expect(409)["code"], "conflict");
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let mut server = Server::start();
    let made = keyed(&server, "/v1/streams", "k", json!({"slug": "dev"}))
        .await
        .expect(201);
    server.kill();
    let again = Setup::on(&server.data).start();
    assert_eq!(
        keyed(&again, "/v1/streams", "k", json!({"slug": "dev"}))
            .await
            .expect(201),
        made
    );
}

#[tokio::test]
async fn what_a_crash_left_unanswered_is_found_by_the_next_attempt() {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 1);
    let credential = json!({"properties": {"kind": "stripe_key", "secret": KEY}});
    let sync = json!({
        "provider": "stripe",
        "name": "s",
        "collection_ids": ["stripe:customer"],
        "credential": {"kind": "stripe_key", "secret": KEY},
    });
    let requests = [
        ("/v1/streams", json!({"slug": "dev"})),
        ("/v1/credentials", credential),
        ("/v1/syncs", sync),
        ("/v1/http-consumers", json!({"name": "c"})),
        ("/v1/api-tokens", json!({"name": "t", "scopes": ["read"]})),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    for (path, body) in requests {
        let setup = || Setup::on(&data).stripe(&base);
        let mut first = setup().env("HEADRACE_CRASH_AT", "unanswered:1").start();
        let request = first.request(Method::POST, path);
        let request = request.header("idempotency-key", "k").json(&body);
        assert!(request.send().await.is_err(), "{path} is not answered");
        first.until_it_ends().await;
        let second = setup().start();
        let made = keyed(&second, path, "k", body.clone()).await.expect(201);
        let listed = second.get(path).await;
        let ids: Vec<&serde_json::Value> = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["id"])
            .collect();
        assert_eq!(ids, [&made["id"]], "{path} made one");
        if let Some(token) = made["token"].as_str() {
            let read = second.bare(Method::GET, "/v1/org").bearer_auth(token);
            answer(read).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_a_key_too() {
    let server = Server::start();
    let large = json!({"slug": "x".repeat(5 << 20)});
    let refused = keyed(&server, "/v1/streams", "k", large).await.expect(413);
    assert_eq!(refused["code"], "too_large");
    keyed(&server, "/v1/streams", "k", json!({"slug": "dev"}))
        .await
        .expect(201);
}

#[tokio::test]
async fn every_post_that_changes_something_is_replayed() {
    let server = Server::with_consumer("next").await;
    for (call, body) in [
        ("reset", json!({"from_idx": 1})),
        ("pause", json!({})),
        ("resume", json!({})),
        ("dead-letters/redrive", json!({"all": true})),
    ] {
        let path = format!("/v1/http-consumers/next/{call}");
        let first = keyed(&server, &path, "k", body.clone()).await;
        let again = keyed(&server, &path, "k", body).await;
        assert_eq!(again.expect(200), first.expect(200), "{call}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{call}");
    }
}
