//! What the user has set up: one stream, one sync of one account, some consumers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::{Error, NewCredential};
use headrace_model::config::{self, DeliverPolicy, Frequency, HttpConsumer, RateLimit};
use headrace_model::filter::Filter;
use headrace_model::secret::Secret;
use headrace_model::{ConsumerId, CredentialId, OrgId, StreamId};
use uuid::Uuid;

use super::machine::Process;
use super::plan::COLLECTIONS;
use super::wire::still_up;
use super::world::{World, lock};

pub(super) const ORG: OrgId = OrgId(Uuid::from_u128(1));
pub(super) const STREAM: StreamId = StreamId(Uuid::from_u128(2));
const CREDENTIAL: Uuid = Uuid::from_u128(3);
pub(super) const SYNC: Uuid = Uuid::from_u128(4);

pub(super) fn consumer_id(number: u64) -> Uuid {
    Uuid::from_u128(100 + u128::from(number))
}

impl Process {
    /// Makes what is not there yet; tries until it is.
    pub(super) async fn set_up(self: &Arc<Self>) {
        self.insist(async || self.make_stream().await).await;
        self.insist(async || self.make_sync().await).await;
        for number in 0..self.world.plan.consumers {
            self.insist(async || self.make_consumer(number).await).await;
        }
    }

    /// Repeats until it succeeds.
    pub(super) async fn insist<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
        loop {
            let tried = attempt().await;
            still_up(&self.world).await;
            match tried {
                Ok(done) => return done,
                Err(error) if self.world.is_calm() => {
                    self.world.violated(format!("refused: {error:?}"));
                    std::future::pending::<()>().await;
                }
                Err(error) => self.world.note(|| format!("refused: {error:?}")),
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn make_stream(&self) -> Result<(), Error> {
        let stream = config::Stream {
            slug: "s".to_owned(),
            tombstone_retention_days: None,
        };
        let made = self.engine.create_stream(ORG, stream, Some(STREAM.0)).await;
        made.map(drop)
    }

    async fn make_sync(&self) -> Result<(), Error> {
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
            collection_ids: collections(&self.world),
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
            .create_sync(ORG, sync, Some(credential), Some(SYNC));
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
        let mut generation = 0;
        let store = &self.store;
        let look = &mut |state: &headrace_model::delivery::Consumer| {
            generation = state.generation();
        };
        store.inspect(ConsumerId(id), look).await?;
        let from = match value.deliver_policy {
            DeliverPolicy::All => 0,
            _ => store.last_idx(STREAM).await?,
        };
        let mut ledgers = lock(&self.world.ledgers);
        let ledger = ledgers.consumers.entry(id).or_default();
        ledger.ack_wait_ms = value.ack_wait_ms;
        ledger.max_deliver = u32::try_from(value.max_deliver).ok();
        ledger.filters = value.filters;
        ledger.begin(generation, from);
        Ok(())
    }
}

/// The collections that are synced.
pub(super) fn collections(world: &World) -> Vec<String> {
    let synced = world.plan.collections.iter();
    synced.map(|at| COLLECTIONS[*at].0.to_owned()).collect()
}

/// The account changes, while there is trouble.
pub(super) async fn change_account(world: Arc<World>) {
    while !world.is_calm() {
        tokio::time::sleep(world.plan.changes_every).await;
        let changes = usize::try_from(world.chance().between(1, 3)).unwrap();
        world.note(|| format!("{changes} changes"));
        world.stripe.mutate_randomly(changes);
    }
}
