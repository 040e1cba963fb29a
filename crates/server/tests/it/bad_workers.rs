//! Workers that never do their work: it is kept for them, and costs nobody else anything.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::consuming::{take, tokens, with_customers};
use crate::harness::{Server, text};

/// The most that a consumer can have outstanding.
const MOST: usize = 20_000;

/// The memory of the server's process, in bytes.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

/// The processor time of the server's process so far, in hundredths of a second.
fn processor_time(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let time = |at: usize| fields.split_whitespace().nth(at).unwrap().parse::<u64>();
    time(11).unwrap() + time(12).unwrap()
}

/// Takes all that can be had: each record's id, and which delivery it was.
async fn take_all(server: &Server) -> (BTreeMap<String, u64>, Vec<String>) {
    let (mut attempts, mut held) = (BTreeMap::new(), Vec::new());
    loop {
        let taken = take(server, json!({"batch_size": 1000})).await;
        if taken.is_empty() {
            return (attempts, held);
        }
        held.extend(tokens(&taken));
        for message in taken {
            let id = text(&message["record"]["id"]);
            let again = attempts.insert(id, message["attempts"].as_u64().unwrap());
            assert_eq!(again, None, "twice before its window ended");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_twenty_thousand_and_never_acks_gets_no_more_and_all_of_them_again() {
    let (_, server, _) = with_customers(MOST + 300).await;
    let settings = json!({"max_ack_pending": MOST, "ack_wait_ms": 43_200_000});
    server
        .patch("/v1/http-consumers/c", settings)
        .await
        .expect(200);
    let before = memory(&server);
    let (first, held) = take_all(&server).await;
    assert_eq!(first.len(), MOST);
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_ack_pending"], MOST);
    assert_eq!(consumer["num_pending"], 300);
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 96 << 20, "{grown} bytes for 20,000 messages");

    // The windows end now instead of in twelve hours.
    server
        .patch("/v1/http-consumers/c", json!({"ack_wait_ms": 100}))
        .await
        .expect(200);
    let extended = json!({"ack_tokens": held});
    let extended = server.post("/v1/http-consumers/c/extend", extended).await;
    assert_eq!(extended.header("headrace-settled"), Some("20000"));
    server
        .patch("/v1/http-consumers/c", json!({"ack_wait_ms": 43_200_000}))
        .await
        .expect(200);
    let mut again = BTreeMap::new();
    while again.len() < MOST {
        let more = take(&server, json!({"batch_size": 1000, "wait_for": "60s"})).await;
        for message in more {
            let id = text(&message["record"]["id"]);
            assert_eq!(message["attempts"], 2);
            assert_eq!(again.insert(id, 1), None, "twice before its window ended");
        }
    }
    assert!(again.keys().eq(first.keys()), "all of them, and only they");
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_ack_pending"], MOST);
    assert_eq!(consumer["num_pending"], 300);
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes after the second delivery");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_gives_everything_back_gets_dead_letters_and_disturbs_nobody() {
    let (_, server, sync) = with_customers(300).await;
    server
        .post(&format!("/v1/syncs/{sync}/disable"), json!({}))
        .await
        .expect(200);
    let settings = json!({"max_deliver": 3});
    server
        .patch("/v1/http-consumers/c", settings)
        .await
        .expect(200);
    let other = json!({"slug": "other"});
    server.post("/v1/http-consumers", other).await.expect(201);
    let give_back = async {
        let mut deliveries = 0;
        loop {
            let taken = take(&server, json!({"batch_size": 70})).await;
            if taken.is_empty() {
                return deliveries;
            }
            deliveries += taken.len();
            let nack = json!({"ack_tokens": tokens(&taken), "error": "never"});
            server
                .post("/v1/http-consumers/c/nack", nack)
                .await
                .expect(204);
        }
    };
    let work = async {
        let mut done = 0;
        loop {
            let next = "/v1/http-consumers/other/next";
            let taken = server
                .post(next, json!({"batch_size": 50}))
                .await
                .expect(200);
            let taken = taken.as_array().unwrap();
            if taken.is_empty() {
                return done;
            }
            assert!(taken.iter().all(|message| message["attempts"] == 1));
            let ack = json!({"ack_tokens": tokens(taken)});
            let acked = server.post("/v1/http-consumers/other/ack", ack).await;
            acked.expect(204);
            done += taken.len();
        }
    };
    let (deliveries, done) = tokio::join!(give_back, work);
    assert_eq!((deliveries, done), (900, 300));
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_dead"], 300);
    assert_eq!(consumer["num_ack_pending"], 0);
    let dead = server
        .get("/v1/http-consumers/c/dead-letters?limit=1000")
        .await;
    let dead = dead["data"].as_array().unwrap();
    let spent = |letter: &&Value| letter["attempts"] == 3 && letter["last_error"] == "never";
    assert_eq!(dead.iter().filter(spent).count(), 300);

    // Given back for an hour they wait, and the server rests.
    let all = json!({"all": true});
    let redrive = "/v1/http-consumers/c/dead-letters/redrive";
    server.post(redrive, all).await.expect(200);
    let taken = take(&server, json!({"batch_size": 300})).await;
    assert_eq!(taken.len(), 300);
    let later = json!({"ack_tokens": tokens(&taken), "delay_ms": 3_600_000});
    server
        .post("/v1/http-consumers/c/nack", later)
        .await
        .expect(204);
    let before = processor_time(&server);
    assert!(take(&server, json!({"wait_for": "2s"})).await.is_empty());
    let spent = processor_time(&server) - before;
    assert!(
        spent < 100,
        "{spent} hundredths of a second while nothing was due"
    );
}
