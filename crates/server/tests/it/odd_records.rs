//! Records that are hard to carry: large, deep, with numbers and texts that a parser would change.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Setup, answer, sandbox};

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
