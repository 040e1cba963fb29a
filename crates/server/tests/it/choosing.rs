//! What is chosen: by filters, policies and lists.

use serde_json::json;

use crate::consuming::{take, tokens, with_customers};
use crate::harness::text;

#[tokio::test]
async fn filters_and_policies_choose_what_is_given() {
    let (_, server, _) = with_customers(5).await;
    let none =
        json!({"stream_id": "dev", "slug": "none", "filters": {"collection_id": "stripe:invoice"}});
    assert_eq!(
        server.post("/v1/http-consumers", none).await.expect(201)["num_pending"],
        0
    );
    let last = json!({"stream_id": "dev", "slug": "last", "deliver_policy": "last"});
    assert_eq!(
        server.post("/v1/http-consumers", last).await.expect(201)["num_pending"],
        1
    );
    let new = json!({"stream_id": "dev", "slug": "new", "deliver_policy": "new"});
    assert_eq!(
        server.post("/v1/http-consumers", new).await.expect(201)["num_pending"],
        0
    );
    let from = json!({"stream_id": "dev", "slug": "from", "deliver_policy": {"from_idx": 4}});
    assert_eq!(
        server.post("/v1/http-consumers", from).await.expect(201)["num_pending"],
        2
    );
    let hour = json!({"stream_id": "dev", "slug": "hour", "deliver_policy": "1h"});
    assert_eq!(
        server.post("/v1/http-consumers", hour).await.expect(201)["num_pending"],
        5
    );
}

#[tokio::test]
async fn aliases_mean_the_same() {
    let (_, server, sync) = with_customers(2).await;
    let patch = json!({"slug": "books"});
    server
        .patch(&format!("/v1/syncs/{sync}"), patch)
        .await
        .expect(200);
    let consumer = json!({
        "ack_wait": 90,
        "filters": {"resource_id": ["books"], "deleted": [false]},
    });
    let made = server.post("/v1/consumers", consumer).await.expect(201);
    assert_eq!(made["ack_wait_ms"], 90_000);
    assert_eq!(
        made["filters"],
        json!({"sync_id": [sync], "deleted": false})
    );
    assert_eq!(made["num_pending"], 2);
    let both = json!({"filters": {"deleted": [true, false]}});
    let made = server.post("/v1/consumers", both).await.expect(201);
    assert_eq!(made["filters"], json!({}));
    let listed = server.get("/v1/records?sync_id=books").await;
    assert_eq!(listed["records"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_time_to_start_from_is_the_commit_time() {
    let (_, server, _) = with_customers(3).await;
    let records = server.get("/v1/records").await["records"].clone();
    let newest = records[2]["updated_at"].clone();
    let as_new = records
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| text(&record["updated_at"]) >= text(&newest))
        .count();
    let consumer = json!({"deliver_policy": {"from_time": newest}});
    let made = server
        .post("/v1/http-consumers", consumer)
        .await
        .expect(201);
    assert_eq!(made["num_pending"], as_new);
    assert_eq!(made["deliver_policy"], json!({"from_time": newest}));
    let later = json!({"deliver_policy": {"from_time": "2999-01-01T00:00:00Z"}});
    let made = server.post("/v1/http-consumers", later).await.expect(201);
    assert_eq!(made["num_pending"], 0);
}

#[tokio::test]
async fn every_list_is_read_in_parts() {
    let (_, server, sync) = with_customers(5).await;
    let sync = server.get(&format!("/v1/syncs/{sync}")).await;
    let customer = text(&server.get("/v1/records?limit=1").await["records"][0]["upstream_id"]);
    let second = json!({"provider": "stripe", "name": "again", "credential_id": sync["credential_id"],
        "collection_ids": ["stripe:customer"]});
    let second = text(&server.post("/v1/syncs", second).await.expect(201)["id"]);
    server.backfilled(&second).await;
    let collections = format!("/v1/collections/{}", text(&sync["credential_id"]));
    take(&server, json!({"batch_size": 3})).await;
    let messages = "/v1/http-consumers/c/messages?state";
    let known = server.get("/v1/providers/stripe").await["collections"].clone();
    let known = known.as_array().unwrap().len();
    for (path, rows, cursor, next, count) in [
        (collections, "data", "cursor", "next_cursor", known),
        (
            format!("{messages}=available"),
            "data",
            "cursor",
            "next_cursor",
            7,
        ),
        (
            format!("{messages}=delivered"),
            "data",
            "cursor",
            "next_cursor",
            3,
        ),
        (
            format!("/v1/records?upstream_id={customer}"),
            "records",
            "after_cursor",
            "cursor",
            2,
        ),
        (
            format!("/v1/records?order=desc&upstream_id={customer}"),
            "records",
            "after_cursor",
            "cursor",
            2,
        ),
    ] {
        let whole = server.get(&path).await[rows].clone();
        assert_eq!(whole.as_array().unwrap().len(), count, "{path}");
        let (mut parts, mut after) = (Vec::new(), String::new());
        for _ in 0..=count {
            let join = if path.contains('?') { '&' } else { '?' };
            let part = server.get(&format!("{path}{join}limit=1{after}")).await;
            parts.extend(part[rows].as_array().unwrap().clone());
            match part[next].as_str() {
                Some(next) => after = format!("&{cursor}={next}"),
                None => break,
            }
        }
        assert_eq!(json!(parts), whole, "{path}");
    }
    assert!(server.get("/v1/providers?limit=1").await["data"][0]["id"].is_string());
}

#[tokio::test]
async fn all_dead_letters_are_redriven_or_dropped_only_when_all_is_said() {
    let (_, server, _) = with_customers(5).await;
    let reject = async || {
        let tokens = tokens(&take(&server, json!({"batch_size": 5})).await);
        let settle = json!({"reject": tokens});
        let settled = server.post("/v1/http-consumers/c/settle", settle).await;
        assert_eq!(settled.expect(200)["settled"], 5);
    };
    reject().await;
    let dead = "/v1/http-consumers/c/dead-letters";
    let listed = server
        .get("/v1/http-consumers/c/messages?state=dead&limit=3")
        .await;
    let rest = format!(
        "/v1/http-consumers/c/messages?state=dead&cursor={}",
        text(&listed["next_cursor"])
    );
    assert_eq!(server.get(&rest).await["data"].as_array().unwrap().len(), 2);
    let redrive = format!("{dead}/redrive");
    let redriven = server.post(&redrive, json!({"all": true})).await;
    assert_eq!(redriven.expect(200), json!({"count": 5}));
    reject().await;
    assert_eq!(server.delete(dead).await.invalid_fields(), ["ids"]);
    let count = async || server.get("/v1/http-consumers/c").await["num_dead"].clone();
    assert_eq!(count().await, 5, "a lost body removes nothing");
    server.delete(&format!("{dead}?all=true")).await.expect(204);
    assert_eq!(count().await, 0);
}
