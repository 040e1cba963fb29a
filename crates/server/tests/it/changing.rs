//! Changes of the configuration are carried out whole, or not at all.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Server, Setup, answer, sandbox, text};

/// A server with two customers, and a consumer `c` that has both before it.
async fn with_backlog(setup: Setup) -> Server {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 2);
    let server = setup.stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    server
}

#[tokio::test]
async fn a_refused_patch_of_a_consumer_changes_nothing() {
    let server = with_backlog(Setup::new()).await;
    server
        .post("/v1/http-consumers", json!({"slug": "taken"}))
        .await
        .expect(201);
    let patch = json!({"deliver_policy": "new", "slug": "taken"});
    server
        .patch("/v1/http-consumers/c", patch)
        .await
        .expect(409);
    let consumer = server.get("/v1/http-consumers/c").await;
    assert_eq!(consumer["num_pending"], 2, "the backlog is still there");
    assert_eq!(consumer["deliver_policy"], "all");
}

#[tokio::test]
async fn a_patch_says_whether_it_restarted_the_consumer() {
    let server = with_backlog(Setup::new()).await;
    let path = "/v1/http-consumers/c";
    let named = server.patch(path, json!({"name": "n"})).await.expect(200);
    assert_eq!(named["restarted"], false);
    let again = json!({"deliver_policy": "new"});
    let restarted = server.patch(path, again.clone()).await.expect(200);
    assert_eq!(
        (&restarted["restarted"], &restarted["num_pending"]),
        (&json!(true), &json!(0))
    );
    let same = server.patch(path, again).await.expect(200);
    assert_eq!(same["restarted"], false);
    assert!(server.get(path).await.get("restarted").is_none());
}

#[tokio::test]
async fn a_restart_that_a_crash_cut_off_is_done_at_the_next_start() {
    let mut server = with_backlog(Setup::new().env("HEADRACE_CRASH_AT", "decided:1")).await;
    let path = "/v1/http-consumers/c";
    let next = format!("{path}/next");
    let taken = server.post(&next, json!({"batch_size": 2})).await;
    assert_eq!(taken.expect(200).as_array().unwrap().len(), 2);
    let patch = json!({"deliver_policy": {"from_idx": 2}});
    let cut_off = server.request(Method::PATCH, path).json(&patch).send();
    assert!(cut_off.await.is_err(), "no answer");
    server.until_it_ends().await;
    let again = Setup::on(&server.data).start();
    let consumer = again.get(path).await;
    assert_eq!(consumer["deliver_policy"], json!({"from_idx": 2}));
    assert_eq!(
        (&consumer["num_pending"], &consumer["num_ack_pending"]),
        (&json!(1), &json!(0)),
        "it has started anew"
    );
}

#[tokio::test]
async fn a_removal_that_a_crash_cut_off_is_finished_at_the_next_start() {
    let mut server = with_backlog(Setup::new().env("HEADRACE_CRASH_AT", "decided:1")).await;
    let stream = text(&server.get("/v1/streams/dev").await["id"]);
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let consumer = text(&server.get("/v1/http-consumers/c").await["id"]);
    let path = "/v1/streams/dev?cascade=true";
    let cut_off = server.request(Method::DELETE, path).send();
    assert!(cut_off.await.is_err(), "no answer");
    server.until_it_ends().await;
    let mut again = Setup::on(&server.data).start();
    for list in ["/v1/streams", "/v1/syncs", "/v1/http-consumers"] {
        assert_eq!(again.get(list).await["data"], json!([]), "{list}");
    }
    assert!(again.terminate().success());
    let url = format!("sqlite:{}", again.data.display());
    let store = headrace_store::open(&url).await.unwrap();
    let notes = store.objects(headrace_store::Kind::Removal, None, None, 9);
    assert!(notes.await.unwrap().is_empty(), "nothing is left to do");
    let stream = headrace_model::StreamId::parse(&stream).unwrap();
    assert_eq!(store.last_idx(stream).await.unwrap(), 0, "the log is gone");
    let sync = headrace_model::SyncId::parse(&sync).unwrap();
    assert!(store.cursors(sync).await.unwrap().is_empty());
    let consumer = headrace_model::ConsumerId::parse(&consumer).unwrap();
    let looked = store.inspect(consumer, &mut |_| {}).await;
    assert!(matches!(
        looked,
        Err(headrace_store::StoreError::NoConsumer)
    ));
}

#[tokio::test]
async fn records_of_a_removed_sync_are_deleted_even_after_a_crash() {
    let mut server = with_backlog(Setup::new().env("HEADRACE_CRASH_AT", "decided:1")).await;
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let path = format!("/v1/syncs/{sync}?records=delete");
    let cut_off = server.request(Method::DELETE, &path).send();
    assert!(cut_off.await.is_err(), "no answer");
    server.until_it_ends().await;
    let again = Setup::on(&server.data).start();
    again
        .until(|| async {
            again.get("/v1/streams/dev").await["stats"]["record_count"] == 0
                && again.get("/v1/http-consumers/c").await["num_pending"] == 0
        })
        .await;
}

