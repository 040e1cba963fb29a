//! Consumers: made, changed, removed, and where they start.

use std::collections::HashSet;
use std::time::Duration;

use headrace_model::config::{DeliverPolicy, HttpConsumer, Unapplied};
use headrace_model::{ConsumerId, OrgId, StreamId, Timestamp};
use headrace_store::{Breakpoint, Counts, Kind, Range, Row, Selection, StoreError, breakpoint};

use uuid::Uuid;

use crate::entity::{self, Stored};
use crate::error::Problems;
use crate::names::{check_metadata, check_name, check_slug};
use crate::rates::Rate;
use crate::removal::Removal;
use crate::{Engine, Error};

/// The bounds of a consumer's settings, as the API documents them.
pub mod bounds {
    /// Messages outstanding at once.
    pub const MAX_ACK_PENDING: std::ops::RangeInclusive<u32> = 1..=20_000;
    /// Long polls at once.
    pub const MAX_WAITING: std::ops::RangeInclusive<u32> = 1..=10_000;
    /// The ack window in milliseconds: up to 12 hours.
    pub const ACK_WAIT_MS: std::ops::RangeInclusive<u64> = 100..=43_200_000;
}

/// A consumer with its counts.
#[derive(Clone, Debug)]
pub struct ConsumerView {
    /// The consumer.
    pub consumer: Stored<HttpConsumer>,
    /// Its counts, exact.
    pub counts: Counts,
    /// Its position in the log.
    pub position: u64,
    /// The stream's newest index.
    pub last_idx: u64,
    /// How long the oldest message that was never handed out has waited; `None` when there is none.
    pub lag: Option<Duration>,
    /// When the oldest of its dead letters died.
    pub oldest_dead_at: Option<Timestamp>,
    /// How fast it goes.
    pub rate: Rate,
}

impl Engine {
    /// Makes a consumer where its deliver policy says. `id` is the one it is to have.
    pub async fn create_consumer(
        &self,
        org: OrgId,
        value: HttpConsumer,
        id: Option<Uuid>,
    ) -> Result<ConsumerView, Error> {
        check(&value)?;
        let id = id.unwrap_or_else(|| self.new_id());
        if let Some(made) = entity::find::<HttpConsumer>(&*self.store, org, id).await? {
            // By the same request, which did not live to answer.
            return self.consumer_view(made).await;
        }
        let gate = self.gates.of(value.stream_id.0);
        let _open = gate.read().await;
        entity::load::<headrace_model::config::Stream>(&*self.store, org, value.stream_id.0)
            .await?;
        let position = self.position_of(org, &value).await?;
        let now = self.clock.now();
        let mut consumer = Stored::new(id, org, now, value);
        // State first: a consumer that can be seen can be asked.
        let id = ConsumerId(consumer.id);
        self.store
            .create_consumer(consumer.value.stream_id, id, position)
            .await?;
        if let Err(error) = consumer.save(&*self.store, now).await {
            // A write that failed may have been made all the same. Where nobody can tell, the next
            // start does.
            let found = entity::find::<HttpConsumer>(&*self.store, org, id.0).await;
            if let Ok(None) = found {
                self.store.drop_consumer(id).await?;
            }
            return Err(taken(error));
        }
        self.consumer_view(consumer).await
    }

    /// The organisation's consumers.
    pub async fn consumers(&self, org: OrgId) -> Result<Vec<Stored<HttpConsumer>>, Error> {
        entity::all(&*self.store, Some(org)).await
    }

    /// A consumer by id or slug.
    pub async fn consumer(&self, org: OrgId, name: &str) -> Result<Stored<HttpConsumer>, Error> {
        entity::load_named(&*self.store, org, name).await
    }

    /// A consumer with its counts.
    pub async fn consumer_view(
        &self,
        consumer: Stored<HttpConsumer>,
    ) -> Result<ConsumerView, Error> {
        let selection = self.selection(&consumer).await?;
        let id = ConsumerId(consumer.id);
        let counts = self.store.counts(id, &selection).await?;
        let (mut position, mut held) = (0, None);
        let look = &mut |state: &headrace_model::delivery::Consumer| {
            position = state.position();
            held = state.held_versions().next();
        };
        self.store.inspect(id, look).await?;
        let stream = consumer.value.stream_id;
        let oldest = match held {
            Some((_, record)) => self.store.record(stream, record).await?,
            None => {
                let range = Range {
                    after: position,
                    limit: 1,
                    max_bytes: 1,
                    newest_first: false,
                };
                self.store.read(stream, &selection, range).await?.rows.pop()
            }
        };
        let now = self.clock.now();
        let lag = oldest.map(|row| now.since(row.updated_at));
        let last_idx = self.store.last_idx(stream).await?;
        let oldest_dead_at = self.store.oldest_death(id).await?;
        let rate = self.rates.of(id, now);
        Ok(ConsumerView {
            consumer,
            counts,
            position,
            last_idx,
            lag,
            oldest_dead_at,
            rate,
        })
    }

