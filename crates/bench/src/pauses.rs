//! How long a writer waits while something large goes on beside it: a backup, a sweep.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headrace_model::record::{Content, Observation, Version};
use headrace_model::{StreamId, SyncId, Timestamp};
use headrace_store::{Batch, Store, Sweep};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use crate::records::{Ids, record};
use crate::report::Report;

const STREAM: StreamId = StreamId(Uuid::from_u128(1));
const SYNC: SyncId = SyncId(Uuid::from_u128(2));
/// Records of one append beside.
const BATCH: usize = 100;
/// How long appends go on alone, for comparison.
const ALONE: Duration = Duration::from_secs(10);

/// A store that is appended to.
struct Load {
    folder: TempDir,
    store: Arc<dyn Store>,
    /// How many records there are.
    count: usize,
}

/// A backup of so many records.
pub(crate) async fn backup(report: &mut Report, count: usize) -> Result<()> {
    let mut load = Load::of(count).await?;
    load.appends(report, "append, alone", tokio::time::sleep(ALONE))
        .await?;
    let (store, to) = (Arc::clone(&load.store), load.folder.path().join("backup"));
    let began = Instant::now();
    let backup = async { store.back_up(&to, now()).await };
    load.appends(report, "append, beside a backup", backup)
        .await??;
    report.case("backup, records in it", count, began, vec![began.elapsed()]);
    let after = tokio::time::sleep(ALONE);
    load.appends(report, "append, after a backup", after)
        .await?;
    let began = Instant::now();
    let elsewhere = format!("sqlite:{}", load.folder.path().join("restored").display());
    headrace_store::restore(&elsewhere, &to, false).await?;
    report.case("restore", count, began, vec![began.elapsed()]);
    let restored = headrace_store::open(&elsewhere).await?;
    let found = restored.stats(STREAM).await?.records;
    ensure!(found >= count as u64, "{found} records were restored");
    restored.close().await?;
    // What the restore wrote is on the disk by then.
    tokio::time::sleep(ALONE).await;
    let copy = std::fs::File::options().write(true).open(&to)?;
    std::fs::remove_file(&to)?;
    let gone = async {
        let removing =
            tokio::task::spawn_blocking(move || headrace_store::give_back(&copy, || false));
        removing.await?.context("the room of the copy")?;
        tokio::time::sleep(ALONE).await;
        Ok::<(), anyhow::Error>(())
    };
    load.appends(report, "append, beside the removal of a backup", gone)
        .await??;
    Ok(load.store.close().await?)
}

/// A sweep of so many records, a fifth of them deleted.
pub(crate) async fn retention(report: &mut Report, count: usize) -> Result<()> {
    let mut load = Load::of(count).await?;
    let deleted: Vec<usize> = (0..count).step_by(5).collect();
    for some in deleted.chunks(1_000) {
        load.append(some.iter().copied().map(gone)).await?;
    }
    load.appends(report, "append, alone", tokio::time::sleep(ALONE))
        .await?;
    let store = Arc::clone(&load.store);
    let began = Instant::now();
    let sweep = async {
        let upto = store.last_idx(STREAM).await?;
        let (mut next, mut swept) = (Some(0), 0);
        while let Some(after) = next {
            let sweep = Sweep {
                tombstones_before: Some(Timestamp::from_seconds(2)),
                after,
                upto,
                limit: 200,
                wants: Arc::new(|_, _| true),
            };
            let done = store.sweep(STREAM, sweep).await?;
            (next, swept) = (done.next, swept + done.tombstones);
        }
        Ok::<usize, headrace_store::StoreError>(swept)
    };
    let swept = load
        .appends(report, "append, beside a sweep", sweep)
        .await??;
    ensure!(swept == deleted.len(), "{swept} were swept");
    report.case("sweep, tombstones", swept, began, vec![began.elapsed()]);
    // All of it goes, and room is given back.
    load.store.drop_log(STREAM).await?;
    load.appends(
        report,
        "append, beside clearing and giving room back",
        tokio::time::sleep(ALONE),
    )
    .await?;
    Ok(load.store.close().await?)
}

impl Load {
    async fn of(count: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let store = headrace_store::open(&format!("sqlite:{}", data.display())).await?;
        let load = Self {
            folder,
            store,
            count,
        };
        for from in (0..count).step_by(1_000) {
            let numbers = from..count.min(from + 1_000);
            load.append(numbers.map(|number| record(Ids::Random, number, 0)))
                .await?;
        }
        Ok(load)
    }

    async fn append(&self, seen: impl Iterator<Item = Observation>) -> Result<()> {
        let collection: Arc<str> = "stripe:customer".into();
        let batch = Batch {
            sync: SYNC,
            fence: None,
            seen: seen.map(|seen| (Arc::clone(&collection), seen)).collect(),
            purge: Vec::new(),
            cursors: Vec::new(),
        };
        let appended = self.store.append(STREAM, now(), vec![batch]).await?;
        appended.into_iter().next().context("no answer")??;
        Ok(())
    }

    /// Appends until `work` is done, and tells how long each took.
    async fn appends<T>(
        &mut self,
        report: &mut Report,
        name: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(work);
        let began = Instant::now();
        let (mut calls, mut number) = (Vec::new(), self.count);
        let done = loop {
            let numbers = number..number + BATCH;
            number += BATCH;
            let asked = Instant::now();
            let append = self.append(numbers.map(|number| record(Ids::Random, number, 0)));
            tokio::pin!(append);
            tokio::select! {
                appended = &mut append => appended?,
                done = &mut work => {
                    append.await?;
                    calls.push(asked.elapsed());
                    break done;
                }
            }
            calls.push(asked.elapsed());
        };
        let appended = calls.len() * BATCH;
        self.count = number;
        report.case(name, appended, began, calls);
        Ok(done)
    }
}

fn gone(number: usize) -> Observation {
    Observation {
        content: Content::Gone,
        version: Version::Seen(Timestamp::from_seconds(1_800_000_000)),
        ..record(Ids::Random, number, 0)
    }
}

/// When everything here is committed.
fn now() -> Timestamp {
    Timestamp::from_seconds(1)
}
