//! A provider of the user's own, whose lists are paged by `Link` headers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::AppendHeaders;
use axum::routing::get;
use axum::{Json, Router};
use headrace_sandbox::stripe::StripeOptions;
use serde_json::{Value, json};

use crate::sync_harness::Rig;

/// What the provider was asked, and with which credential.
type Asked = Arc<Mutex<Vec<String>>>;

const FIRST: &str = "/books?sort=id&per_page=50 Bearer a-key";
const SECOND: &str = "/books?k=%3D&page=2 Bearer a-key";
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

/// Writes the provider's definition below a folder.
pub(crate) fn define(folder: &Path, address: SocketAddr) {
    let provider = format!(
        r#"
title = "Shelf"
base = "http://{address}"
page = {{ order = "oldest_first", size = {{ send = "per_page", max = 50 }}, next = "link" }}
record.id = "id"
record.created.take = "made"
record.created.format = "unix"
errors = {{ code = ["error"], message = ["error"] }}
limits = {{ requests = 100, per = "1s", concurrent = 2 }}
[credentials.key]
title = "Key"
auth = {{ bearer = "secret" }}
fields.secret = {{ title = "Key", secret = true }}
"#
    );
    let collections = r#"
[book]
title = "Books"
list = "/books?sort=id"
relist.every = "1d"
"#;
    let shelf = folder.join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    std::fs::write(shelf.join("provider.toml"), provider).unwrap();
    std::fs::write(shelf.join("collections.toml"), collections).unwrap();
}

#[tokio::test]
async fn a_collection_that_is_paged_by_links_is_read_whole() {
    let asked = Asked::default();
    let router = Router::new().route("/books", get(books));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = headrace_sandbox::serve(router.with_state(Arc::clone(&asked)), any);
    let (address, server) = serving.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    define(folder.path(), address);
    let mut rig = Rig::new(StripeOptions::default(), &[]).await;
    rig.providers = Some(folder.path().to_owned());
    rig.put_credential_of("shelf", "key", "a-key").await;
    rig.put_sync(|sync| {
        sync.provider = "shelf".to_owned();
        sync.collection_ids = vec!["shelf:book".to_owned()];
    })
    .await;
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
