//! Streams over the API.

use serde_json::json;

use crate::harness::{Server, text};

#[tokio::test]
async fn a_stream_is_made_read_renamed_and_removed() {
    let server = Server::start();
    let made = server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    assert_eq!(made["slug"], "dev");
    let by_slug = server.get("/v1/streams/dev").await;
    assert_eq!(by_slug["id"], made["id"]);
    assert_eq!(by_slug["stats"]["record_count"], 0);
    let renamed = server
        .patch("/v1/streams/dev", json!({"name": "prod"}))
        .await
        .expect(200);
    assert_eq!(renamed["slug"], "prod");
    server
        .delete(&format!("/v1/streams/{}", text(&made["id"])))
        .await
        .expect(204);
    assert_eq!(
        server.delete("/v1/streams/prod").await.expect(404)["code"],
        "not_found"
    );
}

#[tokio::test]
async fn tombstones_stay_for_the_days_that_are_set() {
    let server = Server::start();
    let unlimited = server.post("/v1/streams", json!({"slug": "a"})).await;
    assert!(unlimited.expect(201)["tombstone_retention_days"].is_null());
    let limited = json!({"slug": "b", "tombstone_retention_days": 30});
    let limited = server.post("/v1/streams", limited).await.expect(201);
    assert_eq!(limited["tombstone_retention_days"], 30);
    let patch = async |body| server.patch("/v1/streams/b", body).await;
    let renamed = patch(json!({"slug": "c"})).await.expect(200);
    assert_eq!(renamed["tombstone_retention_days"], 30);
    let patch = async |body| server.patch("/v1/streams/c", body).await;
    let longest = json!({"tombstone_retention_days": 36_500});
    assert_eq!(patch(longest).await.expect(200)["slug"], "c");
    for bad in [0, 36_501] {
        let refused = patch(json!({"tombstone_retention_days": bad})).await;
        assert_eq!(refused.invalid_fields(), ["tombstone_retention_days"]);
    }
    patch(json!({"tombstone_retention_days": null}))
        .await
        .expect(200);
    let read = server.get("/v1/streams/c").await;
    assert!(read["tombstone_retention_days"].is_null());
}

#[tokio::test]
async fn slugs_are_unique_and_plain() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    let taken = server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(409);
    assert_eq!(taken["code"], "conflict");
    let long = "x".repeat(65);
    for bad in [
        "",
        "a/b",
        "a b",
        "é",
        "postgres",
        "webhook",
        "018f2b5e-7c6b-7a3e-9d1f-0a2b3c4d5e6f",
        &long,
    ] {
        let refused = server.post("/v1/streams", json!({"slug": bad})).await;
        assert_eq!(refused.invalid_fields(), ["slug"], "{bad:?}");
    }
}

#[tokio::test]
async fn a_stream_in_use_is_removed_only_with_cascade() {
    let server = Server::start();
    server
        .post("/v1/streams", json!({"slug": "dev"}))
        .await
        .expect(201);
    server
        .post(
            "/v1/http-consumers",
            json!({"stream_id": "dev", "slug": "c"}),
        )
        .await
        .expect(201);
    server.delete("/v1/streams/dev").await.expect(409);
    server
        .delete("/v1/streams/dev?cascade=true")
        .await
        .expect(204);
    server
        .send(reqwest::Method::GET, "/v1/http-consumers/c")
        .await
        .expect(404);
}

#[tokio::test]
async fn lists_are_read_in_parts() {
    let server = Server::start();
    for n in 0..5 {
        server
            .post("/v1/streams", json!({"slug": format!("s{n}")}))
            .await
            .expect(201);
    }
    let first = server.get("/v1/streams?limit=3").await;
    assert_eq!(first["data"].as_array().unwrap().len(), 3);
    let rest = server
        .get(&format!(
            "/v1/streams?cursor={}",
            text(&first["next_cursor"])
        ))
        .await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 2);
    assert!(rest.get("next_cursor").is_none());
    let refused = server
        .send(reqwest::Method::GET, "/v1/streams?limit=0")
        .await;
    assert_eq!(refused.invalid_fields(), ["limit"]);
}
