//! `/v1/records/live`: changes arrive as they are committed, and a listener that comes back misses none.

mod listener;
mod slow;

use headrace_sandbox::stripe::{Collection, Stripe};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Setup, answer, sandbox, text};
use listener::{Event, Listener};

const LIVE: &str = "/v1/records/live";

/// An account with so many customers and products, all read.
async fn with_records(count: usize) -> (Stripe, Server) {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, count);
    stripe.seed(Collection::Product, count);
    let server = Setup::new().stripe(&base).start();
    let sync = server
        .sync_stripe(&["stripe:customer", "stripe:product"])
        .await;
    server.backfilled(&sync).await;
    (stripe, server)
}

async fn last_idx(server: &Server) -> u64 {
    let stream = server.get("/v1/streams/dev").await;
    stream["stats"]["last_idx"].as_u64().unwrap()
}

/// Every record by the index of its newest version, as the list has them.
async fn listed(server: &Server) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |(id, _)| *id);
        let path = format!("/v1/records?stream_id=dev&limit=1000&after_cursor={after}");
        let page = server.get(&path).await;
        let records = page["records"].as_array().unwrap();
        if records.is_empty() {
            return events;
        }
        let event = |record: &Value| (record["updated_idx"].as_u64().unwrap(), record.clone());
        events.extend(records.iter().map(event));
    }
}

/// Has the account looked at, and waits until a change was committed: its index.
async fn committed(server: &Server, change: impl FnOnce()) -> u64 {
    let before = last_idx(server).await;
    change();
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let path = format!("/v1/syncs/{sync}/collections/stripe:customer/check");
    server.post(&path, json!({})).await.expect(202);
    server
        .until(|| async { last_idx(server).await > before })
        .await;
    before + 1
}

fn rename(stripe: &Stripe, collection: Collection, at: usize, name: &str) {
    let id = text(&stripe.list_all(collection)[at]["id"]);
    let name = json!({"name": name});
    stripe.update(collection, &id, name).unwrap();
}

#[tokio::test]
async fn a_change_arrives_as_it_is_committed_and_nothing_before_it() {
    let (stripe, server) = with_records(3).await;
    let mut listener = Listener::open(&server, "", None).await;
    for name in ["Duncan", "Gurney"] {
        let change = || rename(&stripe, Collection::Customer, 1, name);
        let idx = committed(&server, change).await;
        let (id, record) = listener.next().await.unwrap();
        assert_eq!((id, &record["data"]["name"]), (idx, &json!(name)));
        let path = format!("/v1/records/{}", text(&record["id"]));
        assert_eq!(server.get(&path).await, record, "the same as a record read");
    }
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    // Further than a listener is sent at once.
    let (stripe, server) = with_records(220).await;
    let mut heard = Vec::new();
    let mut last = 0;
    for stop_at in [1, 2, 199, 200, 201, 350] {
        let mut listener = Listener::open(&server, "", Some(last)).await;
        heard.extend(listener.up_to(stop_at).await);
        last = stop_at;
    }
    // While nobody listens a record changes that was heard, and one that was not.
    let all = listed(&server).await;
    for at in [0, 439] {
        let id = text(&all[at].1["upstream_id"]);
        let (old, name) = (&all[at].1["collection_id"], json!({"name": "Stilgar"}));
        let collection = match old == "stripe:customer" {
            true => Collection::Customer,
            false => Collection::Product,
        };
        let change = || drop(stripe.update(collection, &id, name).unwrap());
        committed(&server, change).await;
    }
    let mut listener = Listener::open(&server, "", Some(last)).await;
    let rest = listener.up_to(442).await;
    assert_eq!(rest[rest.len() - 2].1["id"], all[0].1["id"]);
    assert_eq!(rest[rest.len() - 1].1["id"], all[439].1["id"]);
    let indexes = |events: &[Event]| events.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    heard.extend(rest);
    // 440 was superseded before it was heard.
    let expected: Vec<u64> = (1..=442).filter(|idx| *idx != 440).collect();
    assert_eq!(indexes(&heard), expected);
    // What is heard from the beginning on is what is listed.
    let mut anew = Listener::open(&server, "", Some(0)).await;
    assert_eq!(anew.up_to(442).await, listed(&server).await);
}

