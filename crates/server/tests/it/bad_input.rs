//! Bad input gets a clear error of the documented form, or a correct result; never a 500, never a
//! lost record.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Server, Setup, answer, sandbox, text};

async fn raw(server: &Server, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    answer(
        server
            .request(Method::POST, path)
            .header("content-type", kind)
            .body(body),
    )
    .await
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let server = Server::start();
    let json = "application/json";
    for broken in [
        "{",
        "[1,2",
        "nonsense",
        "{\"slug\": }",
        "\"\\ud800\"x",
        "{\"slug\":\"a\"}{}",
    ] {
        let refused = raw(&server, "/v1/streams", json, broken).await.expect(400);
        assert_eq!(refused["code"], "malformed", "{broken}");
    }
    assert_eq!(
        raw(&server, "/v1/streams", json, vec![b'"', 0xff, b'"'])
            .await
            .expect(400)["code"],
        "malformed"
    );
    for wrong in [r#"["dev"]"#, "null", "7", r#""dev""#] {
        assert_eq!(
            raw(&server, "/v1/streams", json, wrong)
                .await
                .invalid_fields(),
            ["body"],
            "{wrong}"
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        raw(&server, "/v1/streams", json, deep).await.expect(400)["code"],
        "malformed"
    );
    let deep = format!(
        "{{\"slug\":\"s\",\"x\":{}1{}}}",
        "[".repeat(1_000),
        "]".repeat(1_000)
    );
    assert!(
        [400, 422].contains(
            &raw(&server, "/v1/streams", json, deep)
                .await
                .status
                .as_u16()
        )
    );
    let form = raw(
        &server,
        "/v1/streams",
        "application/x-www-form-urlencoded",
        "slug=dev",
    )
    .await;
    assert_eq!(form.expect(415)["code"], "unsupported_media_type");
    let large = format!("{{\"slug\":\"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(
        raw(&server, "/v1/streams", json, large).await.expect(413)["code"],
        "too_large"
    );
    raw(
        &server,
        "/v1/streams",
        "application/json; charset=utf-8",
        r#"{"slug":"ok"}"#,
    )
    .await
    .expect(201);
}

#[tokio::test]
async fn fields_that_are_unknown_missing_or_of_the_wrong_type_are_named() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    let cases = [
        ("/v1/streams", json!({"slug": "a", "colour": 1}), "colour"),
        ("/v1/streams", json!({}), "slug"),
        ("/v1/streams", json!({"slug": 5}), "slug"),
        ("/v1/streams", json!({"slug": null}), "slug"),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "ack_wait_ms": "soon"}),
            "ack_wait_ms",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "ack_wait_ms": -1}),
            "ack_wait_ms",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "ack_wait_ms": 1}),
            "ack_wait_ms",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "max_ack_pending": 0}),
            "max_ack_pending",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "max_ack_pending": 20_001}),
            "max_ack_pending",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "max_deliver": 0}),
            "max_deliver",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "filters": {"colour": "*"}}),
            "filters.colour",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "deliver_policy": "soon"}),
            "deliver_policy",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "metadata": []}),
            "metadata",
        ),
        (
            "/v1/api-tokens",
            json!({"name": "t", "scopes": ["everything"]}),
            "scopes[0]",
        ),
        (
            "/v1/api-tokens",
            json!({"name": "t", "scopes": []}),
            "scopes",
        ),
        (
            "/v1/credentials",
            json!({"properties": {"kind": "nonsense"}}),
            "kind",
        ),
        (
            "/v1/credentials",
            json!({"properties": {"secret": "sk"}}),
            "properties.kind",
        ),
        (
            "/v1/credentials",
            json!({"properties": {"kind": "stripe_key"}}),
            "properties.secret",
        ),
        (
            "/v1/syncs",
            json!({"provider": "stripe", "name": "x", "collection_ids": []}),
            "credential_id",
        ),
        (
            "/v1/syncs",
            json!({"provider": "stripe", "name": "x", "collection_ids": [], "colour": 1}),
            "colour",
        ),
        (
            "/v1/syncs",
            json!({"provider": "stripe", "name": "x", "collection_ids": [], "rate_limit": {"x": 1}}),
            "rate_limit.x",
        ),
        (
            "/v1/credentials",
            json!({"properties": {"kind": "stripe_key", "secret": "s"}, "colour": 1}),
            "colour",
        ),
        (
            "/v1/credentials",
            json!({"properties": {"kind": "stripe_key", "secret": "s", "colour": "red"}}),
            "properties.colour",
        ),
        (
            "/v1/api-tokens",
            json!({"name": "t", "scopes": ["read"], "colour": 1}),
            "colour",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "deliver_policy": {"from_index": 1}}),
            "deliver_policy.from_index",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "deliver_policy": {"from_idx": "one"}}),
            "deliver_policy.from_idx",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "deliver_policy": 7}),
            "deliver_policy",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "filters": {"sync_id": "nobody"}}),
            "filters.sync_id",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "filters": {"deleted": "maybe"}}),
            "filters.deleted",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "filters": {"provider": [7]}}),
            "filters.provider[0]",
        ),
        (
            "/v1/http-consumers",
            json!({"stream_id": "dev", "ack_wait": 1, "ack_wait_ms": 1_000}),
            "ack_wait",
        ),
    ];
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let settling = [
        (json!({"colour": 1}), "colour"),
        (
            json!({"nack": [{"token": "x", "colour": 1}]}),
            "nack[0].colour",
        ),
        (
            json!({"reject": [{"token": "x", "colour": 1}]}),
            "reject[0].colour",
        ),
        (json!({"reject": [{"error": "x"}]}), "reject[0].token"),
    ];
    let settling = settling.map(|(body, field)| ("/v1/http-consumers/c/settle", body, field));
    for (path, body, field) in cases.into_iter().chain(settling) {
        let refused = server.post(path, body.clone()).await;
        assert_eq!(
            refused.invalid_fields(),
            [field],
            "{path} {body}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn queries_and_paths_that_make_no_sense() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    for (path, field) in [
        ("/v1/records?limit=0", "limit"),
        ("/v1/records?limit=1001", "limit"),
        ("/v1/records?limit=many", "limit"),
        ("/v1/records?order=up", "order"),
        ("/v1/records?after_cursor=x", "after_cursor"),
        ("/v1/records?colour=red", "colour"),
        ("/v1/streams?cursor=x", "cursor"),
        ("/v1/syncs?metadata=x", "metadata"),
        ("/v1/syncs?health.status=fine", "health.status"),
    ] {
        let refused = server.send(Method::GET, path).await;
        assert_eq!(
            refused.invalid_fields(),
            [field],
            "{path}: {}",
            refused.text
        );
    }
    for (path, field) in [
        ("/v1/providers?limit=0", "limit"),
        ("/v1/providers?colour=red", "colour"),
        ("/v1/records?sync_id=nobody", "sync_id"),
        ("/v1/records?upstream_id=x&limit=0", "limit"),
    ] {
        let refused = server.send(Method::GET, path).await;
        assert_eq!(refused.invalid_fields(), [field], "{path}");
    }
    let nobody = "018f2b5e-7c6b-7a3e-9d1f-0a2b3c4d5e6f";
    for path in [
        format!("/v1/streams/{nobody}"),
        "/v1/streams/nobody".to_owned(),
        "/v1/streams/a%2Fb".to_owned(),
        "/v1/streams/%ff".to_owned(),
        format!("/v1/credentials/{nobody}"),
        "/v1/credentials/x".to_owned(),
        format!("/v1/syncs/{nobody}"),
        format!("/v1/records/{nobody}"),
        "/v1/records/x".to_owned(),
        format!("/v1/http-consumers/{nobody}"),
        "/v1/providers/nobody".to_owned(),
    ] {
        assert_eq!(
            server.send(Method::GET, &path).await.expect(404)["code"],
            "not_found",
            "{path}"
        );
    }
}

