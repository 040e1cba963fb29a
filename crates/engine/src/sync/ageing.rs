//! Ageing: records older than the sync admits leave the stream, quietly.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::RecordId;
use headrace_store::{Lane, Range, Selection};

use super::context::Context;
use super::failure::{Failure, Next};

/// Entries that are looked at in one step.
const STEP: usize = 500;
/// How soon it is tried again where the provider has not told the time yet.
const SOON: Duration = Duration::from_secs(60);
const STEP_BYTES: usize = 8 << 20;

/// Purges what is too old, now and then, until the sync stops.
pub(super) async fn run(context: Arc<Context>) {
    loop {
        let rest = context.parts.settings.ageing;
        let rest = match tell(&context) {
            true => rest,
            false => rest.min(SOON),
        };
        match purge_old(&context).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(sync = %context.id, count, "records aged out"),
            Err(failure) if matches!(failure.next(), Next::Stop | Next::Yield) => return,
            Err(failure) => {
                tracing::warn!(sync = %context.id, "old records were not removed: {failure}");
            }
        }
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Answers whether it is known what is too old, and tells where it is not although there were answers.
fn tell(context: &Context) -> bool {
    let is_known = context.knows_provider_time();
    for id in &context.sync.collection_ids {
        context.board.set(id, |live| {
            live.is_ageless = !is_known && live.checked_at.is_some();
        });
    }
    is_known
}

async fn purge_old(context: &Context) -> Result<usize, Failure> {
    let store = &context.parts.store;
    let mut purged = 0;
    let lanes = store.lanes(context.sync.stream_id).await?;
    for lane in lanes.iter().filter(|lane| lane.sync == context.id) {
        purged += purge_lane(context, lane).await?;
    }
    Ok(purged)
}

async fn purge_lane(context: &Context, lane: &Lane) -> Result<usize, Failure> {
    let Some(cutoff) = context.cutoff() else {
        return Ok(0);
    };
    let selection = Selection {
        lanes: Some([lane.no].into()),
        deleted: None,
    };
    let mut range = Range {
        after: 0,
        limit: STEP,
        max_bytes: STEP_BYTES,
        newest_first: false,
    };
    let mut purged = 0;
    loop {
        if context.stop.is_cancelled() {
            return Err(Failure::Stopped);
        }
        let page = context
            .parts
            .store
            .read(context.sync.stream_id, &selection, range)
            .await?;
        let is_old = |row: &&headrace_store::Row| {
            row.upstream_created_at.unwrap_or(row.inserted_at) < cutoff
        };
        let old: Vec<RecordId> = page
            .rows
            .iter()
            .filter(is_old)
            .map(|row| row.record)
            .collect();
        purged += old.len();
        if !old.is_empty() {
            context
                .append(&lane.collection, Vec::new(), old, Vec::new())
                .await?;
        }
        match page.rows.last() {
            Some(last) if page.more => range.after = last.idx,
            _ => return Ok(purged),
        }
    }
}
