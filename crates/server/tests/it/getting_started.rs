//! The requests of the founding page, their bodies verbatim.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Setup, answer, sandbox, text};

const CREDENTIAL: &str = r#"{
    "kind": "stripe_oauth2",
    "access_token": "sk_live_7eC39HqLyjWDarjtT1zdp7dc",
    "oauth_app_id": "8ff58ef0-d376-4ae8-b2e2-9f0206aa65b8",
    "metadata": { "custom_property": 42 }
  }"#;

const SYNC: &str = r#"{
    "provider": "stripe",
    "name": "Choam Corp - Stripe Production",
    "collection_ids": ["stripe:customer", "stripe:invoice"],
    "rate_limit": {
      "allowed_requests": 100,
      "interval": 60,
      "max_concurrent_requests": 0
    },
    "credential_id": "8ff58ef0-d376-4ae8-b2e2-9f0206aa65b8",
    "metadata": { "custom_property": 42 }
  }"#;

const NEXT: &str = r#"{ "batch_size": 10 }"#;

async fn post(server: &Server, path: &str, body: &str) -> crate::harness::Answer {
    let request = server
        .request(Method::POST, path)
        .header("content-type", "application/json");
    answer(request.body(body.to_owned())).await
}

#[tokio::test]
async fn the_founding_pages_requests_work_unchanged() {
    let (stripe, base) = sandbox().await;
    stripe.set_key("sk_live_7eC39HqLyjWDarjtT1zdp7dc");
    stripe.seed_all(12);
    let server = Setup::new().stripe(&base).start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);

    let credential = post(&server, "/v1/credentials", CREDENTIAL)
        .await
        .expect(201);
    assert_eq!(credential["provider"], "stripe");
    assert_eq!(credential["metadata"], json!({"custom_property": 42}));
    assert_eq!(credential["properties"]["access_token"], "***********");
    let again = post(&server, "/v1/credentials", CREDENTIAL)
        .await
        .expect(200);
    assert_eq!(again["id"], credential["id"], "the same account updates");

    let body = SYNC.replace(
        "8ff58ef0-d376-4ae8-b2e2-9f0206aa65b8",
        &text(&credential["id"]),
    );
    let sync = post(&server, "/v1/syncs", &body).await.expect(201);
    assert_eq!(sync["status"], "active");
    assert_eq!(sync["rate_limit"]["allowed_requests"], 100);

    let listed = server.get("/v1/syncs").await;
    assert_eq!(listed["data"][0]["id"], sync["id"]);
    server.backfilled(&text(&sync["id"])).await;

    let consumer = server
        .post("/v1/http-consumers", json!({"stream_id": "dev"}))
        .await
        .expect(201);
    let path = format!("/v1/http-consumers/{}/next", text(&consumer["id"]));
    let messages = post(&server, &path, NEXT).await.expect(200);
    assert_eq!(messages.as_array().expect("a bare array").len(), 10);
    let record = &messages[0]["record"];
    for field in [
        "sync_id",
        "collection_id",
        "upstream_id",
        "upstream_created_at",
        "upstream_updated_at",
    ] {
        assert!(record[field].is_string(), "{field}: {record}");
    }
    assert!(record["updated_idx"].is_u64() && record["data"]["object"].is_string());
    assert!(matches!(messages[0]["ack_token"], Value::String(_)));
}

#[tokio::test]
async fn a_credential_that_is_not_there_is_named() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    assert_eq!(
        post(&server, "/v1/syncs", SYNC).await.invalid_fields(),
        ["credential_id"]
    );
}