#[tokio::test]
async fn batch_sizes_waits_and_tokens_that_are_none() {
    let server = Server::with_consumer("c").await;
    for (body, field) in [
        (json!({"batch_size": 0}), "batch_size"),
        (json!({"batch_size": 1_000_000}), "batch_size"),
        (json!({"batch_size": -1}), "batch_size"),
        (json!({"wait_for": "soon"}), "wait_for"),
        (json!({"wait_for": 300_001}), "wait_for"),
    ] {
        let refused = server.post("/v1/http-consumers/c/next", body.clone()).await;
        assert_eq!(refused.invalid_fields(), [field], "{body}");
    }
    for size in ["0", "1000000", "-1", "many"] {
        let path = format!("/v1/http-consumers/c/next?batch_size={size}");
        let refused = server.send(Method::GET, &path).await;
        assert_eq!(refused.invalid_fields(), ["batch_size"], "{size}");
    }
    // A good one in the body does not hide it.
    let path = "/v1/http-consumers/c/next?batch_size=0";
    let refused = server.post(path, json!({"batch_size": 1})).await;
    assert_eq!(refused.invalid_fields(), ["batch_size"]);
    for bad in ["", "NjA1", "<ack_token>", "é"] {
        for call in ["ack", "nack", "extend"] {
            let path = format!("/v1/http-consumers/c/{call}");
            let refused = server.post(&path, json!({"ack_tokens": [bad]})).await;
            assert_eq!(
                refused.invalid_fields(),
                ["ack_tokens[0]"],
                "{call} {bad:?}"
            );
        }
        for (list, one) in [
            ("ack", json!(bad)),
            ("nack", json!({"token": bad})),
            ("extend", json!(bad)),
            ("reject", json!(bad)),
            ("reject", json!({"token": bad})),
        ] {
            let settle = server.post("/v1/http-consumers/c/settle", json!({list: [one]}));
            let fields = settle.await.invalid_fields();
            assert_eq!(fields, [format!("{list}[0]")], "{bad:?}");
        }
    }
}

