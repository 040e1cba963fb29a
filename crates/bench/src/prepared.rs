//! A data directory with many records, filled through the store, as a server then finds it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt as _, stream};
use headrace_model::{StreamId, SyncId, Timestamp};
use headrace_store::{Batch, Store, StoreError};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use crate::records::{Ids, record};
use crate::server::{Server, text};

const SYNC: SyncId = SyncId(Uuid::from_u128(2));
const BATCH: usize = 1_000;

/// A directory with one stream, `dev`.
pub(crate) struct Prepared {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) stream: StreamId,
    /// How long filling it took.
    pub(crate) took: Duration,
}

/// Fills a directory with so many records, each of the collection that is told.
pub(crate) async fn prepare(
    count: usize,
    collection: fn(usize) -> &'static str,
) -> Result<Prepared> {
    let folder = Arc::new(tempfile::tempdir()?);
    let server = Server::open(Arc::clone(&folder), None).await?;
    let stream = server.post("/v1/streams", json!({"slug": "dev"})).await?;
    let stream = StreamId(text(&stream["id"])?.parse().context("not an id")?);
    server.stop().await?;
    let store = open(folder.path()).await?;
    let begun = Instant::now();
    fill(&store, stream, 0..count, collection).await?;
    let took = begun.elapsed();
    store.close().await?;
    Ok(Prepared {
        folder,
        stream,
        took,
    })
}

/// The store of a server's data directory.
pub(crate) async fn open(folder: &Path) -> Result<Arc<dyn Store>> {
    let url = format!("sqlite:{}", folder.join("data").display());
    Ok(headrace_store::open(&url).await?)
}

/// Appends the records with these numbers. Answers how long each call took.
pub(crate) async fn fill(
    store: &Arc<dyn Store>,
    stream: StreamId,
    numbers: std::ops::Range<usize>,
    collection: fn(usize) -> &'static str,
) -> Result<Vec<Duration>> {
    let end = numbers.end;
    let batches = numbers.step_by(BATCH).map(|from| {
        let numbers = from..end.min(from + BATCH);
        let seen = numbers.map(|n| (Arc::from(collection(n)), record(Ids::Random, n, 0)));
        let batch = Batch {
            sync: SYNC,
            fence: None,
            seen: seen.collect(),
            purge: Vec::new(),
            cursors: Vec::new(),
        };
        let store = Arc::clone(store);
        async move {
            let asked = Instant::now();
            for result in store
                .append(stream, Timestamp::from_seconds(1), vec![batch])
                .await?
            {
                result?;
            }
            Ok::<Duration, StoreError>(asked.elapsed())
        }
    });
    let mut under_way = stream::iter(batches).buffered(2);
    let mut calls = Vec::new();
    while let Some(call) = under_way.next().await {
        calls.push(call?);
    }
    Ok(calls)
}
