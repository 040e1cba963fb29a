//! Children in lists of their own, at a provider that answers the same of what is gone and of what may not be
//! seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use headrace_engine::sync::SyncStatus;
use headrace_sandbox::stripe::StripeOptions;
use headrace_store::Row;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sync_harness::Rig;
use crate::sync_links::define_with;

const COLLECTIONS: &str = r#"
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
const FOLLOWED: &str = r#"
updated = { take = "changed", format = "rfc3339_seconds", from = "since" }
follow = { every = "1d", overlap = "1m" }
"#;
const IDS: [&str; 2] = ["shelf:case", "shelf:map"];
const PAGE: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// Maps by their cases.
#[derive(Default)]
struct Cases {
    maps: BTreeMap<u64, Vec<u64>>,
    /// Those whose maps are not shown.
    locked: BTreeSet<u64>,
    /// This page of a case's maps cannot be had.
    torn: Option<(u64, usize)>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Cases>>;

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn listed(ids: impl Iterator<Item = u64>) -> Json<Value> {
    Json(Value::Array(ids.map(|id| json!({"id": id})).collect()))
}

async fn maps(State(cases): State<Shared>, Path(case): Path<u64>, uri: Uri) -> Response {
    let mut cases = cases.lock().unwrap();
    cases.asked.push(uri.to_string());
    let query = uri.query().unwrap_or_default();
    let page: usize = match query.strip_prefix("page=") {
        Some(page) => page.parse().unwrap(),
        None => 0,
    };
    if cases.locked.contains(&case) {
        return refused(StatusCode::FORBIDDEN, "locked");
    }
    if cases.torn == Some((case, page)) {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "torn");
    }
    let Some(maps) = cases.maps.get(&case) else {
        return refused(StatusCode::NOT_FOUND, "unseen");
    };
    if query.contains("since=") {
        // None of them has changed since anybody looked.
        return listed(std::iter::empty()).into_response();
    }
    let shown = listed(maps.iter().copied().skip(page * PAGE).take(PAGE));
    match maps.len() > (page + 1) * PAGE {
        true => {
            let link = format!("<?page={}>; rel=\"next\"", page + 1);
            ([("link", link)], shown).into_response()
        }
        false => shown.into_response(),
    }
}

async fn one(State(cases): State<Shared>, Path(id): Path<u64>) -> Response {
    let cases = &cases.lock().unwrap().maps;
    match cases.contains_key(&id) || cases.values().flatten().any(|map| *map == id) {
        true => Json(json!({"id": id})).into_response(),
        false => refused(StatusCode::NOT_FOUND, "unseen"),
    }
}

struct World {
    cases: Shared,
    rig: Rig,
    server: JoinHandle<()>,
    _folder: TempDir,
}

impl World {
    async fn with(collections: &str, maps: &[(u64, &[u64])]) -> Self {
        let cases = Shared::default();
        let own = maps.iter().map(|(case, maps)| (*case, maps.to_vec()));
        cases.lock().unwrap().maps = own.collect();
        let list =
            async |State(cases): State<Shared>| listed(cases.lock().unwrap().maps.keys().copied());
        let router = Router::new()
            .route("/cases", get(list))
            .route("/cases/{id}", get(one))
            .route("/cases/{id}/maps", get(self::maps))
            .route("/maps/{id}", get(one))
            .with_state(Arc::clone(&cases));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = headrace_sandbox::serve(router, any).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Rig::new(StripeOptions::default(), &[]).await;
        define_with(&mut rig, folder.path(), address, "", collections, &IDS).await;
        Self {
            cases,
            rig,
            server,
            _folder: folder,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Cases) -> T) -> T {
        change(&mut self.cases.lock().unwrap())
    }

    async fn check(&self) {
        for id in IDS {
            self.rig.check(id).await;
        }
    }

