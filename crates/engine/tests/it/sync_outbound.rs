//! The outbound client against a server that says exactly what a test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headrace_engine::clock::SystemClock;
use headrace_engine::outbound::{Account, Call, CallError, Outbound, OutboundSettings};
use headrace_engine::providers::Providers;
use headrace_model::CredentialId;
use headrace_model::config::RateLimit;
use headrace_model::provider::Request;
use headrace_model::quota::Priority;
use headrace_model::retry::{Backoff, Class};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use uuid::Uuid;

/// What a request looked like, and when it was there.
type Arrivals = Arc<Mutex<Vec<(Instant, String)>>>;

/// A server that answers every request with `answer`, after a delay.
async fn server(answer: impl Into<String>, delay: Duration) -> (SocketAddr, Arrivals) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrivals = Arrivals::default();
    let (answer, seen) = (answer.into(), Arc::clone(&arrivals));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone(), delay, Arc::clone(&seen)));
        }
    });
    (address, arrivals)
}

async fn converse(mut stream: TcpStream, answer: String, delay: Duration, seen: Arrivals) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push((Instant::now(), head));
    tokio::time::sleep(delay).await;
    // A client that gave up does not listen any more.
    stream.write_all(answer.as_bytes()).await.ok();
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn outbound(settings: OutboundSettings) -> Arc<Outbound> {
    Arc::new(Outbound::new(Arc::new(SystemClock), settings).unwrap())
}

fn quick() -> OutboundSettings {
    let millis = Duration::from_millis;
    OutboundSettings {
        attempts: 2,
        backoff: Backoff {
            base: millis(1),
            cap: millis(5),
        },
        ..OutboundSettings::default()
    }
}

fn account(address: SocketAddr, limit: Option<RateLimit>) -> Account {
    let bases = BTreeMap::from([("stripe".to_owned(), format!("http://{address}/v1"))]);
    let providers = Providers::load(None, &bases).unwrap();
    let fields = BTreeMap::from([("secret".to_owned(), "sk_test_hidden".to_owned())]);
    let id = CredentialId(Uuid::from_u128(9));
    let stripe = Arc::clone(providers.get("stripe").unwrap());
    Account::new(id, stripe, "stripe_key", &fields, limit).unwrap()
}

/// The account's own first check, or whatever path a test needs.
fn request(account: &Account, path: &str) -> Request {
    let mut request = account.definition().checks[0].request.clone();
    path.clone_into(&mut request.path_and_query);
    request
}

fn call<'a>(account: &'a Account, request: &'a Request, priority: Priority) -> Call<'a> {
    Call {
        account,
        request,
        priority,
        sync: None,
    }
}

