//! Every operation of the API's document denies by default. There are no exceptions.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN, KEY, Server, Setup, answer, sandbox, text};

/// One operation of the document, with ids in its path.
struct Operation {
    method: Method,
    path: String,
    template: String,
}

/// Every operation under `/v1`, the path filled with what `ids` has.
async fn operations(server: &Server, ids: &Value) -> Vec<Operation> {
    let document = server.get("/v1/openapi.json").await;
    let mut operations = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        if !template.starts_with("/v1/") && template != "/metrics" {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = fill(template, ids);
            operations.push(Operation {
                method,
                path,
                template: template.clone(),
            });
        }
    }
    assert!(
        operations.len() > 50,
        "the document lists {} operations",
        operations.len()
    );
    operations
}

fn fill(template: &str, ids: &Value) -> String {
    let mut path = template.to_owned();
    let resource = template.split('/').nth(2).unwrap_or_default();
    for name in ["stream", "sync", "consumer", "credential_id", "collection"] {
        let value = ids[name].as_str().unwrap_or("none");
        path = path.replace(&format!("{{{name}}}"), value);
    }
    let id = match resource {
        "credentials" => &ids["credential_id"],
        "collections" => &ids["collection"],
        "api-tokens" => &ids["token"],
        "records" => &ids["record"],
        "providers" => &json!("stripe"),
        _ => &Value::Null,
    };
    path.replace("{id}", id.as_str().unwrap_or("none"))
}

/// A server with one of everything, and the ids.
async fn furnished() -> (Server, Value) {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 2);
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    let consumer = server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let token = server
        .post("/v1/api-tokens", json!({"name": "t", "scopes": ["read"]}))
        .await
        .expect(201);
    let sync = server.get(&format!("/v1/syncs/{sync}")).await;
    let record = server.get("/v1/records?limit=1").await["records"][0]["id"].clone();
    let ids = json!({
        "stream": sync["stream_id"],
        "sync": sync["id"],
        "credential_id": sync["credential_id"],
        "collection": "stripe:customer",
        "consumer": consumer["id"],
        "token": token["id"],
        "record": record,
    });
    (server, ids)
}

