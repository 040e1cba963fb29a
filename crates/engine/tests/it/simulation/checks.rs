//! What must hold in the end: the stream is what the account is, and every consumer is done with it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_engine::Error;
use headrace_engine::sync::{Reread, SyncStatus};
use headrace_model::delivery::LONGEST_DELAY;
use headrace_model::health::HealthStatus;
use headrace_model::{ConsumerId, LaneNo};
use headrace_sandbox::stripe::Collection;
use headrace_store::{Lane, Range, Row, Selection};
use tokio::time::Instant;
use uuid::Uuid;

use super::account::{ORG, STREAM};
use super::machine::Process;
use super::plan::COLLECTIONS;
use super::world::lock;
use crate::sync_harness::{difference, source};

/// Everything must be well again by then: a clock that was an hour ahead has made some wait so long.
const WITHIN: Duration = Duration::from_secs(80 * 60);
/// So many deletes of a collection wait for nobody's word.
const LIKELY: usize = 5;
const IDLE: Duration = Duration::from_secs(120);
/// Calls of the store and requests in that time, at most, for each collection and consumer.
const IDLE_CALLS: u64 = 30;

impl Process {
    /// Waits until all is well, and looks whether it is.
    pub(super) async fn comes_right(&self) -> Result<(), String> {
        let mut last = String::new();
        // What was given back before the clock was is not known to have asked for less than the most.
        let longest = match self.world.time.went_far_back() {
            true => LONGEST_DELAY,
            false => Duration::ZERO,
        };
        let give_up = Instant::now() + WITHIN + longest;
        let mut pause = Duration::from_secs(20);
        while Instant::now() < give_up {
            tokio::time::sleep(pause).await;
            pause = (pause + pause / 2).min(WITHIN / 2);
            match self.is_right().await {
                Ok(()) => {
                    self.is_covered().await?;
                    return self.is_idle().await;
                }
                Err(words) => last = words,
            }
        }
        Err(format!("never: {last}"))
    }

    async fn is_right(&self) -> Result<(), String> {
        let status = self.status().await?;
        self.confirm_deletes(&status).await?;
        if status.health.status != HealthStatus::Healthy {
            return Err(format!("{status:?}"));
        }
        self.is_equal().await?;
        let consumers: Vec<Uuid> = lock(&self.world.ledgers)
            .consumers
            .keys()
            .copied()
            .collect();
        for id in consumers {
            let look = self.engine.consumer(ORG, &id.to_string()).await;
            let view = self.engine.consumer_view(look.map_err(words)?).await;
            let counts = view.map_err(words)?.counts;
            if counts.pending + counts.ack_pending > 0 {
                return Err(format!("consumer {id} is not done: {counts:?}"));
            }
        }
        Ok(())
    }

    async fn status(&self) -> Result<SyncStatus, String> {
        let sync = self
            .engine
            .sync(ORG, &self.sync_id().to_string())
            .await
            .map_err(words)?;
        self.engine.sync_status(&sync).await.map_err(words)
    }

    /// So much may be gone that it waits for somebody's word, who looks whether it is true.
    async fn confirm_deletes(&self, status: &SyncStatus) -> Result<(), String> {
        let waits = |notes: &[String]| notes.iter().any(|note| note.contains("confirm_deletes"));
        for collection in status.collections.iter().filter(|at| waits(&at.notes)) {
            let gone = self.gone_of(&collection.id).await?;
            if gone <= LIKELY {
                return Err(format!("only {gone} are gone: {collection:?}"));
            }
            self.world
                .note(|| format!("confirm deletes of {}", collection.id));
            let sync = self.engine.sync(ORG, &self.sync_id().to_string()).await;
            let sync = sync.map_err(words)?;
            let confirmed = Reread::All {
                confirm_deletes: true,
            };
            let asked = self
                .engine
                .reread_collection(&sync, &collection.id, confirmed);
            asked.await.map_err(words)?;
        }
        Ok(())
    }

