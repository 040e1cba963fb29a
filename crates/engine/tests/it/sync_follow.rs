//! Collections that are followed by the time of the last change, at a provider whose pages are numbered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path as Segment, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use headrace_engine::sync::CollectionStatus;
use headrace_model::Timestamp;
use headrace_sandbox::stripe::StripeOptions;
use headrace_store::Row;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sync_harness::Rig;
use crate::sync_links::define_with;

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: usize = 3;
const MADE: i64 = 1_700_000_000;

const COLLECTIONS: &str = r#"
[book]
title = "Books"
list = "/books?sort=id"
get = { link = "at" }
updated = { take = "changed", format = "rfc3339_seconds", from = "since" }
follow = { every = "1d", overlap = "1m" }
without = "is_a_film"
"#;

const CASES: &str = r#"
[case]
title = "Cases"
list = "/cases"
get = "/cases/{id}"
relist.every = "1d"

[map]
title = "Maps"
list = "/cases/{parent}/maps"
get = "/maps/{id}"
parent = { collection = "case", id = "case" }
relist.every = "1d"
"#;

/// What there is by id, and what was asked.
#[derive(Default)]
struct Shelf {
    books: BTreeMap<usize, Value>,
    asked: Vec<String>,
    /// Removed as soon as the first page was shown.
    removed_under_way: Vec<usize>,
}

type Shared = Arc<Mutex<Shelf>>;

fn book(id: usize, title: &str, changed: Timestamp) -> Value {
    let at = format!("https://shelf.example.com/copies/{id}");
    json!({"id": id, "title": title, "made": MADE, "changed": changed.in_seconds(), "at": at})
}

async fn list(State(shelf): State<Shared>, uri: Uri) -> Response {
    let mut shelf = shelf.lock().unwrap();
    shelf.asked.push(uri.to_string());
    let query = uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find_map(|(of, value)| (of == name).then(|| value.replace("%3A", ":")))
    };
    let since = parameter("since");
    let page: usize = parameter("page").map_or(0, |page| page.parse().unwrap());
    let is_new = |book: &&Value| {
        since
            .as_deref()
            .is_none_or(|since| book["changed"].as_str().unwrap() >= since)
    };
    let all: Vec<&Value> = shelf.books.values().filter(is_new).collect();
    let shown: Vec<Value> = all
        .iter()
        .skip(page * PAGE)
        .take(PAGE)
        .map(|book| (*book).clone())
        .collect();
    let more = all.len() > (page + 1) * PAGE;
    let since = since
        .map(|since| format!("&since={since}"))
        .unwrap_or_default();
    for id in std::mem::take(&mut shelf.removed_under_way) {
        shelf.books.remove(&id);
    }
    let next = format!("<?page={}{since}>; rel=\"next\"", page + 1);
    let link = match more {
        true => next,
        false => "<?page=0>; rel=\"first\"".to_owned(),
    };
    ([("link", link)], Json(Value::Array(shown))).into_response()
}

async fn copy(State(shelf): State<Shared>, Segment(id): Segment<usize>) -> Response {
    let shelf = shelf.lock().unwrap();
    match shelf.books.get(&id) {
        Some(book) => Json(book.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "gone"}))).into_response(),
    }
}

/// A shelf with books, and what reads it.
struct World {
    shelf: Shared,
    rig: Rig,
    server: JoinHandle<()>,
    _folder: TempDir,
}

impl World {
    async fn with(books: usize) -> Self {
        let shelf = Shared::default();
        let old = Timestamp::from_seconds(MADE);
        for id in 0..books {
            shelf.lock().unwrap().books.insert(id, book(id, "old", old));
        }
        let router = Router::new()
            .route("/books", get(list))
            .route("/copies/{id}", get(copy));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let serving = headrace_sandbox::serve(router.with_state(Arc::clone(&shelf)), any);
        let (address, server) = serving.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Rig::new(StripeOptions::default(), &[]).await;
        let path: &Path = folder.path();
        define_with(
            &mut rig,
            path,
            address,
            ", numbered = true",
            COLLECTIONS,
            &["shelf:book"],
        )
        .await;
        Self {
            shelf,
            rig,
            server,
            _folder: folder,
        }
    }

    /// Waits until the stream has exactly what is on the shelf.
    async fn until_equal(&self) {
        let shelf = Arc::clone(&self.shelf);
        self.rig
            .until_stream("the stream is what is on the shelf", |rows| {
                let live = rows.iter().filter(|row| !row.deleted);
                let found = live.map(|row| {
                    let id: usize = row.upstream_id.parse().unwrap();
                    (id, serde_json::from_slice(&row.data).unwrap())
                });
                let found: BTreeMap<usize, Value> = found.collect();
                let is_film =
                    |book: &Value| book.get("is_a_film").is_some_and(|mark| !mark.is_null());
                let mut wanted = shelf.lock().unwrap().books.clone();
                wanted.retain(|_, book| !is_film(book));
                found == wanted
            })
            .await;
    }