    /// Changes a consumer's settings. Another deliver policy restarts it; another filter applies from
    /// its position on, and drops what is outstanding and no longer matches. The flag tells whether it
    /// was restarted.
    pub async fn update_consumer(
        &self,
        mut consumer: Stored<HttpConsumer>,
        value: HttpConsumer,
    ) -> Result<(ConsumerView, bool), Error> {
        check(&value)?;
        let restart = value.deliver_policy != consumer.value.deliver_policy;
        let refilter = value.filters != consumer.value.filters;
        let (stream, gate) = (value.stream_id.0, self.gates.of(consumer.id));
        let stream = self.gates.of(stream);
        let open = stream.read().await;
        let closed = gate.write().await;
        let mut unapplied = consumer.value.unapplied;
        if restart {
            unapplied.restart = Some(self.position_of(consumer.org, &value).await?);
        }
        unapplied.refilter |= refilter;
        consumer.value = HttpConsumer { unapplied, ..value };
        // Before the state: settings that are refused here change nothing.
        consumer
            .save(&*self.store, self.clock.now())
            .await
            .map_err(taken)?;
        self.apply(&mut consumer).await?;
        drop((open, closed));
        self.reconfigured.notify_waiters();
        Ok((self.consumer_view(consumer).await?, restart))
    }

    /// Does what saved settings still have to do to the consumer's state. Under the consumer's closed
    /// gate, or before anything is handed out.
    pub(crate) async fn apply(&self, consumer: &mut Stored<HttpConsumer>) -> Result<(), Error> {
        let Unapplied { restart, refilter } = consumer.value.unapplied;
        if consumer.value.unapplied.is_nothing() {
            return Ok(());
        }
        breakpoint(Breakpoint::Decided);
        if let Some(position) = restart {
            consumer.value.unapplied.restart = None;
            let without = consumer.as_changed(self.clock.now())?;
            let id = ConsumerId(consumer.id);
            self.store.restart(id, position, without).await?;
            consumer.stored();
        }
        if !refilter {
            return Ok(());
        }
        self.refilter(consumer).await?;
        consumer.value.unapplied = Unapplied::default();
        consumer.save(&*self.store, self.clock.now()).await
    }

    /// Drops the states of consumers that the last run was stopped in making: nobody would move them on,
    /// and what they stand before would never leave the log.
    pub(crate) async fn drop_unmade(&self) -> Result<(), Error> {
        let made = entity::ids(&*self.store, Kind::Consumer).await?;
        let made: HashSet<Uuid> = made.into_iter().collect();
        for id in self.store.consumers().await? {
            if !made.contains(&id.0) {
                self.store.drop_consumer(id).await?;
            }
        }
        Ok(())
    }

    /// Finishes the changes of consumers that the last run was stopped in.
    pub(crate) async fn apply_all(&self) -> Result<(), Error> {
        for id in entity::ids(&*self.store, Kind::Consumer).await? {
            let applied = match entity::load_any::<HttpConsumer>(&*self.store, id).await {
                Ok(None) => Ok(()),
                Ok(Some(mut consumer)) => self.apply(&mut consumer).await,
                Err(error) => Err(error),
            };
            // It must not keep the others from working.
            if let Err(error) = applied {
                let error = crate::chain(&error);
                tracing::error!(consumer = %id, error, "its settings are applied at the next start");
            }
        }
        Ok(())
    }

    /// Removes a consumer with its state and dead letters.
    pub async fn remove_consumer(&self, consumer: Stored<HttpConsumer>) -> Result<(), Error> {
        let removal = Removal {
            consumers: vec![ConsumerId(consumer.id)],
            ..Removal::default()
        };
        let writes = vec![consumer.delete()];
        let note = self.note_removal(consumer.org, writes, removal).await?;
        self.finish_removal(note).await
    }

    /// Starts a consumer anew. What is outstanding is forgotten and every token of before is stale. What
    /// its settings still had to do comes before, not on top of it.
    pub async fn reset_consumer(
        &self,
        consumer: &Stored<HttpConsumer>,
        policy: DeliverPolicy,
    ) -> Result<(), Error> {
        let id = ConsumerId(consumer.id);
        let gate = self.gates.of(consumer.id);
        let _closed = gate.write().await;
        let mut from = self.applied(consumer.org, id).await?.value;
        from.deliver_policy = policy;
        let position = self.position_of(consumer.org, &from).await?;
        Ok(self
            .store
            .update(id, &mut |state| state.reset(position))
            .await?)
    }