    /// How many records of a collection the stream has or had, and the account has no more.
    async fn gone_of(&self, collection: &str) -> Result<usize, String> {
        let synced = self.world.plan.collections.iter();
        let kinds: Vec<Collection> = synced
            .map(|at| COLLECTIONS[*at])
            .filter_map(|(id, kind)| (id == collection).then_some(kind))
            .collect();
        let source = source(&self.world.stripe, &kinds);
        let lanes = self.store.lanes(STREAM).await.map_err(words)?;
        let mine = |lane: &&Lane| lane.sync.0 == self.sync_id() && *lane.collection == *collection;
        let mine = lanes.iter().find(mine).map(|lane| lane.no);
        let rows = self.rows().await.map_err(words)?;
        let had = rows.iter().filter(|row| Some(row.lane) == mine);
        let gone = had.filter(|row| !source.contains_key(&row.upstream_id));
        Ok(gone.count())
    }

    /// The stream holds what the account does.
    async fn is_equal(&self) -> Result<(), String> {
        let world = &self.world;
        let synced = world.plan.collections.iter();
        let kinds: Vec<Collection> = synced.map(|at| COLLECTIONS[*at].1).collect();
        let mut source = source(&world.stripe, &kinds);
        let lanes = self.store.lanes(STREAM).await.map_err(words)?;
        let lanes: BTreeMap<LaneNo, &Lane> = lanes.iter().map(|lane| (lane.no, lane)).collect();
        for row in self.rows().await.map_err(words)? {
            lock(&world.ledgers).saw(&row)?;
            let sync = lanes[&row.lane].sync;
            if sync.0 != self.sync_id() {
                if lock(&world.ledgers).purged.contains(&sync.0) {
                    return Err(format!("{row:?} was not purged"));
                }
                continue;
            }
            let expected = source.remove(&row.upstream_id);
            if let Some(difference) = difference(expected.as_ref(), &row) {
                return Err(format!("{}: {difference}", row.upstream_id));
            }
        }
        match source.keys().next() {
            Some(missing) => Err(format!("{missing} is missing")),
            None => Ok(()),
        }
    }

    /// Every consumer was given all that it selects.
    async fn is_covered(&self) -> Result<(), String> {
        let rows = self.rows().await.map_err(words)?;
        let lanes = self.store.lanes(STREAM).await.map_err(words)?;
        let lanes: BTreeMap<LaneNo, &Lane> = lanes.iter().map(|lane| (lane.no, lane)).collect();
        let ids: Vec<Uuid> = lock(&self.world.ledgers)
            .consumers
            .keys()
            .copied()
            .collect();
        for id in ids {
            let dead = self.store.dead_letters(ConsumerId(id), None, 10_000).await;
            let dead: BTreeMap<_, _> = dead
                .map_err(words)?
                .into_iter()
                .map(|dead| (dead.record, dead.idx))
                .collect();
            let ledgers = lock(&self.world.ledgers);
            let ledger = &ledgers.consumers[&id];
            for row in rows.iter().filter(|row| row.idx > ledger.from) {
                let matches = ledger.takes(&lanes[&row.lane].collection, row.deleted);
                let is_done = ledger.may_be_done(row.record, row.idx);
                if matches && !is_done && !dead.contains_key(&row.record) {
                    let (idx, upstream) = (row.idx, &row.upstream_id);
                    return Err(format!("consumer {id} was never given {upstream} at {idx}"));
                }
            }
        }
        Ok(())
    }

    /// Little happens where nothing is to be done.
    async fn is_idle(&self) -> Result<(), String> {
        let calls =
            || self.world.store_calls.load(Ordering::SeqCst) + lock(&self.world.arrivals).count;
        let before = calls();
        tokio::time::sleep(IDLE).await;
        let made = calls() - before;
        let consumers = lock(&self.world.ledgers).consumers.len() as u64;
        let parts = self.collections().len() as u64 + consumers * self.world.plan.workers * 5;
        match made > IDLE_CALLS * parts {
            true => Err(format!("{made} calls in {IDLE:?}, by {parts} parts")),
            false => Ok(()),
        }
    }

    /// All entries of the stream.
    pub(super) async fn rows(&self) -> Result<Vec<Row>, Error> {
        let range = Range {
            after: 0,
            limit: 100_000,
            max_bytes: 1 << 30,
            newest_first: false,
        };
        let page = self
            .store
            .read(STREAM, &Selection::default(), range)
            .await?;
        Ok(page.rows)
    }
}

fn words(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
