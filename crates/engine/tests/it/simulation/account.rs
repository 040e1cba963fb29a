//! What the user has set up: one stream, one sync of one account, some consumers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_engine::{Error, NewCredential, SyncPatch};
use headrace_model::config::{self, DeliverPolicy, Frequency, HttpConsumer, RateLimit};
use headrace_model::filter::Filter;
use headrace_model::secret::Secret;
use headrace_model::{CredentialId, OrgId, StreamId};
use headrace_sandbox::stripe::Collection;
use headrace_store::StoreError;
use uuid::Uuid;

use super::machine::Process;
use super::plan::COLLECTIONS;
use super::wire::still_up;
use super::world::{World, lock};

pub(super) const ORG: OrgId = OrgId(Uuid::from_u128(1));
pub(super) const STREAM: StreamId = StreamId(Uuid::from_u128(2));
const CREDENTIAL: Uuid = Uuid::from_u128(3);

fn sync_id(number: u64) -> Uuid {
    Uuid::from_u128(1_000 + u128::from(number))
}

pub(super) fn consumer_id(number: u64) -> Uuid {
    Uuid::from_u128(100 + u128::from(number))
}

impl Process {
    /// Makes what is not there yet; tries until it is.
    pub(super) async fn set_up(&self) {
        self.insist(async || self.make_stream().await).await;
        let syncs = self.world.syncs.load(Ordering::SeqCst);
        for number in 0..syncs {
            self.insist(async || self.remove_sync(number).await).await;
        }
        if syncs > 0 {
            // The next one has a share of its own.
            lock(&self.world.arrivals).forget();
        }
        self.insist(async || self.make_sync().await).await;
        for number in 0..self.world.plan.consumers {
            self.insist(async || self.make_consumer(number).await).await;
            let id = consumer_id(number);
            if lock(&self.world.ledgers).consumers[&id].unsure {
                self.insist(async || self.take_stock(id).await).await;
            }
        }
    }