async fn ask(server: &Server, operation: &Operation, token: Option<&str>) -> (StatusCode, Value) {
    let mut request = server.bare(operation.method.clone(), &operation.path);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    if operation.method != Method::GET {
        request = request.json(&body_for(&operation.template, &operation.method));
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    let kind = response.headers().get("content-type").cloned();
    if kind.is_some_and(|kind| kind == "text/event-stream") {
        // It goes on for as long as one listens.
        return (status, Value::Null);
    }
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A body that the operation would take.
fn body_for(template: &str, method: &Method) -> Value {
    match template.rsplit('/').next() {
        Some("ack" | "nack" | "extend") => json!({"ack_tokens": []}),
        Some("redrive" | "dead-letters") => json!({"all": true}),
        Some("reset") => json!({"from_idx": 1}),
        Some("{stream}") if method == Method::PATCH => json!({"slug": "renamed"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn without_a_good_token_nothing_is_reached() {
    let (server, ids) = furnished().await;
    let revoked = server
        .post("/v1/api-tokens", json!({"name": "r", "scopes": ["admin"]}))
        .await
        .expect(201);
    server
        .delete(&format!("/v1/api-tokens/{}", text(&revoked["id"])))
        .await
        .expect(204);
    let good = server
        .post("/v1/api-tokens", json!({"name": "g", "scopes": ["admin"]}))
        .await
        .expect(201);
    let good = text(&good["token"]);
    let tampered = format!("Bearer {}x", good.split_at(good.len() - 1).0);
    let revoked = format!("Bearer {}", text(&revoked["token"]));
    let cases = [
        (None, "missing_token"),
        (Some("Bearer nonsense".to_owned()), "unknown_token"),
        (Some(tampered), "unknown_token"),
        (Some(format!("Basic {ADMIN}")), "not_a_bearer_token"),
        (Some(revoked), "revoked_token"),
    ];
    for operation in operations(&server, &ids).await {
        for (token, code) in &cases {
            let (status, body) = ask(&server, &operation, token.as_deref()).await;
            let place = format!("{} {}", operation.method, operation.template);
            assert_eq!(
                (status.as_u16(), body["code"].as_str()),
                (401, Some(*code)),
                "{place}"
            );
        }
    }
}

#[tokio::test]
async fn a_scope_opens_only_its_own_operations() {
    let (server, ids) = furnished().await;
    let scoped = |scope: &'static str| {
        let server = &server;
        async move {
            let made = server
                .post("/v1/api-tokens", json!({"name": scope, "scopes": [scope]}))
                .await;
            format!("Bearer {}", text(&made.expect(201)["token"]))
        }
    };
    let (read, consume) = (scoped("read").await, scoped("consume").await);
    let (mutate, proxy) = (scoped("mutate").await, scoped("proxy").await);
    let settling = ["/next", "/ack", "/nack", "/extend", "/settle"];
    for operation in operations(&server, &ids).await {
        let place = format!("{} {}", operation.method, operation.template);
        let consuming = settling.iter().any(|end| operation.template.ends_with(end));
        let reading = operation.method == Method::GET
            && !consuming
            && !operation.template.contains("api-tokens")
            && operation.template != "/v1/backup";
        for (token, allowed) in [
            (&read, reading),
            (&consume, consuming),
            (&mutate, false),
            (&proxy, false),
        ] {
            let (status, body) = ask(&server, &operation, Some(token)).await;
            if allowed {
                assert_ne!(status, StatusCode::FORBIDDEN, "{place}: {body}");
            } else {
                assert_eq!(
                    (status.as_u16(), body["code"].as_str()),
                    (403, Some("forbidden")),
                    "{place}"
                );
            }
        }
    }
}

#[tokio::test]
async fn another_organisation_sees_nothing() {
    let (mut server, ids) = furnished().await;
    assert!(server.terminate().success());
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_headrace"))
        .args(["org", "create", "strangers", "--data-dir"])
        .arg(&server.data)
        .output()
        .unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    let token = said
        .lines()
        .find_map(|line| line.strip_prefix("admin token  "))
        .expect("a token");
    let stranger = format!("Bearer {token}");
    let again = Setup::on(&server.data).start();
    let ask_as_stranger = async |method: Method, path: &str, body: Value| {
        let request = again.bare(method, path).bearer_auth(token);
        answer(request.json(&body)).await
    };
    // A stream of their own, so that nothing is refused for want of one.
    let own = ask_as_stranger(Method::POST, "/v1/streams", json!({"slug": "own"})).await;
    let own = text(&own.expect(201)["id"]);
    let sync = |stream: &Value, credential: &Value| {
        json!({"provider": "stripe", "name": "s", "collection_ids": ["stripe:customer"],
            "stream_id": stream, "credential_id": credential})
    };
    for (path, body, status) in [
        (
            "/v1/syncs",
            sync(&ids["stream"], &ids["credential_id"]),
            404,
        ),
        ("/v1/syncs", sync(&json!(own), &ids["credential_id"]), 422),
        (
            "/v1/http-consumers",
            json!({"stream_id": ids["stream"]}),
            404,
        ),
        ("/v1/consumers", json!({"stream_id": "dev"}), 404),
        (
            "/v1/api-tokens",
            json!({"name": "t", "scopes": ["read"], "stream_ids": [ids["stream"]]}),
            404,
        ),
        (
            "/v1/api-tokens",
            json!({"name": "t", "scopes": ["read"], "consumer_ids": [ids["consumer"]]}),
            404,
        ),
    ] {
        let refused = ask_as_stranger(Method::POST, path, body.clone()).await;
        assert_eq!(refused.status, status, "{path} {body}: {}", refused.text);
    }
    for list in [
        "records",
        "records/live",
        "syncs",
        "http-consumers",
        "consumers",
    ] {
        let path = format!("/v1/{list}?stream_id={}", text(&ids["stream"]));
        let refused = ask_as_stranger(Method::GET, &path, Value::Null).await;
        assert_eq!(refused.status, 404, "{path}: {}", refused.text);
    }
    let path = format!("/v1/records?sync_id={}", text(&ids["sync"]));
    let nothing = ask_as_stranger(Method::GET, &path, Value::Null).await;
    assert_eq!(nothing.expect(200)["records"], json!([]));
    let path = format!("/v1/records/live?sync_id={}", text(&ids["sync"]));
    let live = again.bare(Method::GET, &path).bearer_auth(token);
    let mut live = live.header("last-event-id", "0").send().await.unwrap();
    assert_eq!(live.status(), 200);
    ask_as_stranger(Method::DELETE, "/v1/streams/own", Value::Null)
        .await
        .expect(204);
    // It ends with its stream, and has told nothing.
    assert_eq!(live.chunk().await.unwrap(), None);
    for operation in operations(&again, &ids).await {
        let place = format!("{} {}", operation.method, operation.template);
        let (status, body) = ask(&again, &operation, Some(&stranger)).await;
        // The catalogue belongs to nobody; everything else that is addressed belongs to somebody.
        let shared = operation.template == "/v1/providers/{id}";
        if operation.template.contains('{') {
            let expected = if shared { 200 } else { 404 };
            assert_eq!(status.as_u16(), expected, "{place}: {body}");
        }
        let said = body.to_string();
        for id in ids.as_object().unwrap().values().filter_map(Value::as_str) {
            let shown = said.contains(id) && id != "stripe:customer" && status.is_success();
            assert!(!shown, "{place} shows {id} of another organisation");
        }
    }
}

#[tokio::test]
async fn a_bound_token_reaches_only_what_it_is_bound_to() {
    let (server, ids) = furnished().await;
    server
        .post("/v1/streams", json!({"slug": "other"}))
        .await
        .expect(201);
    server
        .post(
            "/v1/http-consumers",
            json!({"stream_id": "other", "slug": "o"}),
        )
        .await
        .expect(201);
    let bound =
        json!({"name": "b", "scopes": ["consume", "read"], "consumer_ids": [ids["consumer"]]});
    let token = text(&server.post("/v1/api-tokens", bound).await.expect(201)["token"]);
    let ask = |path: &str| answer(server.bare(Method::GET, path).bearer_auth(&token));
    ask("/v1/http-consumers/c/next").await.expect(200);
    ask("/v1/http-consumers/o/next").await.expect(403);
    ask("/v1/records?stream_id=dev").await.expect(403);
    ask("/v1/credentials").await.expect(403);
    assert_eq!(
        ask("/v1/http-consumers").await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let wide = json!({"name": "w", "scopes": ["admin"], "consumer_ids": [ids["consumer"]]});
    assert_eq!(
        server.post("/v1/api-tokens", wide).await.invalid_fields(),
        ["scopes"]
    );
}

#[tokio::test]
async fn a_token_bound_to_a_stream_reaches_only_what_is_in_it() {
    let (server, ids) = furnished().await;
    let other = server.post("/v1/streams", json!({"slug": "other"})).await;
    let other = other.expect(201)["id"].clone();
    let sync = json!({"provider": "stripe", "name": "o", "slug": "o", "stream_id": "other",
        "collection_ids": ["stripe:customer"], "credential_id": ids["credential_id"]});
    let sync = text(&server.post("/v1/syncs", sync).await.expect(201)["id"]);
    server.backfilled(&sync).await;
    let consumer = json!({"stream_id": "other", "slug": "o"});
    server
        .post("/v1/http-consumers", consumer)
        .await
        .expect(201);
    let bound = json!({"name": "b", "scopes": ["consume", "read"], "stream_ids": [ids["stream"]]});
    let token = text(&server.post("/v1/api-tokens", bound).await.expect(201)["token"]);
    let record = server.get("/v1/records?stream_id=other&limit=1").await;
    let record = text(&record["records"][0]["id"]);
    let token = format!("Bearer {token}");
    let ask = async |path: &str| {
        let request = server.bare(Method::GET, path);
        let response = request
            .header("authorization", &token)
            .send()
            .await
            .unwrap();
        response.status().as_u16()
    };
    for within in [
        "/v1/streams/dev",
        "/v1/records?stream_id=dev",
        "/v1/records/live?stream_id=dev",
        "/v1/http-consumers/c",
        "/v1/http-consumers/c/next",
        "/v1/openapi.json",
    ] {
        assert_eq!(ask(within).await, 200, "{within}");
    }
    let record = format!("/v1/records/{record}");
    for beyond in [
        "/v1/streams/other",
        "/v1/records?stream_id=other",
        "/v1/records/live?stream_id=other",
        &record,
        "/v1/syncs/o",
        "/v1/http-consumers/o",
        "/v1/http-consumers/o/next",
        "/v1/http-consumers/o/messages",
        "/v1/http-consumers/o/dead-letters",
        "/v1/credentials",
        "/metrics",
    ] {
        assert_eq!(ask(beyond).await, 403, "{beyond}");
    }
    for list in ["streams", "syncs", "http-consumers", "consumers"] {
        let request = server.bare(Method::GET, &format!("/v1/{list}"));
        let listed = answer(request.header("authorization", &token)).await;
        assert!(
            !listed.text.contains(&text(&other)),
            "{list}: {}",
            listed.text
        );
        assert_eq!(listed.expect(200)["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_needs_no_token_is_health_alone() {
    let server = Server::start();
    for path in ["/health", "/ready"] {
        answer(server.bare(Method::GET, path)).await.expect(200);
        answer(server.bare(Method::POST, path)).await.expect(405);
    }
    for path in [
        "/",
        "/metrics",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/streams/",
        "/webhooks/x",
    ] {
        answer(server.bare(Method::GET, path)).await.expect(401);
        let known = answer(server.request(Method::GET, path)).await;
        assert_eq!(
            known.status.as_u16(),
            if path == "/metrics" { 200 } else { 404 },
            "{path}"
        );
    }
}

#[tokio::test]
async fn secrets_are_in_no_answer_log_metric_or_file() {
    let (mut server, ids) = furnished().await;
    let token = server
        .post("/v1/api-tokens", json!({"name": "s", "scopes": ["read"]}))
        .await
        .expect(201);
    let token = text(&token["token"]);
    // A key that the provider refuses, and one that cannot be checked.
    let refused = "sk_test_refusedrefusedrefused";
    let bad = json!({"properties": {"kind": "stripe_key", "secret": refused}});
    let error = server.post("/v1/credentials", bad).await;
    error.expect(422);
    let credential = server
        .get(&format!("/v1/credentials/{}", text(&ids["credential_id"])))
        .await;
    assert_eq!(credential["properties"]["secret"], "***********");
    let mut said = vec![error.text, credential.to_string()];
    for path in [
        "/v1/credentials",
        "/v1/syncs",
        "/v1/api-tokens",
        "/v1/providers",
        "/v1/openapi.json",
    ] {
        said.push(server.get(path).await.to_string());
    }
    said.push(server.send(Method::GET, "/metrics").await.text);
    said.push(server.logs());
    server.kill();
    for entry in std::fs::read_dir(&server.data).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        said.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for secret in [KEY, ADMIN, refused, &token] {
        assert!(
            !said.iter().any(|text| text.contains(secret)),
            "a secret is shown: {secret}"
        );
    }
}
