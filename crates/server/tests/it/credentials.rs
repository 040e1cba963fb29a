//! Credentials: one per account, and never of another one.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{KEY, Server, Setup, answer, sandbox, text};

/// A Stripe with several accounts: the key `sk_<account>_<anything>` opens `acct_<account>`; restricted
/// keys `rk_…` may not ask which account they are for.
async fn accounts() -> String {
    let serve = |request: Request| async move {
        let header = request.headers().get("authorization").unwrap();
        let key = header
            .to_str()
            .unwrap()
            .trim_start_matches("Bearer ")
            .to_owned();
        let account = key.split('_').nth(1).unwrap_or_default().to_owned();
        match (request.uri().path(), key.starts_with("sk_")) {
            ("/v1/account", true) => {
                axum::Json(json!({"id": format!("acct_{account}")})).into_response()
            }
            ("/v1/balance", true) => axum::Json(json!({"livemode": false})).into_response(),
            ("/v1/account" | "/v1/balance", false) if key.starts_with("rk_") => {
                StatusCode::FORBIDDEN.into_response()
            }
            ("/v1/account" | "/v1/balance", false) => StatusCode::UNAUTHORIZED.into_response(),
            _ => {
                axum::Json(json!({"object": "list", "data": [], "has_more": false})).into_response()
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(serve);
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

async fn server() -> Server {
    let server = Setup::new().stripe(&accounts().await).start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
}

fn key(secret: &str) -> Value {
    json!({"properties": {"kind": "stripe_key", "secret": secret}})
}

#[tokio::test]
async fn the_same_account_again_updates_and_an_unverified_one_never_merges() {
    let server = server().await;
    let first = server
        .post("/v1/credentials", key("sk_a_1"))
        .await
        .expect(201);
    let again = server
        .post("/v1/credentials", key("sk_a_2"))
        .await
        .expect(200);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(first["health"]["status"], "healthy");
    let unchecked = server
        .post("/v1/credentials?verify=false", key("sk_a_3"))
        .await
        .expect(201);
    assert_eq!(unchecked["account"], Value::Null);
    assert_eq!(unchecked["health"]["status"], "initializing");
    let restricted = server
        .post("/v1/credentials", key("rk_a_1"))
        .await
        .expect(201);
    assert_eq!(restricted["account"], Value::Null);
    assert_eq!(restricted["health"]["status"], "warning");
    assert!(text(&restricted["health"]["notes"][0]).contains("unverified"));
    let listed = server.get("/v1/credentials").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn fields_of_another_account_are_refused_even_after_unchecked_ones() {
    let server = server().await;
    let made = server
        .post("/v1/credentials", key("sk_a_1"))
        .await
        .expect(201);
    let path = format!("/v1/credentials/{}", text(&made["id"]));
    let other = json!({"properties": {"secret": "sk_b_1"}});
    server.patch(&path, other.clone()).await.expect(409);
    for unchecked in ["?verify=false", ""] {
        let fields = json!({"properties": {"secret": "rk_a_1"}});
        let patched = server.patch(&format!("{path}{unchecked}"), fields).await;
        assert_eq!(patched.expect(200)["account"], Value::Null);
        server.patch(&path, other.clone()).await.expect(409);
    }
    let same = json!({"properties": {"secret": "sk_a_2"}});
    let back = server.patch(&path, same).await.expect(200);
    assert_eq!(back["account"]["id"], "acct_a");
}

#[tokio::test]
async fn an_unchecked_credential_does_not_become_a_second_one_for_an_account() {
    let server = server().await;
    server
        .post("/v1/credentials", key("sk_a_1"))
        .await
        .expect(201);
    let second = server.post("/v1/credentials?verify=false", key("sk_x_1"));
    let path = format!("/v1/credentials/{}", text(&second.await.expect(201)["id"]));
    let taken = json!({"properties": {"secret": "sk_a_2"}});
    let refused = server.patch(&path, taken).await.expect(409);
    assert!(text(&refused["summary"]).contains("another credential"));
}

#[tokio::test]
async fn a_new_account_that_is_posted_many_times_at_once_is_one_credential() {
    let server = server().await;
    let posts = (0..8).map(|n| {
        let body = key(&format!("sk_a_{n}"));
        let request = server.request(Method::POST, "/v1/credentials").json(&body);
        answer(request)
    });
    let answers = futures_util::future::join_all(posts).await;
    let made = answers.iter().filter(|one| one.status == 201).count();
    let updated = answers.iter().filter(|one| one.status == 200).count();
    assert_eq!((made, updated), (1, 7), "{answers:?}");
    let listed = server.get("/v1/credentials").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_sync_leaves_no_credential_behind() {
    let server = server().await;
    let sync = |change: Value| {
        let mut sync = json!({
            "provider": "stripe",
            "name": "s",
            "slug": "s",
            "collection_ids": ["stripe:customer"],
            "credential": {"kind": "stripe_key", "secret": "sk_b_1"},
        });
        for (field, value) in change.as_object().unwrap() {
            sync[field] = value.clone();
        }
        sync
    };
    let existing = server
        .post("/v1/credentials", key("sk_a_1"))
        .await
        .expect(201);
    let taken = sync(json!({"credential": null, "credential_id": existing["id"]}));
    server.post("/v1/syncs", taken).await.expect(201);
    for (change, field) in [
        (
            json!({"slug": null, "collection_ids": ["stripe:nothing"]}),
            "collection_ids[0]",
        ),
        (json!({"slug": null, "name": " "}), "name"),
        (json!({"slug": null, "provider": "nobody"}), "provider"),
        (
            json!({"slug": null, "credential": {"kind": "stripe_key", "secret": "nonsense"}}),
            "credential.properties.secret",
        ),
        (
            json!({"slug": null, "credential": {"kind": "stripe_key", "secret": "sk", "x": "y"}}),
            "credential.properties.x",
        ),
    ] {
        let refused = server.post("/v1/syncs", sync(change)).await;
        assert_eq!(refused.invalid_fields(), [field], "{}", refused.text);
    }
    server.post("/v1/syncs", sync(json!({}))).await.expect(409);
    let listed = server.get("/v1/credentials").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    let made = sync(json!({"slug": "t"}));
    server.post("/v1/syncs", made).await.expect(201);
    let listed = server.get("/v1/credentials").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn fields_that_do_not_tell_where_the_api_is_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("shops");
    let stripe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../providers/stripe");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(stripe).unwrap() {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let text = text
            .replace("https://api.stripe.com/v1", "https://{shop}/v1")
            .replace("credentials.stripe_", "credentials.shops_")
            .replace(
                "fields.secret = {",
                "fields.shop = { title = \"Shop\" }\nfields.secret = {",
            )
            .replace(
                "fields.access_token = {",
                "fields.shop = { title = \"Shop\" }\nfields.access_token = {",
            );
        std::fs::write(folder.join(entry.file_name()), text).unwrap();
    }
    let server = Setup::new()
        .env("HEADRACE_PROVIDERS_DIR", scratch.path().to_str().unwrap())
        .start();
    let shop = json!({"properties": {"kind": "shops_key", "secret": "s", "shop": "no such host"}});
    let refused = server.post("/v1/credentials", shop).await;
    assert_eq!(refused.invalid_fields(), ["properties"], "{}", refused.text);
}

#[tokio::test]
async fn looking_for_collections_tells_how_it_went() {
    let (stripe, base) = sandbox().await;
    let data = tempfile::tempdir().unwrap();
    let mut server = Setup::on(data.path()).stripe(&base).start();
    let properties = json!({"kind": "stripe_key", "secret": KEY});
    let credential = server
        .post("/v1/credentials", json!({"properties": properties}))
        .await
        .expect(201);
    let path = format!("/v1/collections/{}/refresh", text(&credential["id"]));
    let status = server.get(&format!("{path}/status")).await;
    assert_eq!(status["status"], "succeeded", "the declared ones are known");
    let refreshed = async |server: &Server| {
        let started = server.post(&format!("{path}/start"), json!({})).await;
        let started = started.expect(200);
        assert!(!started["last_started_at"].is_null(), "{started}");
        let ended = async || server.get(&format!("{path}/status")).await["status"] != "processing";
        server.until(ended).await;
        server.get(&format!("{path}/status")).await
    };
    let status = refreshed(&server).await;
    assert_eq!(status["status"], "succeeded", "{status}");
    assert!(status["error"].is_null());
    let succeeded_at = status["last_succeeded_at"].clone();
    assert!(succeeded_at.as_str() > credential["created_at"].as_str());

    stripe.set_key("sk_test_another_one");
    let status = refreshed(&server).await;
    assert_eq!(status["status"], "failed", "{status}");
    assert!(text(&status["error"]).contains("refused"), "{status}");
    assert_eq!(status["last_succeeded_at"], succeeded_at);
    server.terminate();
    let server = Setup::on(data.path()).stripe(&base).start();
    let after = server.get(&format!("{path}/status")).await;
    assert_eq!(after, status, "it outlives the process");
}

/// Nobody listens where the proxy is said to be.
#[tokio::test]
async fn a_provider_on_this_machine_is_asked_through_no_proxy() {
    let (_stripe, base) = sandbox().await;
    let setup = Setup::new().env("HTTP_PROXY", "http://127.0.0.1:1");
    let server = setup.stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
}
