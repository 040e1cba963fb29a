//! The API's document is committed, so that a change of the API is seen in review.

use crate::harness::Server;

#[tokio::test]
async fn the_document_is_the_committed_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let served = Server::start().get("/v1/openapi.json").await;
    let served = format!("{served:#}\n");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        served == committed,
        "the API changed: run with UPDATE_SNAPSHOTS=1 and commit docs/openapi.json"
    );
}
