//! Appending to the store, durably, two batches under way at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt as _, stream};
use headrace_model::{StreamId, SyncId, Timestamp};
use headrace_store::{Batch, Store};
use tokio::time::Instant;
use uuid::Uuid;

use crate::records::{Ids, record};
use crate::report::Report;

const STREAM: StreamId = StreamId(Uuid::from_u128(1));
const SYNC: SyncId = SyncId(Uuid::from_u128(2));

pub(crate) async fn run(report: &mut Report, count: usize) -> Result<()> {
    for ids in [Ids::Ascending, Ids::Random] {
        for size in [100, 1_000] {
            let folder = tempfile::tempdir()?;
            let url = format!("sqlite:{}", folder.path().display());
            let store = headrace_store::open(&url).await?;
            let case =
                |what: &str| format!("ingest, {what}, batch {size}, ids {ids:?}").to_lowercase();
            let first = |number| record(ids, number, 0);
            append(report, &case("new"), &store, count, size, first).await?;
            append(report, &case("unchanged"), &store, count, size, first).await?;
            let some_changed = |number| record(ids, number, usize::from(number % 10 == 0));
            append(
                report,
                &case("a tenth changed"),
                &store,
                count,
                size,
                some_changed,
            )
            .await?;
            store.close().await?;
        }
    }
    Ok(())
}

async fn append(
    report: &mut Report,
    case: &str,
    store: &Arc<dyn Store>,
    count: usize,
    size: usize,
    make: impl Fn(usize) -> headrace_model::record::Observation,
) -> Result<()> {
    let collection: Arc<str> = "stripe:customer".into();
    let begun = Instant::now();
    let batches = (0..count).step_by(size).map(|from| {
        let seen =
            (from..count.min(from + size)).map(|number| (Arc::clone(&collection), make(number)));
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
                .append(STREAM, Timestamp::from_seconds(1), vec![batch])
                .await?
            {
                result?;
            }
            Ok::<Duration, headrace_store::StoreError>(asked.elapsed())
        }
    });
    let mut under_way = stream::iter(batches).buffered(2);
    let mut calls = Vec::new();
    while let Some(call) = under_way.next().await {
        calls.push(call?);
    }
    report.case(case, count, begun, calls);
    Ok(())
}
