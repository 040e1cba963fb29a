//! A provider of the user's own, whose lists are paged by `Link` headers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use headrace_sandbox::stripe::StripeOptions;
use serde_json::{Value, json};

use crate::sync_harness::Rig;

/// What the provider was asked, and with which credential.
type Asked = Arc<Mutex<Vec<String>>>;

const FIRST: &str = "/books?sort=id&per_page=50 Bearer a-key";
const SECOND: &str = "/books?k=%3D&page=2 Bearer a-key";
const COLLECTIONS: &str = r#"
[book]
title = "Books"
list = "/books?sort=id"
relist.every = "1d"

[chapter]
title = "Chapters"
list = "/books/{parent}/chapters"
parent = { collection = "book", id = "book" }
relist.every = "1d"
"#;
const THIRD: &str = "/books?k=%3D&page=3 Bearer a-key";

async fn books(
    State(asked): State<Asked>,
    uri: Uri,
    headers: HeaderMap,
) -> (
    AppendHeaders<Vec<(&'static str, &'static str)>>,
    Json<Value>,
) {
    let credential = headers.get("authorization").map(|value| value.to_str());
    let request = format!("{uri} {}", credential.unwrap().unwrap());
    let (page, links) = {
        let mut asked = asked.lock().unwrap();
        let is_known = asked.contains(&request);
        asked.push(request);
        match uri.query() {
            // A header that is cut off is not the end of the list.
            Some("k=%3D&page=2") if !is_known => (2, vec![r#"</books?k=%3D&page=3>; rel="nex"#]),
            Some("k=%3D&page=2") => (2, vec![r#"</books?k=%3D&page=3>; rel="next""#]),
            Some("k=%3D&page=3") => (3, vec![r#"<?page=1>; rel="first""#]),
            // Another host must not be asked.
            _ => (
                1,
                vec![
                    r#"<?page=1>; rel="first""#,
                    r#"<?page=3>; rel="last", <https://elsewhere.invalid/x?k=%3D&page=2>; rel="next""#,
                ],
            ),
        }
    };
    let books = (0..10).map(|n| json!({"id": page * 10 + n}));
    let links = links.into_iter().map(|link| ("link", link));
    (AppendHeaders(links.collect()), Json(books.collect()))
}

/// Writes the provider's definition below a folder, and lets the rig read these collections of it.
pub(crate) async fn define(rig: &mut Rig, folder: &Path, address: SocketAddr, ids: &[&str]) {
    define_with(rig, folder, address, "", COLLECTIONS, ids).await;
}

/// The same with more to say of its pages, and other collections.
pub(crate) async fn define_with(
    rig: &mut Rig,
    folder: &Path,
    address: SocketAddr,
    pages: &str,
    collections: &str,
    ids: &[&str],
) {
    let provider = format!(
        r#"
title = "Shelf"
base = "http://{address}"
page = {{ order = "oldest_first", size = {{ send = "per_page", max = 50 }}, next = "link"{pages} }}
record.id = "id"
record.created.take = "made"
record.created.format = "unix"
errors = {{ code = ["error"], message = ["error"], gone = [{{ status = "404", code = "gone" }}], hidden = [{{ status = "404", code = "unseen" }}], unknown_cursor = [{{ code = "lost" }}] }}
limits = {{ requests = 100, per = "1s", concurrent = 2 }}
[credentials.key]
title = "Key"
auth = {{ bearer = "secret" }}
fields.secret = {{ title = "Key", secret = true }}
"#
    );
    let shelf = folder.join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    std::fs::write(shelf.join("provider.toml"), provider).unwrap();
    std::fs::write(shelf.join("collections.toml"), collections).unwrap();
    rig.providers = Some(folder.to_owned());
    rig.put_credential_of("shelf", "key", "a-key").await;
    rig.put_sync(|sync| {
        sync.provider = "shelf".to_owned();
        sync.collection_ids = ids.iter().map(|&id| id.to_owned()).collect();
    })
    .await;
}

#[tokio::test]
async fn a_collection_that_is_paged_by_links_is_read_whole() {
    let asked = Asked::default();
    let router = Router::new().route("/books", get(books));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = headrace_sandbox::serve(router.with_state(Arc::clone(&asked)), any);
    let (address, server) = serving.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    define(&mut rig, folder.path(), address, &["shelf:book"]).await;
    rig.start().await;
    rig.until_read().await;
    let rows = rig.rows().await;
    let mut ids: Vec<&str> = rows.iter().map(|row| &*row.upstream_id).collect();
    ids.sort_unstable();
    let all: Vec<String> = (10..40).map(|id| id.to_string()).collect();
    assert_eq!(ids, all);
    assert!(rows.iter().all(|row| !row.deleted));
    rig.stop().await;
    server.abort();
    let asked = asked.lock().unwrap();
    assert_eq!(asked[..4], [FIRST, SECOND, SECOND, THIRD]);
}

/// The chapters of a book: two pages, of which the second is not there at first.
async fn chapters(State(asked): State<Asked>, uri: Uri) -> Response {
    let request = uri.to_string();
    let was_asked = {
        let mut asked = asked.lock().unwrap();
        let was_asked = asked.contains(&request);
        asked.push(request);
        was_asked
    };
    match uri.query() {
        Some("page=2") if !was_asked => {
            (StatusCode::NOT_FOUND, Json(json!({"error": "gone"}))).into_response()
        }
        Some("page=2") => Json(json!([{"id": 2}])).into_response(),
        _ => (
            [("link", "<?page=2>; rel=\"next\"")],
            Json(json!([{"id": 1}])),
        )
            .into_response(),
    }
}

#[tokio::test]
async fn a_later_page_of_children_that_is_gone_is_not_the_end_of_them() {
    let router = Router::new()
        .route("/books", get(async || Json(json!([{"id": 7}]))))
        .route("/books/7/chapters", get(chapters));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = headrace_sandbox::serve(router.with_state(Asked::default()), any);
    let (address, server) = serving.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    define(&mut rig, folder.path(), address, &["shelf:chapter"]).await;
    rig.start().await;
    rig.until_read().await;
    let rows = rig.rows().await;
    let mut ids: Vec<&str> = rows.iter().map(|row| &*row.upstream_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["1", "2"]);
    rig.stop().await;
    server.abort();
}

/// Reads a list that names a next page on each of its pages, until that is told.
async fn is_endless(books: MethodRouter) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = headrace_sandbox::serve(Router::new().route("/books", books), any);
    let (address, server) = serving.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    define(&mut rig, folder.path(), address, &["shelf:book"]).await;
    rig.start().await;
    rig.until("it is told", |status| {
        let error = status.collections[0].error.as_deref();
        error.is_some_and(|error| error.contains("cannot be understood"))
    })
    .await;
    rig.stop().await;
    server.abort();
}

fn page_of(uri: &Uri) -> u32 {
    let page = uri.query().and_then(|query| query.strip_prefix("page="));
    page.map_or(1, |page| page.parse().unwrap())
}

#[tokio::test]
async fn a_list_of_empty_pages_without_an_end_is_told() {
    let books = async |uri: Uri| {
        let next = format!("<?page={}>; rel=\"next\"", page_of(&uri) + 1);
        ([("link", next)], Json(json!([])))
    };
    is_endless(get(books)).await;
}

#[tokio::test]
async fn a_list_that_goes_round_in_a_circle_is_told() {
    let books = async |uri: Uri| {
        let page = page_of(&uri);
        let next = format!("<?page={}>; rel=\"next\"", page % 5 + 1);
        ([("link", next)], Json(json!([{"id": page}])))
    };
    is_endless(get(books)).await;
}

#[tokio::test]
async fn a_list_that_begins_anew_for_ever_is_told() {
    let books = async |uri: Uri| match page_of(&uri) {
        1 => (
            [("link", "<?page=2>; rel=\"next\"")],
            Json(json!([{"id": 1}])),
        )
            .into_response(),
        _ => (StatusCode::BAD_REQUEST, Json(json!({"error": "lost"}))).into_response(),
    };
    is_endless(get(books)).await;
}
