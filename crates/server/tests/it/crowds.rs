//! Many callers at once: more than there is work for, and more than there are file descriptors for.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use headrace_sandbox::stripe::{Collection, Stripe};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::consuming::{take, tokens, with_customers};
use crate::harness::{ADMIN, PATIENCE, Server, Setup, answer, sandbox, text};

/// Connections of callers that do nothing: more than a server with [`FILES`] can take, and fewer than
/// the system lets wait to be accepted (128, or more).
const CALLERS: usize = 110;
/// The files and sockets of a server that is short of them.
const FILES: u32 = 100;
/// Long polls at once.
const POLLS: usize = 1_000;

/// New customers, each with its event.
fn make_customers(stripe: &Stripe, count: usize) {
    for n in 0..count {
        let customer = json!({"name": format!("number {n}")});
        stripe.create(Collection::Customer, customer).unwrap();
    }
}

/// Polls that wait, each on a connection of its own.
fn wait_many(server: &Server, polls: usize) -> JoinSet<Vec<Value>> {
    let mut waiting = JoinSet::new();
    for _ in 0..polls {
        let body = json!({"wait_for": "120s"});
        let poll = server.request(reqwest::Method::POST, "/v1/http-consumers/c/next");
        let poll = poll.json(&body);
        waiting.spawn(async move {
            // The one that looks whether all of them wait may have the last place for a moment.
            let mut taken = answer(poll.try_clone().unwrap()).await;
            while taken.status.as_u16() == 429 {
                taken = answer(poll.try_clone().unwrap()).await;
            }
            taken.expect(200).as_array().unwrap().clone()
        });
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_long_polls_are_each_answered_with_another_record() {
    let (stripe, server, sync) = with_customers(0).await;
    let patch = json!({"max_waiting": POLLS});
    server
        .patch("/v1/http-consumers/c", patch)
        .await
        .expect(200);
    let mut waiting = wait_many(&server, POLLS);
    // All of them wait once there is no room for another.
    server
        .until(|| async {
            let one_more = json!({"wait_for": 1});
            let answer = server.post("/v1/http-consumers/c/next", one_more).await;
            answer.status.as_u16() == 429
        })
        .await;
    // Others are served meanwhile.
    for path in ["/v1/http-consumers", "/v1/records", "/v1/syncs", "/ready"] {
        let quick = timeout(Duration::from_secs(5), server.get(path));
        quick.await.expect("it is answered beside the polls");
    }
    make_customers(&stripe, POLLS);
    let check = format!("/v1/syncs/{sync}/collections/stripe:customer/check");
    server.post(&check, json!({})).await.expect(202);
    let mut seen = BTreeSet::new();
    let mut settled = Vec::new();
    let all = async {
        while let Some(taken) = waiting.join_next().await {
            let taken = taken.unwrap();
            assert_eq!(
                taken.len(),
                1,
                "a poll that waits is answered with a record"
            );
            assert!(seen.insert(text(&taken[0]["record"]["id"])), "twice");
            settled.extend(tokens(&taken));
        }
    };
    timeout(PATIENCE, all)
        .await
        .expect("every poll is answered");
    assert_eq!(seen.len(), POLLS);
    let acked = json!({"ack_tokens": settled});
    let acked = server.post("/v1/http-consumers/c/ack", acked).await;
    acked.expect(204);
    assert_eq!(acked.header("headrace-settled"), Some("1000"));
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_pending"], 0);
    assert_eq!(consumer["num_ack_pending"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_beyond_the_file_descriptors_wait_and_nothing_is_lost() {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 200);
    let server = Setup::new()
        .stripe(&base)
        .open_files(FILES)
        .env("HEADRACE_READ_TIMEOUT_SECONDS", "300")
        .start();
    // These connections are in before all others, and stay. More than one, because the client may ask anew
    // before it has the last one back: another would wait behind all callers.
    let mut answers = Vec::new();
    for _ in 0..4 {
        let request = server.request(Method::GET, "/v1/streams");
        answers.push(request.send().await.unwrap());
    }
    for answer in answers {
        answer.bytes().await.unwrap();
    }
    let address = server.url.strip_prefix("http://").unwrap();
    let mut idle: Vec<TcpStream> = (0..CALLERS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    // One that is in sends half a request; the last of all sends a whole one, and has to wait.
    idle[0].write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let mut last = idle.pop().unwrap();
    let head = format!(
        "GET /v1/streams HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nConnection: close\r\n\r\n"
    );
    last.write_all(head.as_bytes()).unwrap();
    // What callers cannot take is there for the provider, which is asked for the first time, and the store.
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    let consumer = json!({"slug": "c"});
    server
        .post("/v1/http-consumers", consumer)
        .await
        .expect(201);
    let first = take(&server, json!({"batch_size": 150})).await;
    let acked = json!({"ack_tokens": tokens(&first)});
    let acked = server.post("/v1/http-consumers/c/ack", acked).await;
    acked.expect(204);
    assert_eq!(acked.header("headrace-settled"), Some("150"));

    drop(idle);
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = std::io::read_to_string(&mut last).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let rest = take(&server, json!({"batch_size": 1000})).await;
    let mut seen = BTreeSet::new();
    for message in first.iter().chain(&rest) {
        assert!(
            seen.insert(text(&message["record"]["upstream_id"])),
            "twice"
        );
    }
    assert_eq!(seen.len(), 200);
    let log = server.logs();
    assert!(
        !log.contains("panicked") && !log.contains(" ERROR "),
        "{log}"
    );
}
