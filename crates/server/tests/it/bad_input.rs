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
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
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
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
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
async fn what_is_fixed_of_a_sync_is_refused() {
    let (_, base) = sandbox().await;
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    let path = format!("/v1/syncs/{sync}");
    let before = server.get(&path).await;
    for field in ["provider", "stream_id", "credential_id"] {
        let same = json!({field: before[field], "name": "changed"});
        let refused = server.patch(&path, same).await;
        assert_eq!(refused.invalid_fields(), [field]);
    }
    assert_eq!(server.get(&path).await["name"], before["name"]);
    let changes = json!({
        "name": "renamed",
        "slug": "s",
        "rate_limit": {"allowed_requests": 100, "interval": 60},
        "max_age_days": 30,
        "sync_frequency": "4h",
        "external_id": "customer-1",
        "metadata": {"plan": {"tags": ["a", "b"]}, "n": 42},
        "status": "disabled",
    });
    let changed = server.patch(&path, changes.clone()).await;
    assert!(
        changed.text.contains(r#""interval":60,"#),
        "{}",
        changed.text
    );
    let changed = changed.expect(200);
    for (field, value) in changes.as_object().unwrap() {
        if field != "rate_limit" {
            assert_eq!(&changed[field], value, "{field}");
        }
    }
    for (filter, count) in [
        (r#"{"plan":{"tags":["b"]}}"#, 1),
        (r#"{"n":42.0}"#, 1),
        (r#"{"plan":{"tags":["c"]}}"#, 0),
    ] {
        let listed = server
            .request(Method::GET, "/v1/syncs")
            .query(&[("metadata", filter)]);
        let listed = answer(listed).await.expect(200);
        assert_eq!(listed["data"].as_array().unwrap().len(), count, "{filter}");
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

#[tokio::test]
async fn odd_records_arrive_as_the_provider_wrote_them() {
    let (_, base) = sandbox().await;
    let odd = OddAccount::serve(&base).await;
    let server = Setup::new().stripe(&odd.base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    // An answer stops at 8 MiB, so the record of 10 MB has one to itself.
    let mut read = String::new();
    for after in 0..4 {
        let path = format!("/v1/records?limit=10&after_cursor={after}");
        read.push_str(&answer(server.request(Method::GET, &path)).await.text);
    }
    for token in [
        r#""big":12345678901234567890123"#,
        r#""precise":0.1000000000000000055511151231257827"#,
        r#""exponent":1E400"#,
        r#""escaped":"\u00e9\/""#,
        r#""twice":1,"twice":2"#,
    ] {
        assert!(read.contains(token), "the provider's tokens: {token}");
    }
    for id in ["cus_numbers", "cus_deep", "cus_large", "cus_utf8"] {
        assert!(
            read.contains(&format!("\"upstream_id\":\"{id}\"")),
            "{id} is there"
        );
    }
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let (mut delivered, mut largest) = (Vec::new(), 0);
    while delivered.len() < 4 {
        let next = server.request(Method::POST, "/v1/http-consumers/c/next");
        let taken = next.json(&json!({"batch_size": 100})).send().await.unwrap();
        assert_eq!(taken.status().as_u16(), 200);
        // The bytes themselves: what is no UTF-8 must not have become it in this test.
        let bytes = taken.bytes().await.unwrap().to_vec();
        largest = largest.max(bytes.len());
        let messages = String::from_utf8(bytes).expect("answers are UTF-8");
        delivered.extend(messages.split("{\"ack_token\"").skip(1).map(str::to_owned));
    }
    assert!(largest > 10 << 20, "a record of 10 MB is delivered whole");
    let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
    let expected = [
        r#","data":{"id":"cus_numbers","object":"customer","created":1700000000,"big":12345678901234567890123,"precise":0.1000000000000000055511151231257827,"exponent":1E400,"escaped":"\u00e9\/","twice":1,"twice":2},"deleted":false"#.to_owned(),
        format!(r#","data":{{"id":"cus_deep","object":"customer","created":1700000001,"deep":{open}{close}}},"deleted":false"#),
        format!(r#","data":{{"id":"cus_large","object":"customer","created":1700000002,"name":"{}"}},"deleted":false"#, "x".repeat(10 << 20)),
        ",\"data\":{\"id\":\"cus_utf8\",\"object\":\"customer\",\"created\":1700000003,\"name\":\"\u{fffd}\u{fffd}\"},\"deleted\":false".to_owned(),
    ];
    for data in expected {
        let name: String = data.chars().take(40).collect();
        let count = delivered.iter().filter(|one| one.contains(&data)).count();
        assert_eq!(count, 1, "{name}… is delivered as it is");
    }
}

/// An account whose customers are odd: everything else is the sandbox's.
struct OddAccount {
    base: String,
}

impl OddAccount {
    async fn serve(sandbox: &str) -> Self {
        use axum::body::Bytes;
        use axum::http::header::CONTENT_TYPE;
        use axum::routing::get;

        let numbers = r#"{ "id": "cus_numbers", "object": "customer", "created": 1700000000,
            "big": 12345678901234567890123, "precise": 0.1000000000000000055511151231257827,
            "exponent": 1E400, "escaped": "\u00e9\/", "twice": 1, "twice": 2 }"#;
        let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
        let deep = format!(
            r#"{{"id":"cus_deep","object":"customer","created":1700000001,"deep":{open}{close}}}"#
        );
        let large = format!(
            r#"{{"id":"cus_large","object":"customer","created":1700000002,"name":"{}"}}"#,
            "x".repeat(10 << 20)
        );
        let mut page =
            format!(r#"{{"object":"list","has_more":false,"data":[{numbers},{deep},{large},"#)
                .into_bytes();
        page.extend_from_slice(b"{\"id\":\"cus_utf8\",\"object\":\"customer\",\"created\":1700000003,\"name\":\"\xff\xfe\"}]}");
        let page = Bytes::from(page);
        let origin = sandbox.to_owned();
        let customers = get(move || async move { ([(CONTENT_TYPE, "application/json")], page) });
        let rest = move |request: axum::extract::Request| {
            let origin = origin.clone();
            async move {
                let path = request.uri().path_and_query().unwrap().to_string();
                let url = format!("{origin}{}", path.strip_prefix("/v1").unwrap());
                let mut forward = reqwest::Client::new().get(url);
                if let Some(token) = request.headers().get("authorization") {
                    forward = forward.header("authorization", token.clone());
                }
                let answer = forward.send().await.unwrap();
                (answer.status(), answer.bytes().await.unwrap())
            }
        };
        let router = axum::Router::new()
            .route("/v1/customers", customers)
            .fallback(rest);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base }
    }
}