    /// Repeats until it succeeds.
    pub(super) async fn insist<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
        loop {
            let was_calm = self.world.is_calm();
            let tried = attempt().await;
            still_up(&self.world).await;
            match tried {
                Ok(done) => return done,
                // Also the provider keeps to its rate, whoever else is at it.
                Err(
                    Error::ShuttingDown | Error::Upstream(_) | Error::Store(StoreError::Closed),
                ) => {}
                // An operator who began while there was trouble changes the same thing.
                Err(Error::Store(StoreError::Changed { .. })) => {}
                Err(error) if was_calm => {
                    self.world.violated(format!("refused: {error:?}"));
                    std::future::pending::<()>().await;
                }
                Err(error) => self.world.note(|| format!("refused: {error:?}")),
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// The sync of now.
    pub(super) fn sync_id(&self) -> Uuid {
        sync_id(self.world.syncs.load(Ordering::SeqCst))
    }

    async fn remove_sync(&self, number: u64) -> Result<(), Error> {
        let id = sync_id(number);
        let sync = match self.engine.sync(ORG, &id.to_string()).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            sync => sync?,
        };
        let purge = lock(&self.world.ledgers).purged.contains(&id);
        self.engine.remove_sync(sync, purge).await
    }

    /// Looks how a consumer is that an operator was cut off in changing.
    async fn take_stock(&self, id: Uuid) -> Result<(), Error> {
        let consumer = self.engine.consumer(ORG, &id.to_string()).await?;
        let (generation, last) = self.place(id).await;
        let mut ledgers = lock(&self.world.ledgers);
        let ledger = ledgers.consumers.entry(id).or_default();
        ledger.settle_on(&consumer.value);
        ledger.begin(generation, last);
        Ok(())
    }

    /// Makes the sync what it is meant to be, whatever an operator was cut off in.
    pub(super) async fn put_right(&self) {
        let engine = &self.engine;
        let name = self.sync_id().to_string();
        let patch = SyncPatch {
            enabled: Some(true),
            collection_ids: Some(self.collections()),
            ..SyncPatch::default()
        };
        let change = async || {
            let sync = engine.sync(ORG, &name).await?;
            engine.patch_sync(sync, patch.clone(), false).await
        };
        self.insist(change).await;
        for collection in self.collections() {
            let resume = async || {
                let sync = engine.sync(ORG, &name).await?;
                engine.pause_collection(sync, &collection, false).await
            };
            self.insist(resume).await;
        }
    }

    /// The sync of now was removed: the next one is another.
    pub(super) fn next_sync(&self) {
        self.world.syncs.fetch_add(1, Ordering::SeqCst);
    }

    /// The collections that are synced.
    pub(super) fn collections(&self) -> Vec<String> {
        let synced = self.world.plan.collections.iter();
        synced.map(|at| COLLECTIONS[*at].0.to_owned()).collect()
    }

    async fn make_stream(&self) -> Result<(), Error> {
        let stream = config::Stream {
            slug: "s".to_owned(),
            tombstone_retention_days: None,
        };
        let made = self.engine.create_stream(ORG, stream, Some(STREAM.0)).await;
        made.map(drop)
    }

    pub(super) async fn make_sync(&self) -> Result<(), Error> {
        let credential = NewCredential {
            kind: "stripe_key".to_owned(),
            name: None,
            fields: Secret(BTreeMap::from([(
                "secret".to_owned(),
                "sk_test_sandbox".to_owned(),
            )])),
            oauth_app_id: None,
            metadata: None,
            verify: true,
            id: Some(CREDENTIAL),
        };
        let sync = config::Sync {
            provider: "stripe".to_owned(),
            name: "simulated".to_owned(),
            slug: None,
            stream_id: STREAM,
            credential_id: CredentialId(CREDENTIAL),
            collection_ids: self.collections(),
            rate_limit: Some(RateLimit {
                allowed_requests: self.world.plan.rate,
                interval: 1.0,
                max_concurrent_requests: 8,
            }),
            max_age_days: None,
            sync_frequency: Frequency::Continuous,
            external_id: None,
            metadata: Default::default(),
            enabled: true,
            paused: Default::default(),
        };
        let made = self
            .engine
            .create_sync(ORG, sync, Some(credential), Some(self.sync_id()));
        made.await.map(drop)
    }

    async fn make_consumer(&self, number: u64) -> Result<(), Error> {
        let id = consumer_id(number);
        if lock(&self.world.ledgers).consumers.contains_key(&id) {
            return Ok(());
        }
        let value = HttpConsumer {
            stream_id: STREAM,
            name: None,
            slug: None,
            deliver_policy: match number {
                0 => DeliverPolicy::All,
                _ => DeliverPolicy::New,
            },
            ack_wait_ms: 5_000 + 20_000 * number,
            max_deliver: if number == 0 { -1 } else { 3 },
            max_ack_pending: 30,
            max_waiting: 10,
            filters: Filter {
                deleted: (number == 1).then_some(false),
                ..Filter::default()
            },
            metadata: Default::default(),
            paused: false,
            unapplied: Default::default(),
        };
        let made = self.engine.create_consumer(ORG, value.clone(), Some(id));
        made.await?;
        let (generation, last) = self.place(id).await;
        let from = match value.deliver_policy {
            DeliverPolicy::All => 0,
            _ => last,
        };
        let mut ledgers = lock(&self.world.ledgers);
        let ledger = ledgers.consumers.entry(id).or_default();
        ledger.max_deliver = u32::try_from(value.max_deliver).ok();
        ledger.settle_on(&value);
        ledger.begin(generation, from);
        Ok(())
    }
}

/// The account changes, while there is trouble.
pub(super) async fn change_account(world: Arc<World>) {
    while !world.is_calm() {
        let most = u64::try_from(world.plan.changes_every.as_millis()).unwrap();
        let pause = world.chance().millis(50, most);
        tokio::time::sleep(pause).await;
        let changes = usize::try_from(world.chance().between(1, 3)).unwrap();
        world.note(|| format!("{changes} changes"));
        let before = world.stripe.count(Collection::Event);
        world.stripe.mutate_randomly(changes);
        world.tell(|| {
            let events = world.stripe.list_all(Collection::Event);
            let news = events.iter().take(events.len() - before);
            let words =
                news.map(|event| format!("{} {}", event["type"], event["data"]["object"]["id"]));
            words.collect::<Vec<_>>().join(", ")
        });
    }
}