#[tokio::test]
async fn a_listener_hears_only_what_it_asked_for() {
    let (stripe, server) = with_records(2).await;
    let sync = text(&server.get("/v1/syncs").await["data"][0]["id"]);
    let open = async |query: &str| Listener::open(&server, query, None).await;
    let mut products = open("?collection_id=stripe:product").await;
    let mut deleted = open("?stream_id=dev&deleted=true").await;
    let mut present = open(&format!("?deleted=false&provider=stripe&sync_id={sync}")).await;
    let customer = text(&stripe.list_all(Collection::Customer)[0]["id"]);
    let first = committed(&server, || rename(&stripe, Collection::Customer, 0, "Leto")).await;
    let second = committed(&server, || {
        drop(stripe.delete(Collection::Customer, &customer).unwrap());
    })
    .await;
    let third = committed(&server, || rename(&stripe, Collection::Product, 0, "Spice")).await;
    assert_eq!(products.next().await.unwrap().0, third);
    let (id, record) = deleted.next().await.unwrap();
    assert_eq!((id, &record["upstream_id"]), (second, &json!(customer)));
    assert_eq!(present.next().await.unwrap().0, first);
    assert_eq!(present.next().await.unwrap().0, third);
}

#[tokio::test]
async fn the_records_of_one_sync_are_told_from_those_of_another() {
    let (_, server) = with_records(2).await;
    let first = server.get("/v1/syncs").await["data"][0].clone();
    let second = json!({
        "provider": "stripe",
        "name": "second",
        "collection_ids": ["stripe:product"],
        "credential_id": first["credential_id"],
        "external_id": "second",
    });
    let second = server.post("/v1/syncs", second).await.expect(201);
    let id = text(&second["id"]);
    server.backfilled(&id).await;
    for query in [&format!("?sync_id={id}"), "?external_id=second"] {
        let mut listener = Listener::open(&server, query, Some(0)).await;
        for idx in [5, 6] {
            let (heard, record) = listener.next().await.unwrap();
            assert_eq!((heard, &record["sync_id"]), (idx, &second["id"]), "{query}");
        }
    }
}

#[tokio::test]
async fn only_who_may_read_the_stream_listens() {
    let (stripe, server) = with_records(1).await;
    server
        .post("/v1/streams", json!({"slug": "other"}))
        .await
        .expect(201);
    let token = async |body: Value| server.post("/v1/api-tokens", body).await.expect(201);
    let status = async |token: &Value, query: &str| {
        let request = server.bare(Method::GET, &format!("{LIVE}{query}"));
        let request = request.bearer_auth(text(&token["token"]));
        answer(request).await
    };
    answer(server.bare(Method::GET, LIVE)).await.expect(401);
    for scope in ["consume", "mutate", "proxy"] {
        let token = token(json!({"name": scope, "scopes": [scope]})).await;
        let refused = status(&token, "?stream_id=dev").await.expect(403);
        assert_eq!(refused["code"], "forbidden", "{scope}");
    }
    let other = server.get("/v1/streams/other").await;
    let bound = json!({"name": "b", "scopes": ["read"], "stream_ids": [other["id"]]});
    let bound = token(bound).await;
    status(&bound, "?stream_id=dev").await.expect(403);

    // Who may listen is heard out only as long as it may.
    let reader = token(json!({"name": "r", "scopes": ["read"]})).await;
    let request = server.bare(Method::GET, &format!("{LIVE}?stream_id=dev"));
    let mut listener = Listener::send(request.bearer_auth(text(&reader["token"]))).await;
    let revoked = format!("/v1/api-tokens/{}", text(&reader["id"]));
    server.delete(&revoked).await.expect(204);
    let change = || rename(&stripe, Collection::Customer, 0, "Yueh");
    committed(&server, change).await;
    assert_eq!(listener.next().await, None, "a revoked token hears nothing");
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_told() {
    let (_, server) = with_records(1).await;
    for (query, last, field) in [
        ("?sync_id=x", "0", "sync_id"),
        ("", "x", "Last-Event-ID"),
        ("", "-1", "Last-Event-ID"),
        ("", "18446744073709551615", "Last-Event-ID"),
        ("?stream_id=dev&upstream_id=x", "0", "upstream_id"),
    ] {
        let request = server.request(Method::GET, &format!("{LIVE}{query}"));
        let refused = answer(request.header("last-event-id", last)).await;
        assert_eq!(refused.invalid_fields(), [field], "{query} {last}");
    }
    let path = format!("{LIVE}?stream_id=nothing");
    server.send(Method::GET, &path).await.expect(404);
}
