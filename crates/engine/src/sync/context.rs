//! What the reconcilers of one running sync share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headrace_model::config::Sync;
use headrace_model::provider::{Collection, Definition, Failure as Upstream, One, Request, Row};
use headrace_model::quota::Priority;
use headrace_model::record::Observation;
use headrace_model::{RecordId, SyncId, Timestamp};
use headrace_store::{Batch, CursorWrite, Fence, Outcome, StoreError};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::credential::InUse;
use super::failure::Failure;
use super::refused::Refusals;
use super::supervisor::Parts;
use crate::outbound::{Account, Call, CallError, Response};

/// A record whose parts change while they are read is begun anew so many times.
const READS: usize = 4;

/// A running sync.
pub(super) struct Context {
    pub(super) parts: Parts,
    pub(super) id: SyncId,
    pub(super) sync: Sync,
    pub(super) account: Account,
    pub(super) credential: InUse,
    pub(super) fence: Fence,
    pub(super) board: Arc<Board>,
    pub(super) refusals: Refusals,
    /// Cancelled when the reconcilers are to end.
    pub(super) stop: CancellationToken,
    /// Cancelled when the store says that another node has the lease.
    pub(super) fenced: CancellationToken,
    /// Cancelled when a reconciler has panicked: nothing would tell that it no longer works.
    pub(super) broken: CancellationToken,
}

impl Context {
    pub(super) fn definition(&self) -> &Definition {
        self.account.definition()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The provider's clock, at the earliest.
    pub(super) fn provider_now(&self) -> Timestamp {
        self.parts.outbound.provider_now(&self.account)
    }

    /// Whether the provider's clock is known, and not only this machine's.
    pub(super) fn knows_provider_time(&self) -> bool {
        self.parts.outbound.knows_time(&self.account)
    }

    /// The earliest creation time that the sync admits. It hides and removes what is older, so it takes
    /// two clocks: this machine's and the provider's, the earlier one of both. Nothing is too old
    /// before the provider has told the time.
    pub(super) fn cutoff(&self) -> Option<Timestamp> {
        let days = u64::from(self.sync.max_age_days?);
        let now = self.now().min(self.provider_now());
        let cutoff = now - Duration::from_secs(days * 86_400);
        self.knows_provider_time().then_some(cutoff)
    }

    /// Waits; given up when the sync stops.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Asks the provider; given up when the sync stops.
    pub(super) async fn ask(
        &self,
        request: &Request,
        priority: Priority,
    ) -> Result<Response, Failure> {
        let call = Call {
            account: &self.account,
            request,
            priority,
            sync: Some(self.id),
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            answer = self.parts.outbound.send(call) => {
                self.learn_of_credential(&answer).await;
                Ok(answer?)
            }
        }
    }

    /// Appends what was seen of a collection, and these cursors with it. Answers one outcome for each.
    pub(super) async fn append(
        &self,
        collection: &Arc<str>,
        seen: Vec<Observation>,
        purge: Vec<RecordId>,
        cursors: Vec<CursorWrite>,
    ) -> Result<Vec<Outcome>, Failure> {
        let seen = seen.into_iter().map(|seen| (Arc::clone(collection), seen));
        let batch = Batch {
            sync: self.id,
            fence: Some(self.fence.clone()),
            seen: seen.collect(),
            purge,
            cursors,
        };
        let stream = self.sync.stream_id;
        let results = self
            .parts
            .store
            .append(stream, self.now(), vec![batch])
            .await?;
        let result = results
            .into_iter()
            .next()
            .unwrap_or(Err(StoreError::Closed));
        if matches!(result, Err(StoreError::Fenced)) {
            self.fenced.cancel();
        }
        Ok(result?.outcomes)
    }

    /// Writes a state that comes with no records.
    pub(super) async fn write(&self, cursor: CursorWrite) -> Result<(), Failure> {
        let name = Arc::clone(&cursor.collection);
        self.append(&name, Vec::new(), Vec::new(), vec![cursor])
            .await?;
        Ok(())
    }
}

/// One collection of a running sync.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) context: Arc<Context>,
    pub(super) id: Arc<str>,
    /// Its place in the definition.
    index: usize,
}