#[tokio::test]
async fn a_call_carries_the_definitions_headers_and_is_dated_by_the_provider() {
    let dated = answer("200 OK", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "{}");
    let (address, arrivals) = server(dated, Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers?limit=1");
    let response = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
    let dated = headrace_model::Timestamp::from_seconds(784_111_777);
    assert!(response.seen_at <= dated);
    assert!(dated.since(response.seen_at) < Duration::from_secs(20));
    let arrivals = arrivals.lock().unwrap();
    let head = arrivals[0].1.to_lowercase();
    for part in [
        "get /v1/customers?limit=1 http/1.1",
        "authorization: bearer sk_test_hidden",
        "stripe-version: 2026-10-28.endive",
        "user-agent: headrace/",
    ] {
        assert!(head.contains(part), "{part} is not in {head}");
    }
}

#[tokio::test]
async fn an_answer_that_something_is_gone_is_dated_by_the_provider_too() {
    let dated = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let (address, _arrivals) = server(answer("404 Not Found", dated, "{}"), Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers/cus_1");
    let gone = client
        .send(call(&account, &request, Priority::Refetch))
        .await
        .unwrap_err();
    let CallError::Upstream { seen_at, .. } = gone else {
        panic!("{gone}")
    };
    let dated = headrace_model::Timestamp::from_seconds(784_111_777);
    assert!(seen_at <= dated);
    assert!(dated.since(seen_at) < Duration::from_secs(20));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let (elsewhere, stolen) = server(answer("200 OK", "", "{}"), Duration::ZERO).await;
    let location = format!("Location: http://{elsewhere}/v1/customers\r\n");
    let (address, _) = server(answer("302 Found", &location, ""), Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers");
    let error = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Rejected);
    assert_eq!(stolen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_request_cannot_leave_the_providers_host() {
    let (address, arrivals) = server(answer("200 OK", "", "{}"), Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    for path in [
        "@evil.example/",
        ".evil.example/",
        "/../../other",
        "\\\\evil.example/",
    ] {
        let request = request(&account, path);
        let answer = client
            .send(call(&account, &request, Priority::Changes))
            .await;
        assert!(matches!(answer, Err(CallError::OtherHost { .. })), "{path}");
    }
    assert_eq!(arrivals.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_the_provider_repeats_of_a_key_is_masked() {
    let body = r#"{"error":{"message":"Invalid API Key provided: sk_test_hidden"}}"#;
    let refusal = answer("401 Unauthorized", "Request-Id: sk_test_hidden\r\n", body);
    let (address, _) = server(refusal, Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers");
    let error = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Reauthorize);
    let shown = format!("{error} {error:?} {account:?}");
    assert!(shown.contains("Invalid API Key"), "{shown}");
    assert!(!shown.contains("sk_test_hidden"), "{shown}");
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_told_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers?key=sk_query");
    let error = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Retry { after: None });
    assert!(!format!("{error:?}").contains("sk_query"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let (address, _) = server(answer("200 OK", "", &"x".repeat(2_000)), Duration::ZERO).await;
    let settings = OutboundSettings {
        max_body: 1_000,
        ..quick()
    };
    let (client, account) = (outbound(settings), account(address, None));
    let request = request(&account, "/customers");
    let error = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::TooLarge { limit: 1_000, .. }));
}

#[tokio::test]
async fn a_long_pause_is_reported_and_not_waited_for() {
    let limited = answer("429 Too Many Requests", "Retry-After: 3600\r\n", "{}");
    let (address, arrivals) = server(limited, Duration::ZERO).await;
    let (client, account) = (outbound(quick()), account(address, None));
    let request = request(&account, "/customers");
    let error = client
        .send(call(&account, &request, Priority::Changes))
        .await
        .unwrap_err();
    let after = Some(Duration::from_secs(3_600));
    assert_eq!(error.class(), Class::Retry { after });
    assert_eq!(arrivals.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_provider_never_sees_more_than_the_allotment() {
    let (address, arrivals) = server(answer("200 OK", "", "{}"), Duration::from_millis(5)).await;
    let limit = RateLimit {
        allowed_requests: 5,
        interval: 0.2,
        max_concurrent_requests: 0,
    };
    let (client, account) = (outbound(quick()), account(address, Some(limit)));
    let request = request(&account, "/customers");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..23 {
        let (client, account, request) = (Arc::clone(&client), account.clone(), request.clone());
        calls.spawn(async move {
            client
                .send(call(&account, &request, Priority::Write))
                .await
                .unwrap();
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    let times: Vec<Instant> = arrivals
        .lock()
        .unwrap()
        .iter()
        .map(|(time, _)| *time)
        .collect();
    assert_eq!(times.len(), 23);
    for start in &times {
        let within =
            |time: &&Instant| *time >= start && **time < *start + Duration::from_millis(200);
        assert!(times.iter().filter(within).count() <= 5);
    }
}

#[tokio::test]
async fn a_write_passes_those_who_wait() {
    let (address, arrivals) = server(answer("200 OK", "", "{}"), Duration::from_millis(20)).await;
    let limit = RateLimit {
        allowed_requests: 1_000,
        interval: 1.0,
        max_concurrent_requests: 1,
    };
    let (client, account) = (outbound(quick()), account(address, Some(limit)));
    let (read, write) = (request(&account, "/read"), request(&account, "/write"));
    let reads = async {
        let reads = (0..10).map(|_| client.send(call(&account, &read, Priority::Backfill)));
        futures_util::future::join_all(reads).await
    };
    let writes = async {
        // The reads are in the queue by then: they were polled first.
        tokio::task::yield_now().await;
        client.send(call(&account, &write, Priority::Write)).await
    };
    let (read, written) = tokio::join!(reads, writes);
    written.unwrap();
    assert!(read.iter().all(Result::is_ok));
    let arrivals = arrivals.lock().unwrap();
    let place = arrivals
        .iter()
        .position(|(_, head)| head.contains("/write"))
        .unwrap();
    assert_eq!(
        place, 1,
        "the second to go, after the one that was under way"
    );
}