    /// What a consumer's filter means now.
    pub(crate) async fn selection(
        &self,
        consumer: &Stored<HttpConsumer>,
    ) -> Result<Selection, Error> {
        let HttpConsumer {
            filters, stream_id, ..
        } = &consumer.value;
        if filters.takes_all_lanes() {
            return Ok(Selection {
                lanes: None,
                deleted: filters.deleted,
            });
        }
        Ok(self
            .lane_book(consumer.org, *stream_id)
            .await?
            .select(filters))
    }

    async fn position_of(&self, org: OrgId, consumer: &HttpConsumer) -> Result<u64, Error> {
        let stream = consumer.stream_id;
        let last = self.store.last_idx(stream).await?;
        let position = match consumer.deliver_policy {
            DeliverPolicy::All => 0,
            DeliverPolicy::New => last,
            DeliverPolicy::FromIdx(idx) => idx.saturating_sub(1).min(last),
            DeliverPolicy::FromTime(time) => self.store.position_before(stream, time).await?,
            DeliverPolicy::Window(millis) => {
                let time = self.clock.now() - Duration::from_millis(millis);
                self.store.position_before(stream, time).await?
            }
            DeliverPolicy::Last => {
                let selection = self.lane_book(org, stream).await?.select(&consumer.filters);
                let newest = self.newest(stream, &selection).await?;
                newest.map_or(last, |row| row.idx - 1)
            }
        };
        Ok(position)
    }

    async fn newest(&self, stream: StreamId, selection: &Selection) -> Result<Option<Row>, Error> {
        let range = Range {
            after: 0,
            limit: 1,
            max_bytes: 1,
            newest_first: true,
        };
        Ok(self.store.read(stream, selection, range).await?.rows.pop())
    }

    /// Drops what is outstanding and does not match the filter of now.
    async fn refilter(&self, consumer: &Stored<HttpConsumer>) -> Result<(), Error> {
        let id = ConsumerId(consumer.id);
        let selection = self.selection(consumer).await?;
        let mut known = Vec::new();
        self.store
            .inspect(id, &mut |state| {
                known = state
                    .outstanding()
                    .map(|(idx, entry)| (idx, entry.record))
                    .collect();
                known.extend(state.held_versions());
            })
            .await?;
        let records = known.iter().map(|(_, record)| *record).collect();
        let places = self.store.places(consumer.value.stream_id, records).await?;
        // A version that has left the log is with a worker; it ends with that delivery.
        let dropped: HashSet<u64> = known
            .iter()
            .zip(places)
            .filter_map(|((idx, _), place)| place.filter(|place| place.idx == *idx))
            .filter(|place| !selection.takes(place.lane, place.deleted))
            .map(|place| place.idx)
            .collect();
        Ok(self
            .store
            .update(id, &mut |state| {
                state.refilter(|idx| !dropped.contains(&idx))
            })
            .await?)
    }
}

fn check(consumer: &HttpConsumer) -> Result<(), Error> {
    let mut problems = Problems::default();
    if let Some(slug) = &consumer.slug {
        check_slug("slug", slug, &mut problems);
    }
    check_metadata(Some(&consumer.metadata), &mut problems);
    if let Some(name) = &consumer.name {
        check_name("name", name, &mut problems);
    }
    if !bounds::ACK_WAIT_MS.contains(&consumer.ack_wait_ms) {
        problems.add("ack_wait_ms", "must be between 100 and 43200000 (12 hours)");
    }
    if !bounds::MAX_ACK_PENDING.contains(&consumer.max_ack_pending) {
        problems.add("max_ack_pending", "must be between 1 and 20000");
    }
    if !bounds::MAX_WAITING.contains(&consumer.max_waiting) {
        problems.add("max_waiting", "must be between 1 and 10000");
    }
    if consumer.max_deliver != -1 && !(1..=1_000_000).contains(&consumer.max_deliver) {
        problems.add(
            "max_deliver",
            "must be -1 (no maximum) or between 1 and 1000000",
        );
    }
    problems.check()
}

fn taken(error: Error) -> Error {
    match error {
        Error::Store(StoreError::NameTaken {
            kind: Kind::Consumer,
            name,
        }) => Error::Conflict(format!(
            "there is a consumer with the slug {name:?} already"
        )),
        other => other,
    }
}
