//! Answers stop at 8 MiB of data: nothing is left out silently, every list goes on at its cursor.

use headrace_sandbox::stripe::Collection;
use serde_json::{Value, json};

use crate::harness::{Server, Setup, sandbox, text};

/// An account with one customer of 3 MiB, read by four syncs: two of its records fit into an answer.
async fn four_large_records() -> (Server, String) {
    let (stripe, base) = sandbox().await;
    let large = json!({"name": "x".repeat(3 << 20)});
    let customer = stripe.create(Collection::Customer, large).unwrap();
    let server = Setup::new().stripe(&base).start();
    let first = server.sync_stripe(&["stripe:customer"]).await;
    let credential = server.get(&format!("/v1/syncs/{first}")).await["credential_id"].clone();
    server.backfilled(&first).await;
    for n in 2..=4 {
        let sync = json!({
            "provider": "stripe",
            "name": format!("test {n}"),
            "collection_ids": ["stripe:customer"],
            "credential_id": credential,
        });
        let sync = server.post("/v1/syncs", sync).await.expect(201);
        server.backfilled(&text(&sync["id"])).await;
    }
    let consumer = json!({"stream_id": "dev", "slug": "c"});
    server
        .post("/v1/http-consumers", consumer)
        .await
        .expect(201);
    (server, text(&customer["id"]))
}

/// The indexes on each page of a list, as far as its cursor leads.
async fn pages(server: &Server, path: &str, members: (&str, &str), cursor: &str) -> Vec<Vec<u64>> {
    let (list, next) = members;
    let mut pages = Vec::new();
    let mut at = String::new();
    loop {
        let page = server.get(&format!("{path}{at}")).await;
        let entries = page[list].as_array().unwrap();
        let idx = |entry: &Value| {
            let record = entry.get("record").unwrap_or(entry);
            record["updated_idx"].as_u64().unwrap()
        };
        if entries.is_empty() {
            return pages;
        }
        pages.push(entries.iter().map(idx).collect());
        match page[next].as_str() {
            Some(next) => at = format!("&{cursor}={next}"),
            None => return pages,
        }
    }
}

async fn list(server: &Server, path: &str) -> Vec<Vec<u64>> {
    pages(server, path, ("data", "next_cursor"), "cursor").await
}

fn sorted(pages: &[Vec<u64>]) -> Vec<u64> {
    let mut all = pages.concat();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn peeks_and_dead_letters_go_on_where_an_answer_was_full() {
    let (server, _) = four_large_records().await;
    let messages = "/v1/http-consumers/c/messages";
    let available = format!("{messages}?state=available");
    assert_eq!(list(&server, &available).await, [[1, 2], [3, 4]]);
    let by_one = list(&server, &format!("{available}&limit=1")).await;
    assert_eq!(by_one, [[1], [2], [3], [4]]);

    let mut tokens = Vec::new();
    for _ in 0..2 {
        let next = server.post("/v1/http-consumers/c/next", json!({"batch_size": 9}));
        let taken = next.await.expect(200);
        let taken = taken.as_array().unwrap();
        tokens.extend(taken.iter().map(|message| message["ack_token"].clone()));
    }
    assert_eq!(tokens.len(), 4);
    let delivered = format!("{messages}?state=delivered");
    assert_eq!(list(&server, &delivered).await, [[1, 2], [3, 4]]);
    let by_three = list(&server, &format!("{delivered}&limit=3")).await;
    assert_eq!(by_three, [[1, 2], [3, 4]]);

    let nack = json!({"ack_tokens": &tokens[..3], "delay_ms": 0});
    let given_back = server.post("/v1/http-consumers/c/nack", nack).await;
    given_back.expect(204);
    assert_eq!(list(&server, &available).await, [vec![1, 2], vec![3]]);

    let taken = server.post("/v1/http-consumers/c/reset", json!({"from_idx": 1}));
    taken.await.expect(200);
    for _ in 0..2 {
        let next = server.post("/v1/http-consumers/c/next", json!({"batch_size": 9}));
        let taken = next.await.expect(200);
        let token = |message: &Value| json!({"token": message["ack_token"], "error": "no"});
        let reject: Vec<Value> = taken.as_array().unwrap().iter().map(token).collect();
        let settle = json!({ "reject": reject });
        server
            .post("/v1/http-consumers/c/settle", settle)
            .await
            .expect(200);
    }
    for path in [
        "/v1/http-consumers/c/dead-letters?limit=100",
        "/v1/http-consumers/c/messages?state=dead",
    ] {
        let dead = list(&server, path).await;
        assert_eq!((dead.len(), sorted(&dead)), (2, vec![1, 2, 3, 4]), "{path}");
    }
}

#[tokio::test]
async fn the_records_of_an_upstream_id_keep_limit_cursor_and_deleted() {
    let (server, id) = four_large_records().await;
    let of = async |more: &str| {
        let path = format!("/v1/records?upstream_id={id}{more}");
        pages(&server, &path, ("records", "cursor"), "after_cursor").await
    };
    assert_eq!(of("").await, [[1, 2], [3, 4]]);
    assert_eq!(of("&order=desc").await, [[4, 3], [2, 1]]);
    assert_eq!(of("&limit=1").await, [[1], [2], [3], [4]]);
    assert_eq!(of("&deleted=false&limit=3").await, [[1, 2], [3, 4]]);
    assert!(of("&deleted=true").await.is_empty());
}