#[tokio::test]
async fn records_go_with_a_sync_or_a_collection_only_when_asked() {
    let server = with_backlog(Setup::new()).await;
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let path = format!("/v1/syncs/{sync}");
    let count = async || server.get("/v1/streams/dev").await["stats"]["record_count"].clone();
    let products = json!({"collection_ids": ["stripe:product"]});
    server.patch(&path, products.clone()).await.expect(200);
    assert_eq!(count().await, 2, "kept");
    let both = json!({"collection_ids": ["stripe:product", "stripe:customer"]});
    server.patch(&path, both).await.expect(200);
    let purge = format!("{path}?records=delete");
    server.patch(&purge, products).await.expect(200);
    assert_eq!(count().await, 0, "deleted");
    assert_eq!(server.get("/v1/http-consumers/c").await["num_pending"], 0);
    let wrong = server.delete(&format!("{path}?records=some")).await;
    assert_eq!(wrong.invalid_fields(), ["records"]);
    server.delete(&purge).await.expect(204);
}

#[tokio::test]
async fn an_object_may_be_called_next() {
    let server = with_backlog(Setup::new()).await;
    server
        .patch("/v1/streams/dev", json!({"slug": "next"}))
        .await
        .expect(200);
    let head = server.send(Method::HEAD, "/v1/streams/next").await;
    assert_eq!(head.status.as_u16(), 200, "nothing is taken here");
}

#[tokio::test]
async fn counts_are_those_of_each_sync_in_a_list() {
    let server = with_backlog(Setup::new()).await;
    let first = server.get("/v1/syncs").await["data"][0].clone();
    let second = json!({
        "provider": "stripe",
        "name": "second",
        "collection_ids": ["stripe:product"],
        "credential_id": first["credential_id"],
    });
    let second = server.post("/v1/syncs", second).await.expect(201);
    server.backfilled(&text(&second["id"])).await;
    let listed = server.get("/v1/syncs").await;
    let records: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sync| (&sync["id"], &sync["collections"][0]["records"]))
        .collect();
    let expected = [(&first["id"], &json!(2)), (&second["id"], &json!(0))];
    assert_eq!(records, expected);
}

#[tokio::test]
async fn nothing_is_made_on_a_stream_that_is_being_removed() {
    let server = Server::start();
    for round in 0..10 {
        server
            .post("/v1/streams", json!({"slug": "dev"}))
            .await
            .expect(201);
        let body = json!({"stream_id": "dev"});
        let make = || {
            answer(
                server
                    .request(Method::POST, "/v1/http-consumers")
                    .json(&body),
            )
        };
        // They go on until they are refused: the removal comes in the midst of them.
        let maker = || async {
            loop {
                match make().await {
                    one if one.status == 404 => return,
                    one => drop(one.expect(201)),
                }
            }
        };
        let makers = futures_util::future::join_all((0..8).map(|_| maker()));
        let remove = async {
            make().await.expect(201);
            server.delete("/v1/streams/dev?cascade=true").await
        };
        let (_, removed) = tokio::join!(makers, remove);
        removed.expect(204);
        let left = server.get("/v1/http-consumers").await;
        assert_eq!(left["data"], json!([]), "round {round}");
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
async fn a_number_of_metadata_is_kept_as_it_is_or_refused() {
    let server = Server::with_consumer("c").await;
    let patch = async |metadata: &str| {
        let request = server
            .request(Method::PATCH, "/v1/http-consumers/c")
            .header("content-type", "application/json");
        answer(request.body(format!(r#"{{"metadata": {metadata}}}"#))).await
    };
    let kept = patch(r#"{"n": [18446744073709551615, 0.30000000000000004]}"#).await;
    assert!(
        kept.text
            .contains("[18446744073709551615,0.30000000000000004]"),
        "{}",
        kept.text
    );
    for number in ["1e400", "100000000000000000001"] {
        let refused = patch(&format!(r#"{{"n": {number}}}"#)).await;
        assert_eq!(refused.invalid_fields(), ["metadata"], "{}", refused.text);
    }
}

#[tokio::test]
async fn a_purged_collection_that_comes_back_before_the_sync_runs_again_is_read_anew() {
    let server = with_backlog(Setup::new()).await;
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let path = format!("/v1/syncs/{sync}");
    let products = json!({"collection_ids": ["stripe:product"]});
    let both = json!({"collection_ids": ["stripe:product", "stripe:customer"]});
    let count = async || server.get("/v1/streams/dev").await["stats"]["record_count"].clone();
    server
        .patch(&path, json!({"status": "disabled"}))
        .await
        .expect(200);
    let purge = format!("{path}?records=delete");
    server.patch(&purge, products).await.expect(200);
    assert_eq!(count().await, 0);
    server.patch(&path, both).await.expect(200);
    server
        .patch(&path, json!({"status": "active"}))
        .await
        .expect(200);
    server.until(|| async { count().await == 2 }).await;
}

/// Clearing up writes more than the log is to hold, and faster than it can be moved.
#[tokio::test]
async fn the_log_stays_short_while_a_removed_stream_is_cleared_away() {
    let (stripe, base) = sandbox().await;
    stripe.seed(headrace_sandbox::stripe::Collection::Customer, 9_000);
    let mut server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    assert!(server.terminate().success(), "the log starts anew");
    let setup = Setup::on(&server.data).env("HEADRACE_CHECKPOINT_PAGES", "64");
    let again = setup.stripe(&base).start();
    let removed = again.delete("/v1/streams/dev?cascade=true").await;
    removed.expect(204);
    let database = rusqlite::Connection::open(again.data.join("headrace.db")).unwrap();
    again
        .until(|| async {
            let left = "select count(*) from dropped_stream";
            database.query_row(left, [], |row| row.get(0)) == Ok(0)
        })
        .await;
    let log = again.data.join("headrace.db-wal").metadata().unwrap().len();
    assert!(log < 4 << 20, "{log}");
}