/// What reading one record found, and when it was asked.
pub(super) struct Found {
    pub(super) row: Option<Box<Row>>,
    pub(super) seen_at: Timestamp,
}

impl Watched {
    /// The collection with this id; `None` when the provider does not have it.
    pub(super) fn new(context: &Arc<Context>, id: &str) -> Option<Self> {
        let collections = &context.definition().collections;
        let index = collections
            .iter()
            .position(|collection| collection.id == id)?;
        Some(Self {
            context: Arc::clone(context),
            id: id.into(),
            index,
        })
    }

    pub(super) fn collection(&self) -> &Collection {
        &self.context.definition().collections[self.index]
    }

    /// The feed that tells of its changes.
    pub(super) fn feed(&self) -> Option<&str> {
        let collection = self.collection();
        let events = match &collection.events {
            Some(events) => events,
            None if collection.realtime() => {
                let parent = &collection.parent.as_ref()?.collection;
                self.context
                    .definition()
                    .collection(parent)?
                    .events
                    .as_ref()?
            }
            None => return None,
        };
        Some(&events.feed)
    }

    /// Reads one record by id, with its lists complete. `None` where the provider has lists only, or
    /// none but them can show a record of this id.
    pub(super) async fn read_one(
        &self,
        id: &str,
        priority: Priority,
    ) -> Result<Option<Found>, Failure> {
        if !self.collection().reads_by_id() {
            return Ok(None);
        }
        let known = match self.collection().reads_by_link() {
            true => match self.held_data(id).await? {
                // Nothing tells where it would be.
                None => return Ok(None),
                known => known,
            },
            false => None,
        };
        for _ in 0..READS {
            match self.read_once(id, known.as_deref(), priority).await {
                // What was missing of it has changed meanwhile.
                Err(failure) if failure.is_of_a_part() => {}
                read => return read.map(Some),
            }
        }
        Err(Failure::Unsettled { count: 1 })
    }

    async fn read_once(
        &self,
        id: &str,
        known: Option<&[u8]>,
        priority: Priority,
    ) -> Result<Found, Failure> {
        let request = self.collection().get(id, known)?;
        let response = match self.context.ask(&request, priority).await {
            Ok(response) => response,
            Err(Failure::Call(CallError::Upstream { error, seen_at, .. }))
                if error.failure == Upstream::Gone =>
            {
                return Ok(Found { row: None, seen_at });
            }
            Err(failure) => return Err(failure),
        };
        let (one, repaired) = self.collection().parse_one(&response.body)?;
        self.note_repaired(repaired);
        let row = match one {
            One::Gone => None,
            One::Nothing => {
                return Err(Failure::Instead {
                    shown: None,
                    asked: id.to_owned(),
                    seen_at: response.seen_at,
                });
            }
            // At the place that the record named there is another one now.
            One::Present(row) if known.is_some() && row.upstream_id != id => {
                return Err(Failure::Instead {
                    shown: Some(row.upstream_id),
                    asked: id.to_owned(),
                    seen_at: response.seen_at,
                });
            }
            One::Present(mut row) => {
                self.complete(&mut row, priority).await?;
                Some(row)
            }
        };
        let seen_at = response.seen_at;
        Ok(Found { row, seen_at })
    }

    /// Completes the lists in a record that the provider cut short.
    pub(super) async fn complete(&self, row: &mut Row, priority: Priority) -> Result<(), Failure> {
        let collection = self.collection();
        for cut in row.truncated.clone() {
            let path = cut.path.clone();
            let mut missing: Vec<Bytes> = Vec::new();
            let mut next = Some(cut);
            while let Some(cut) = next.take() {
                let request = collection.part(&cut)?;
                let response = self.context.ask(&request, priority).await;
                let response = response.map_err(Failure::of_a_part)?;
                let part = collection.parse_part(&cut, &response.body)?;
                self.note_repaired(part.repaired);
                missing.extend(part.elements);
                next = part.next;
            }
            collection.complete(row, &path, &missing)?;
        }
        Ok(())
    }

    pub(super) fn note_repaired(&self, count: usize) {
        if count > 0 {
            self.context
                .board
                .set(&self.id, |live| live.repaired += count);
        }
    }
}