    /// Waits until something is asked for with this in it.
    async fn until_asked(&self, what: &str) -> Vec<String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let asked = self.shelf.lock().unwrap().asked.clone();
            let found: Vec<String> = asked.into_iter().filter(|of| of.contains(what)).collect();
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < give_up, "{what} was never asked for");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn put(&self, id: usize, title: &str) {
        let changed = Timestamp::from_seconds(MADE) + Duration::from_secs(86_400 * 365 * 20);
        let book = book(id, title, changed);
        self.shelf.lock().unwrap().books.insert(id, book);
    }

    async fn end(mut self) {
        self.rig.stop().await;
        self.server.abort();
    }
}

#[tokio::test]
async fn what_changed_is_asked_for_from_the_last_listing_on() {
    let mut world = World::with(2 * PAGE).await;
    let supervisor = world.rig.start().await;
    world.rig.until_read().await;
    world.until_equal().await;
    world.put(1, "changed");
    world.put(100, "new");
    supervisor
        .check(world.rig.sync, "shelf:book")
        .await
        .unwrap();
    world.until_equal().await;
    let since = world.until_asked("since").await;
    let first = &since[0];
    assert!(
        first.starts_with("/books?sort=id&per_page=50&since=20"),
        "{since:?}"
    );
    assert!(first.ends_with('Z') && !first.contains('.'), "{since:?}");
    world.end().await;
}

/// What is removed shifts what follows from page to page: one of them is on none that is read.
#[tokio::test]
async fn what_shifts_between_numbered_pages_is_not_passed_over() {
    let mut world = World::with(4 * PAGE).await;
    world.shelf.lock().unwrap().removed_under_way = vec![0, 2];
    let _supervisor = world.rig.start().await;
    world.until_equal().await;
    let rows = world.rig.rows().await;
    assert_eq!(
        rows.iter().filter(|row| row.deleted).count(),
        2,
        "read by their links"
    );
    world.end().await;
}

/// Maps by their cases. What is not there, or not to be seen, is answered alike.
type Cases = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

fn unseen() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": "unseen"}))).into_response()
}

fn listed(ids: impl Iterator<Item = u64>) -> Response {
    Json(Value::Array(ids.map(|id| json!({"id": id})).collect())).into_response()
}

fn cases() -> (Cases, Router) {
    let cases = Cases::default();
    let list = async |State(cases): State<Cases>| listed(cases.lock().unwrap().keys().copied());
    let maps = async |State(cases): State<Cases>, Segment(id): Segment<u64>| {
        let cases = cases.lock().unwrap();
        let maps = cases.get(&id).map(|maps| listed(maps.iter().copied()));
        maps.unwrap_or_else(unseen)
    };
    let one = async |State(cases): State<Cases>, Segment(id): Segment<u64>| {
        let cases = cases.lock().unwrap();
        match cases.contains_key(&id) || cases.values().flatten().any(|map| *map == id) {
            true => Json(json!({"id": id})).into_response(),
            false => unseen(),
        }
    };
    let router = Router::new()
        .route("/cases", get(list))
        .route("/cases/{id}", get(one))
        .route("/cases/{id}/maps", get(maps))
        .route("/maps/{id}", get(one));
    (Arc::clone(&cases), router.with_state(cases))
}

/// A map that its case no longer lists is gone. One whose case cannot be seen may only be hidden.
#[tokio::test]
async fn what_may_only_be_hidden_is_never_taken_for_deleted() {
    let (cases, router) = cases();
    *cases.lock().unwrap() = BTreeMap::from([(1, vec![10, 11]), (2, vec![20])]);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, server) = headrace_sandbox::serve(router, any).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    let ids = ["shelf:case", "shelf:map"];
    define_with(&mut rig, folder.path(), address, "", CASES, &ids).await;
    let supervisor = rig.start().await;
    rig.until_read().await;
    *cases.lock().unwrap() = BTreeMap::from([(1, vec![10])]);
    for id in ids {
        supervisor.check(rig.sync, id).await.unwrap();
    }
    let deleted = |rows: &[Row]| -> Vec<String> {
        let deleted = rows.iter().filter(|row| row.deleted);
        deleted.map(|row| row.upstream_id.clone()).collect()
    };
    rig.until_stream("the map that is not listed is gone", |rows| {
        deleted(rows) == ["11"]
    })
    .await;
    rig.until("what cannot be seen is told", |status| {
        let told = |collection: &CollectionStatus| {
            collection
                .notes
                .iter()
                .any(|note| note.contains("refuses to show"))
        };
        status.collections.iter().all(told)
    })
    .await;
    assert_eq!(deleted(&rig.rows().await), ["11"]);
    rig.stop().await;
    server.abort();
}

#[tokio::test]
async fn what_belongs_to_another_collection_is_left_out() {
    let mut world = World::with(2).await;
    {
        let mut shelf = world.shelf.lock().unwrap();
        shelf.books.get_mut(&0).unwrap()["is_a_film"] = json!({"reels": 3});
        shelf.books.get_mut(&1).unwrap()["is_a_film"] = Value::Null;
    }
    let _supervisor = world.rig.start().await;
    world.rig.until_read().await;
    world.until_equal().await;
    assert_eq!(world.rig.rows().await.len(), 1);
    world.end().await;
}
