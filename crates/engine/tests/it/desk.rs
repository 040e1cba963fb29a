//! The use cases on a real store, with a stream, a clock to turn, and nothing that syncs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::clock::Clock;
use headrace_engine::outbound::{Outbound, OutboundSettings};
use headrace_engine::providers::Providers;
use headrace_engine::sync::{Parts, Supervisor, SyncSettings};
use headrace_engine::{Caller, Engine, Settlement, Stored, SyncParts};
use headrace_model::config::{self, DeliverPolicy, Frequency, HttpConsumer, Scope};
use headrace_model::filter::Filter;
use headrace_model::record::{Content, Observation, Origin, Version};
use headrace_model::seal::Keyring;
use headrace_model::{ConsumerId, CredentialId, OrgId, StreamId, SyncId};
use headrace_store::{Batch, Kind, Message, Store};
use tempfile::TempDir;
use uuid::Uuid;

use crate::sync_harness::TestClock;

pub(crate) const CUSTOMER: &str = "stripe:customer";
pub(crate) const CHARGE: &str = "stripe:charge";

pub(crate) struct Desk {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: TestClock,
    pub(crate) org: OrgId,
    pub(crate) stream: StreamId,
    seen: i64,
    _folder: TempDir,
}

async fn start(store: &Arc<dyn Store>, clock: &TestClock) -> Arc<Engine> {
    let clock = Arc::new(clock.clone());
    let nowhere = BTreeMap::new();
    engine(store, clock, &nowhere, OutboundSettings::default()).await
}

/// An engine that finds its providers at these base URLs.
pub(crate) async fn engine(
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    bases: &BTreeMap<String, String>,
    settings: OutboundSettings,
) -> Arc<Engine> {
    let keyring = Arc::new(Keyring::parse(&Keyring::line([7; 36])).unwrap());
    let providers = Arc::new(Providers::load(None, bases).unwrap());
    let outbound = Arc::new(Outbound::new(Arc::clone(&clock), settings).unwrap());
    let parts = Parts {
        store: Arc::clone(store),
        outbound: Arc::clone(&outbound),
        providers: Arc::clone(&providers),
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        node: Uuid::nil(),
        settings: SyncSettings::default(),
    };
    let parts = SyncParts {
        providers,
        keyring,
        outbound,
        supervisor: Supervisor::start(parts).await.unwrap(),
    };
    Engine::start(Arc::clone(store), clock, parts, None)
        .await
        .unwrap()
}

/// A sync of an account at Stripe that is not to run.
pub(crate) fn idle_sync(stream: StreamId, credential: CredentialId, ids: &[&str]) -> config::Sync {
    config::Sync {
        provider: "stripe".to_owned(),
        name: "test".to_owned(),
        slug: None,
        stream_id: stream,
        credential_id: credential,
        collection_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        rate_limit: None,
        max_age_days: None,
        sync_frequency: Frequency::Continuous,
        external_id: None,
        metadata: Default::default(),
        enabled: false,
        paused: Default::default(),
    }
}

impl Desk {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().display());
        let store = headrace_store::open(&url).await.unwrap();
        let clock = TestClock::default();
        let engine = start(&store, &clock).await;
        let orgs = store.objects(Kind::Org, None, None, 1).await.unwrap();
        let org = OrgId(orgs[0].id);
        let settings = config::Stream {
            slug: "dev".to_owned(),
            tombstone_retention_days: None,
        };
        let stream = engine.create_stream(org, settings, None).await.unwrap();
        Self {
            engine,
            store,
            clock,
            org,
            stream: StreamId(stream.id),
            seen: 0,
            _folder: folder,
        }
    }

    /// Stops the engine and starts another one on the same store.
    pub(crate) async fn restart(&mut self) {
        self.engine.stop().await;
        self.engine = start(&self.store, &self.clock).await;
    }

    /// Appends a new version of a record; without data, its delete.
    pub(crate) async fn put(&mut self, collection: &str, id: &str, data: Option<&str>) {
        self.put_all(collection, &[id.to_owned()], data).await;
    }

    /// Puts the same of many records.
    pub(crate) async fn put_all(&mut self, collection: &str, ids: &[String], data: Option<&str>) {
        let mut seen = Vec::with_capacity(ids.len());
        for id in ids {
            self.seen += 1;
            let observation = Observation {
                parent_id: None,
                upstream_id: id.clone(),
                content: match data {
                    Some(data) => Content::Present {
                        data: data.to_owned().into_bytes().into(),
                        hash: u128::from(self.seen.unsigned_abs()),
                    },
                    None => Content::Gone,
                },
                version: Version::Own(self.seen),
                origin: Origin::Read,
                created_at: None,
                updated_at: None,
            };
            seen.push((collection.into(), observation));
        }
        let batch = Batch {
            sync: SyncId(Uuid::from_u128(9)),
            fence: None,
            seen,
            purge: Vec::new(),
            cursors: Vec::new(),
        };
        let now = self.clock.now();
        let appending = self.store.append(self.stream, now, vec![batch]);
        for result in appending.await.unwrap() {
            result.unwrap();
        }
    }

    pub(crate) async fn consumer(
        &self,
        deliver_policy: DeliverPolicy,
        filters: Filter,
    ) -> Stored<HttpConsumer> {
        let value = HttpConsumer {
            stream_id: self.stream,
            name: None,
            slug: None,
            deliver_policy,
            ack_wait_ms: 60_000,
            max_deliver: -1,
            max_ack_pending: 100,
            max_waiting: 100,
            filters,
            metadata: Default::default(),
            paused: false,
            unapplied: Default::default(),
        };
        let made = self.engine.create_consumer(self.org, value, None).await;
        made.unwrap().consumer
    }

    pub(crate) async fn next(&self, consumer: &Stored<HttpConsumer>) -> Vec<Message> {
        let caller = Caller {
            org: self.org,
            token: Uuid::nil(),
            scopes: [Scope::Consume].into(),
            consumer_ids: None,
            stream_ids: None,
        };
        let next = self.engine.next(&caller, consumer, 100, Duration::ZERO);
        next.await.unwrap().messages
    }

    pub(crate) async fn ack(&self, consumer: &Stored<HttpConsumer>, messages: &[Message]) {
        let number = ConsumerId(consumer.id).number();
        let token = |message: &Message| message.leased.token(number);
        let settlement = Settlement {
            ack: messages.iter().map(token).collect(),
            ..Settlement::default()
        };
        let settled = self.engine.settle(consumer, &settlement).await.unwrap();
        assert_eq!(settled.settled, messages.len() as u64);
    }
}

/// The upstream ids of messages.
pub(crate) fn ids(messages: &[Message]) -> Vec<&str> {
    let ids = messages.iter().map(|message| &*message.row.upstream_id);
    ids.collect()
}