#[tokio::test]
async fn more_tokens_than_can_be_outstanding_are_refused() {
    let server = Server::with_consumer("c").await;
    let tokens = vec!["x"; 20_001];
    for call in ["ack", "nack", "extend"] {
        let path = format!("/v1/http-consumers/c/{call}");
        let refused = server.post(&path, json!({"ack_tokens": tokens})).await;
        assert_eq!(refused.invalid_fields(), ["ack_tokens"], "{call}");
        assert!(refused.text.contains("20000"), "{}", refused.text);
    }
    let (some, rest) = tokens.split_at(10_000);
    let settle = json!({"ack": some, "extend": rest});
    let refused = server.post("/v1/http-consumers/c/settle", settle).await;
    assert_eq!(refused.invalid_fields(), ["body"]);
}

#[tokio::test]
async fn slugs_with_slashes_are_refused_everywhere() {
    let (_, base) = sandbox().await;
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    let consumer = json!({"slug": "a/b"});
    let refused = server.post("/v1/http-consumers", consumer.clone()).await;
    assert_eq!(refused.invalid_fields(), ["slug"]);
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let credential = server.get(&format!("/v1/syncs/{sync}")).await["credential_id"].clone();
    let second = json!({"provider": "stripe", "name": "s", "slug": "a/b",
        "collection_ids": ["stripe:customer"], "credential_id": credential});
    let refused = server.post("/v1/syncs", second).await;
    assert_eq!(refused.invalid_fields(), ["slug"]);
    for path in [
        "/v1/http-consumers/c",
        &format!("/v1/syncs/{sync}"),
        "/v1/streams/dev",
    ] {
        let refused = server.patch(path, json!({"slug": "a/b"})).await;
        assert_eq!(refused.invalid_fields(), ["slug"], "{path}");
    }
}

#[tokio::test]
async fn a_bad_token_in_a_call_settles_nothing_of_it() {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 1);
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let taken = server
        .post("/v1/http-consumers/c/next", json!({}))
        .await
        .expect(200);
    let good = text(&taken[0]["ack_token"]);
    let mixed = server
        .post(
            "/v1/http-consumers/c/ack",
            json!({"ack_tokens": [good, "bad"]}),
        )
        .await;
    assert_eq!(mixed.invalid_fields(), ["ack_tokens[1]"]);
    assert_eq!(
        server.get("/v1/http-consumers/c").await["num_ack_pending"],
        1
    );
    // A well-formed token of another consumer is counted, never an error.
    server
        .post("/v1/http-consumers", json!({"slug": "d"}))
        .await
        .expect(201);
    let foreign = server
        .post("/v1/http-consumers/d/ack", json!({"ack_tokens": [good]}))
        .await;
    foreign.expect(204);
    assert_eq!(foreign.header("headrace-stale"), Some("1"));
}
