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
use headrace_engine::sync::Reread;
use headrace_model::Timestamp;
use headrace_sandbox::stripe::StripeOptions;
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

/// A book was lent, and another stands in its place: what became of it nobody knows.
#[tokio::test]
async fn another_record_in_its_place_is_no_word_of_a_record() {
    let mut world = World::with(2).await;
    world.shelf.lock().unwrap().books.get_mut(&0).unwrap()["at"] =
        json!("https://shelf.example.com/copies/1");
    let supervisor = world.rig.start().await;
    world.rig.until_read().await;
    let wanted = Reread::UpstreamIds(vec!["0".to_owned()]);
    let reading = supervisor.backfill(world.rig.sync, "shelf:book", wanted);
    reading.await.unwrap();
    world
        .rig
        .until("what could not be read is told", |status| {
            let notes = &status.collections[0].notes;
            notes.iter().any(|note| note.contains("refuses to show 1"))
        })
        .await;
    world.until_equal().await;
    world.end().await;
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
