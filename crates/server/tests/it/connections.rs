//! Connections: how many, how slow, and when those that wait are ended.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{ADMIN, PATIENCE, Server, Setup, answer, sandbox, text};

/// A connection to the server, as plain as it gets.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What arrives until the server closes the connection.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A connection that is cut off may end in a reset.
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&said).into_owned()
}

async fn with_stream(setup: Setup) -> Server {
    let server = setup.start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
}

#[test]
fn a_request_head_that_does_not_end_closes_its_connection() {
    let server = Setup::new()
        .env("HEADRACE_READ_TIMEOUT_SECONDS", "1")
        .start();
    let mut slow = connect(&server);
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    assert!(!read_to_end(slow).contains("200 OK"));
}

#[test]
fn a_body_that_does_not_arrive_is_answered_408() {
    let server = Setup::new()
        .env("HEADRACE_READ_TIMEOUT_SECONDS", "1")
        .start();
    let mut slow = connect(&server);
    let head = format!(
        "POST /v1/streams HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: 20\r\nConnection: close\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).unwrap();
    let said = read_to_end(slow);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.contains("\"too_slow\""), "{said}");
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let server = Setup::new().env("HEADRACE_MAX_CONNECTIONS", "2").start();
    let (first, second) = (connect(&server), connect(&server));
    let mut third = connect(&server);
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    third.write_all(request).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let early = third.read(&mut [0; 16]).expect_err("no place yet");
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(read_to_end(third).starts_with("HTTP/1.1 200"));
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_is_cut_off_and_a_quiet_one_is_not() {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 300);
    let server = Setup::new()
        .env("HEADRACE_WRITE_TIMEOUT_SECONDS", "1")
        .env("HEADRACE_MAX_CONNECTIONS", "8")
        .stripe(&base)
        .start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    let listen = |from: &str| {
        let mut stream = connect(&server);
        let head = format!(
            "GET /v1/records/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\
             Last-Event-ID: {from}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut quiet = listen("300");
    let mut head = [0; 12];
    quiet.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // Each asks for everything again and again without reading: more than the buffers of the system
    // hold. Every one takes one of the eight places until it is cut off.
    let deaf: Vec<TcpStream> = (0..5).map(|_| flood(&server)).collect();
    server
        .until(|| async { server.logs().matches("a connection was cut off").count() >= deaf.len() })
        .await;
    let change = json!({"name": "heard"});
    let customer = text(&server.get("/v1/records?limit=1").await["records"][0]["upstream_id"]);
    stripe
        .update(
            headrace_sandbox::stripe::Collection::Customer,
            &customer,
            change,
        )
        .unwrap();
    let check = format!("/v1/syncs/{sync}/collections/stripe:customer/check");
    server.post(&check, json!({})).await.expect(202);
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("\"heard\"") {
        let mut piece = [0; 4_096];
        let count = quiet.read(&mut piece).unwrap();
        assert!(count > 0, "the quiet listener was cut off");
        heard.extend_from_slice(&piece[..count]);
    }
}

/// Asks for many large answers on one connection, and reads none of them.
fn flood(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let request = format!(
        "GET /v1/records?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
    );
    for _ in 0..200 {
        if stream.write_all(request.as_bytes()).is_err() {
            break;
        }
    }
    stream
}

#[tokio::test]
async fn a_long_poll_ends_with_its_token() {
    let server = with_stream(Setup::new()).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let made = json!({"name": "worker", "scopes": ["consume"]});
    let token = server.post("/v1/api-tokens", made).await.expect(201);
    let poll = server
        .bare(Method::POST, "/v1/http-consumers/c/next")
        .bearer_auth(text(&token["token"]))
        .json(&json!({"wait_for": "300s"}));
    let revoke = async {
        // The poll is under way once it has been counted as waiting.
        let one = json!({"max_waiting": 1});
        server.patch("/v1/http-consumers/c", one).await.expect(200);
        server
            .until(|| async {
                let second = json!({"wait_for": 1});
                let other = server.post("/v1/http-consumers/c/next", second).await;
                other.status.as_u16() == 429
            })
            .await;
        let path = format!("/v1/api-tokens/{}", text(&token["id"]));
        server.delete(&path).await.expect(204);
    };
    let (polled, ()) = tokio::join!(answer(poll), revoke);
    assert_eq!(polled.expect(401)["code"], "revoked_token");
}

#[tokio::test]
async fn a_live_stream_ends_with_its_token_and_with_its_stream() {
    let server = with_stream(Setup::new()).await;
    let made = json!({"name": "listener", "scopes": ["read"]});
    let token = server.post("/v1/api-tokens", made).await.expect(201);
    let listen = || {
        let request = server.bare(Method::GET, "/v1/records/live");
        request.bearer_auth(text(&token["token"])).send()
    };
    let by_token = listen().await.unwrap();
    let path = format!("/v1/api-tokens/{}", text(&token["id"]));
    server.delete(&path).await.expect(204);
    let ended = tokio::time::timeout(Duration::from_secs(10), by_token.text()).await;
    assert_eq!(ended.expect("at once").unwrap(), "");
    let live = server.request(Method::GET, "/v1/records/live");
    let by_stream = live.send().await.unwrap();
    server.delete("/v1/streams/dev").await.expect(204);
    let ended = tokio::time::timeout(Duration::from_secs(10), by_stream.text()).await;
    assert_eq!(ended.expect("at once").unwrap(), "");
}
