//! Starting on many records, and how cost grows with their number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::prepared::{Prepared, fill, open, prepare};
use crate::report::Report;
use crate::server::Server;

/// How often each start is repeated: the median is told.
const STARTS: usize = 5;
/// What is appended after the last clean end, before the kill.
const APPENDED: usize = 50_000;

fn customers(_: usize) -> &'static str {
    "stripe:customer"
}

/// Starts after a clean end, and after a kill in the middle of appending.
pub(crate) async fn run(report: &mut Report, count: usize) -> Result<Prepared> {
    let prepared = prepare(count, customers).await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let server = Server::open(Arc::clone(&prepared.folder), None).await?;
        starts.push(server.started_in);
        server.stop().await?;
    }
    report.latency(
        &format!("start on {count} records after a clean end"),
        starts,
    );

    let store = open(prepared.folder.path()).await?;
    fill(&store, prepared.stream, count..count + APPENDED, customers).await?;
    let starts = starts_as_it_is(&prepared).await?;
    report.latency(&format!("start on {count} records after a kill"), starts);
    store.close().await?;

    // The same, in the middle of much that consumers take and acknowledge.
    let server = Arc::new(Server::open(Arc::clone(&prepared.folder), None).await?);
    crate::consume::drain(report, &server, count).await?;
    let starts = starts_as_it_is(&prepared).await?;
    let name = format!("start on {count} records after a kill beside consumers");
    report.latency(&name, starts);
    Ok(prepared)
}

/// Starts on what a kill would leave behind now: what is in the files while nobody closes them.
async fn starts_as_it_is(prepared: &Prepared) -> Result<Vec<Duration>> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let copy = Arc::new(tempfile::tempdir()?);
        copy_files(
            &prepared.folder.path().join("data"),
            &copy.path().join("data"),
        )?;
        let server = Server::open(copy, None).await?;
        starts.push(server.started_in);
        server.stop().await?;
    }
    Ok(starts)
}

/// The same work on ten times as much, again and again.
pub(crate) async fn growth(report: &mut Report, most: usize) -> Result<()> {
    let mut count = 100_000;
    while count <= most {
        let prepared = prepare(count, customers).await?;
        let name = format!("ingest, new, batch 1000, ids random, {count} records");
        report.timed(&name, count, prepared.took, Vec::new());
        let server = Server::open(Arc::clone(&prepared.folder), None).await?;
        report.latency(
            &format!("start on {count} records"),
            vec![server.started_in],
        );
        report.found(
            &format!("memory after that, {count} records"),
            &server.memory()?,
        );
        crate::consume::drain(report, &Arc::new(server), count).await?;
        count *= 10;
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for file in from.read_dir()? {
        let file = file?;
        let name = file.file_name();
        // The index of the log is shared memory, which a kill takes; the lock is another process's.
        let is_kept = |name: &str| !name.ends_with("-shm") && !name.ends_with(".lock");
        if name.to_str().is_some_and(is_kept) {
            let copy = to.join(name);
            std::fs::copy(file.path(), &copy)?;
            // A kill leaves what was synced as it is: the start must not pay for the copy.
            std::fs::File::open(copy)?.sync_all()?;
        }
    }
    Ok(())
}
