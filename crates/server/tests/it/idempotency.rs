//! `Idempotency-Key`: a repeated request does nothing again.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Server, answer, text};

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
    let again = crate::harness::Setup::on(&server.data).start();
    assert_eq!(
        keyed(&again, "/v1/streams", "k", json!({"slug": "dev"}))
            .await
            .expect(201),
        made
    );
}
