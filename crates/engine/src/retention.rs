//! Retention: tombstones leave the streams after their days, once every consumer has passed them; purge
//! entries at once. Sinks, which want both, will hold positions that the store counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_model::{ConsumerId, LaneNo, OrgId, StreamId, config};
use headrace_store::{Kind, Sweep};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::entity;
use crate::{Engine, Error};

/// How often every stream is looked at. What is late costs room and nothing else.
const INTERVAL: Duration = Duration::from_secs(600);
/// Entries per step: others write in between.
const STEP: usize = 200;
const DAY: Duration = Duration::from_secs(86_400);

type Wants = dyn Fn(ConsumerId, LaneNo) -> bool + Send + Sync;

/// Wakes the sweeper.
#[derive(Debug, Default)]
pub(crate) struct Retention(Notify);

impl Retention {
    /// A stream's settings were changed.
    pub(crate) fn changed(&self) {
        self.0.notify_one();
    }
}

impl Engine {
    /// Sweeps until the engine stops.
    pub(crate) async fn sweep_forever(&self) {
        while !self.stop.is_cancelled() {
            if let Err(error) = self.sweep_streams().await {
                tracing::error!(error = %crate::chain(&error), "could not sweep the streams");
            }
            tokio::select! {
                biased;
                () = self.retention.0.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Takes out of every stream what nobody needs any more. May run at any time.
    pub async fn sweep_streams(&self) -> Result<(), Error> {
        for id in entity::ids(&*self.store, Kind::Stream).await? {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if let Err(error) = self.sweep_stream(StreamId(id)).await {
                tracing::error!(stream = %id, error = %crate::chain(&error), "could not sweep a stream");
            }
        }
        Ok(())
    }

    async fn sweep_stream(&self, id: StreamId) -> Result<(), Error> {
        let Some(stream) = entity::load_any::<config::Stream>(&*self.store, id.0).await? else {
            return Ok(());
        };
        let days = stream.value.tombstone_retention_days;
        let tombstones_before = days.map(|days| self.clock.now() - DAY * days);
        // The bound first: of what lies beyond, the filters may not know the lane yet.
        let upto = self.store.last_idx(id).await?;
        let consumers = entity::all::<config::HttpConsumer>(&*self.store, Some(stream.org)).await?;
        let readers = consumers.into_iter();
        let readers = readers.filter(|consumer| consumer.value.stream_id == id);
        let readers: Vec<Uuid> = readers.map(|consumer| consumer.id).collect();
        let gate = self.gates.of(id.0);
        let mut next = Some(0);
        while let Some(after) = next
            && !self.stop.is_cancelled()
        {
            // Who was told that more is wanted from now on finds all of it that was still there.
            let _closed = gate.write().await;
            let sweep = Sweep {
                tombstones_before,
                after,
                upto,
                limit: STEP,
                wants: self.wants(stream.org, id, &readers).await?,
            };
            next = self.store.sweep(id, sweep).await?.next;
        }
        Ok(())
    }

    /// Whether a consumer's filter takes tombstones of a lane. One that is not among these was made
    /// since, and is given all.
    async fn wants(
        &self,
        org: OrgId,
        stream: StreamId,
        readers: &[Uuid],
    ) -> Result<Arc<Wants>, Error> {
        let mut filters = HashMap::with_capacity(readers.len());
        for id in readers {
            let consumer = entity::load_any::<config::HttpConsumer>(&*self.store, *id).await?;
            filters.extend(consumer.map(|consumer| (ConsumerId(*id), consumer.value.filters)));
        }
        let book = self.lane_book(org, stream).await?;
        Ok(Arc::new(move |consumer, lane| {
            let filter = filters.get(&consumer);
            filter.is_none_or(|filter| filter.deleted != Some(false) && book.takes(filter, lane))
        }))
    }
}
