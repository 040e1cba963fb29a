//! A disk that is full, or that fails to store: what is told, and how it goes on.

use std::collections::BTreeSet;

use headrace_sandbox::stripe::{Collection, Stripe};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::harness::{Answer, Server, answer, sandbox, text};

async fn ready(server: &Server) -> u16 {
    let asked = answer(server.bare(Method::GET, "/ready")).await;
    asked.status.as_u16()
}

fn ids(objects: &[Value], id: impl Fn(&Value) -> &Value) -> BTreeSet<String> {
    objects.iter().map(|object| text(id(object))).collect()
}

#[track_caller]
fn assert_unavailable(refused: &Answer, why: &str) {
    let told = refused.expect(503);
    assert_eq!(told["code"], "unavailable");
    assert!(told["summary"].as_str().unwrap().contains(why), "{told}");
}

/// A server that has read so many customers, and a consumer `c` that has all of them before it.
async fn with_customers(disk: &Disk, count: usize) -> (Stripe, Server, String) {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, count);
    let server = disk.server().stripe(&base).start();
    let sync = server.sync_stripe(&["customer"]).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    server.backfilled(&sync).await;
    (stripe, server, sync)
}

#[tokio::test]
async fn a_full_disk_is_told_and_gone_on_from_without_a_restart() {
    let disk = Disk::new();
    let (stripe, mut server, sync) = with_customers(&disk, 300).await;
    let next = json!({"batch_size": 1_000});
    let taken = server.post("/v1/http-consumers/c/next", next.clone()).await;
    let taken = taken.expect(200);
    let taken = taken.as_array().unwrap().iter();
    let tokens: Vec<_> = taken.map(|one| &one["ack_token"]).collect();
    assert_eq!(tokens.len(), 300);
    // Some bytes, so that a transaction is cut off in its middle.
    disk.fill_up_to(10_000);
    let full = "the disk is full";
    let other = server.post("/v1/streams", json!({"slug": "other"})).await;
    assert_unavailable(&other, full);
    assert_eq!(other.header("retry-after"), Some("1"));
    let ack = json!({"ack_tokens": tokens});
    let refused = server.post("/v1/http-consumers/c/ack", ack.clone()).await;
    assert_unavailable(&refused, full);
    server.until(|| async { ready(&server).await == 503 }).await;
    stripe.mutate_randomly(300);
    let check = format!("/v1/syncs/{sync}/collections/stripe:customer/check");
    server.post(&check, json!({})).await;
    server
        .until(|| async {
            let sync = server.get(&format!("/v1/syncs/{sync}")).await;
            sync.to_string().contains(full)
        })
        .await;
    // What is there can be read.
    let records = server.get("/v1/records?stream_id=dev&limit=1000").await;
    assert_eq!(records["records"].as_array().unwrap().len(), 300);
    disk.make_room();
    let acked = server.post("/v1/http-consumers/c/ack", ack).await;
    acked.expect(204);
    assert_eq!(acked.header("headrace-settled"), Some("300"));
    server
        .post("/v1/streams", json!({"slug": "other"}))
        .await
        .expect(201);
    server.until(|| async { ready(&server).await == 200 }).await;
    let account = ids(&stripe.list_all(Collection::Customer), |one| &one["id"]);
    server
        .until(|| async {
            let records = server.get("/v1/records?stream_id=dev&limit=1000").await;
            let records = records["records"].as_array().unwrap().clone();
            let live: Vec<_> = records
                .into_iter()
                .filter(|one| one["deleted"] == false)
                .collect();
            ids(&live, |one| &one["upstream_id"]) == account
        })
        .await;
    let more = server.post("/v1/http-consumers/c/next", next).await;
    assert_ne!(more.expect(200), json!([]));
    assert!(server.terminate().success());
    let database = Connection::open(disk.data().join("headrace.db")).unwrap();
    let verdict = database.query_row("pragma integrity_check", [], |row| row.get(0));
    assert_eq!(verdict, Ok("ok".to_owned()));
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_written_until_the_next_start() {
    let disk = Disk::new();
    let mut server = disk.server().start();
    let stream = |slug: &str| json!({ "slug": slug });
    server.post("/v1/streams", stream("a")).await.expect(201);
    disk.fail_syncs(1);
    let failed = "the disk failed to store";
    let lost = server.post("/v1/streams", stream("b")).await;
    assert_unavailable(&lost, failed);
    assert_eq!(lost.header("retry-after"), None, "it helps nothing");
    assert_eq!(disk.failing_syncs(), 0);
    // Syncs work again, but what they cover nobody knows.
    let refused = server.post("/v1/streams", stream("c")).await;
    assert_unavailable(&refused, failed);
    assert_eq!(ready(&server).await, 503);
    server.get("/v1/streams/a").await;
    assert!(server.terminate().success());
    let server = disk.server().start();
    assert_eq!(ready(&server).await, 200);
    server.get("/v1/streams/a").await;
    server.post("/v1/streams", stream("c")).await.expect(201);
}

#[tokio::test]
async fn what_could_not_be_synced_into_the_database_stays_in_the_log() {
    let disk = Disk::new();
    let pages = ("HEADRACE_CHECKPOINT_PAGES", "32");
    let mut server = disk.server().env(pages.0, pages.1).start();
    let database = disk.data().join("headrace.db");
    disk.fail_syncs_of(&database, 1);
    let mut made = Vec::new();
    while disk.failing_syncs() > 0 {
        let slug = format!("stream-{}", made.len());
        let answer = server.post("/v1/streams", json!({"slug": slug})).await;
        if answer.status == 201 {
            made.push(slug);
        }
    }
    server.until(|| async { ready(&server).await == 503 }).await;
    assert!(server.terminate().success());
    // The sync after the failed one would have succeeded, whatever the drive had lost.
    let log = disk.data().join("headrace.db-wal").metadata().unwrap();
    assert!(log.len() > 32 * 4096, "{log:?}");
    let server = disk.server().start();
    assert_eq!(ready(&server).await, 200);
    for slug in made {
        server.get(&format!("/v1/streams/{slug}")).await;
    }
}

#[tokio::test]
async fn what_workers_took_is_synced_though_nobody_waits_for_it() {
    let disk = Disk::new();
    let (_stripe, mut server, _sync) = with_customers(&disk, 3).await;
    // A sync that fails shows that there was one.
    let journal = disk.data().join("consumers-a.journal");
    disk.fail_syncs_of(&journal, 1);
    let next = json!({"batch_size": 3});
    let taken = server.post("/v1/http-consumers/c/next", next).await;
    let taken = taken.expect(200);
    assert_eq!(taken.as_array().unwrap().len(), 3);
    server.until(|| async { ready(&server).await == 503 }).await;
    let failed = "the disk failed to store";
    let ack = json!({"ack_tokens": [taken[0]["ack_token"]]});
    let refused = server.post("/v1/http-consumers/c/ack", ack).await;
    assert_unavailable(&refused, failed);
    let stream = server.post("/v1/streams", json!({"slug": "other"})).await;
    assert_unavailable(&stream, failed);
    server.terminate();
    assert_eq!(ready(&disk.server().start()).await, 200);
}