    async fn until_asked(&self, what: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.change(|cases| cases.asked.iter().any(|asked| asked.contains(what))) {
            assert!(Instant::now() < give_up, "{what} was never asked for");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_there(&self, what: &str, ids: &[&str]) {
        self.rig
            .until_stream(what, |rows| {
                let live = rows.iter().filter(|row| !row.deleted);
                let mut live: Vec<&str> = live.map(|row| &*row.upstream_id).collect();
                live.sort_unstable();
                live == ids
            })
            .await;
    }

    async fn end(mut self) {
        self.rig.stop().await;
        self.server.abort();
    }
}

fn is_told(status: &SyncStatus, collection: usize, words: &str) -> bool {
    let notes = &status.collections[collection].notes;
    notes.iter().any(|note| note.contains(words))
}

fn deleted(rows: &[Row]) -> Vec<&str> {
    let deleted = rows.iter().filter(|row| row.deleted);
    deleted.map(|row| &*row.upstream_id).collect()
}

/// A map that its case no longer lists is gone. One whose case cannot be seen may only be hidden.
#[tokio::test]
async fn what_may_only_be_hidden_is_never_taken_for_deleted() {
    let mut world = World::with(COLLECTIONS, &[(1, &[10, 11]), (2, &[20])]).await;
    world.rig.start().await;
    world.rig.until_read().await;
    world.change(|cases| cases.maps = BTreeMap::from([(1, vec![10])]));
    world.check().await;
    world
        .rig
        .until_stream("the map that is not listed is gone", |rows| {
            deleted(rows) == ["11"]
        })
        .await;
    world
        .rig
        .until("what cannot be seen is told", |status| {
            (0..2).all(|of| is_told(status, of, "refuses to show"))
        })
        .await;
    assert_eq!(deleted(&world.rig.rows().await), ["11"]);
    world.end().await;
}

#[tokio::test]
async fn more_than_usual_are_not_deleted_for_it() {
    let maps: Vec<u64> = (10..40).collect();
    let mut world = World::with(COLLECTIONS, &[(1, &maps)]).await;
    world.rig.start().await;
    world.rig.until_read().await;
    world.change(|cases| cases.maps.insert(1, vec![10]));
    world.check().await;
    world
        .rig
        .until("that is doubted", |status| {
            is_told(status, 1, "which is more than usual")
        })
        .await;
    assert!(deleted(&world.rig.rows().await).is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_long_list_goes_on_where_it_was() {
    let maps: Vec<u64> = (10..20).collect();
    let mut world = World::with(COLLECTIONS, &[(1, &maps), (2, &[30])]).await;
    world.change(|cases| cases.torn = Some((1, 2)));
    world.rig.start().await;
    world.until_asked("/cases/1/maps?page=2").await;
    let known = ["1", "10", "11", "12", "13", "14", "15", "2", "30"];
    world.until_there("two pages are there", &known).await;
    world.rig.stop().await;
    world.change(|cases| {
        cases.torn = None;
        cases.asked.clear();
    });
    world.rig.start().await;
    world.rig.until_read().await;
    let asked = world.change(|cases| cases.asked.clone());
    assert!(
        asked
            .iter()
            .all(|asked| asked.starts_with("/cases/1/maps?page=")),
        "{asked:?}"
    );
    let rows = world.rig.rows().await;
    assert_eq!(rows.len(), 2 + 10 + 1);
    world.end().await;
}

#[tokio::test]
async fn a_list_that_may_not_be_seen_holds_no_other_up() {
    let mut world = World::with(COLLECTIONS, &[(1, &[10]), (2, &[20])]).await;
    world.change(|cases| cases.locked.insert(1));
    world.rig.start().await;
    let status = world.rig.until_read().await;
    assert!(is_told(&status, 1, "that of 1 for one"), "{status:?}");
    world
        .until_there("the others are there", &["1", "2", "20"])
        .await;
    world.change(|cases| cases.locked.clear());
    world.check().await;
    let all = ["1", "10", "2", "20"];
    world.until_there("it is read then", &all).await;
    world
        .rig
        .until("nothing is told any more", |status| {
            !is_told(status, 1, "cannot be read")
        })
        .await;
    world.end().await;
}

/// What is there since long has not changed since the last look, and is not among what changed.
#[tokio::test]
async fn what_comes_to_be_seen_is_read_whole_where_changes_are_followed() {
    let collections = format!("{COLLECTIONS}{FOLLOWED}");
    let mut world = World::with(&collections, &[(1, &[10]), (2, &[20])]).await;
    world.change(|cases| cases.locked.insert(1));
    world.rig.start().await;
    world.rig.until_read().await;
    world.change(|cases| {
        cases.locked.clear();
        cases.maps.insert(3, vec![30]);
    });
    world.check().await;
    world.until_asked("since=").await;
    let all = ["1", "10", "2", "20", "3", "30"];
    world.until_there("all is read then", &all).await;
    world.end().await;
}
