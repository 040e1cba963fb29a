//! A sync of a Stripe sandbox into a real store, to be stopped, started and looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headrace_engine::clock::Clock;
use headrace_engine::outbound::{Outbound, OutboundSettings, seal_secrets};
use headrace_engine::providers::Providers;
use headrace_engine::sync::{CollectionStatus, Parts, Supervisor, SyncSettings, SyncStatus};
use headrace_model::config::{Credential, Frequency, RateLimit, Sync};
use headrace_model::health::{Health, HealthStatus};
use headrace_model::retry::Backoff;
use headrace_model::seal::Keyring;
use headrace_model::{CredentialId, OrgId, StreamId, SyncId, Timestamp};
use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use headrace_store::{Kind, Object, Range, Row, Selection, Store, Write};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// A condition that does not hold by then fails the test.
const DEADLINE: Duration = Duration::from_secs(120);

/// The machine's clock, moved ahead by so many seconds. The sandbox has the same.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn leap(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = self.0.load(Ordering::SeqCst) * 1_000_000;
        let machine = headrace_engine::clock::SystemClock.now();
        Timestamp::from_micros(machine.as_micros() + ahead)
    }
}

pub(crate) struct Rig {
    pub(crate) stripe: Stripe,
    pub(crate) clock: TestClock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: SyncSettings,
    /// Definitions that go before the built-in ones.
    pub(crate) providers: Option<PathBuf>,
    pub(crate) sync: SyncId,
    pub(crate) stream: StreamId,
    keyring: Arc<Keyring>,
    address: SocketAddr,
    supervisor: Option<Arc<Supervisor>>,
    _folder: TempDir,
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(crate) const ORG: OrgId = OrgId(Uuid::from_u128(1));
const CREDENTIAL: CredentialId = CredentialId(Uuid::from_u128(3));

impl Rig {
    /// A rig whose sync is not running yet.
    pub(crate) async fn new(options: StripeOptions, collections: &[&str]) -> Self {
        Self::with_provider_behind(options, collections, 0).await
    }

    /// The next list at this path has nothing in it.
    pub(crate) fn list_nothing_once(&self, path: &str) {
        let empty = r#"{"object":"list","has_more":false,"data":[]}"#;
        self.stripe.faults().push(Fault {
            path: path.to_owned(),
            method: None,
            skip: 0,
            times: 1,
            kind: FaultKind::RawBody(empty.into()),
        });
    }

    /// A rig whose provider's clock is behind this machine's by so many seconds.
    pub(crate) async fn with_provider_behind(
        options: StripeOptions,
        collections: &[&str],
        seconds: i64,
    ) -> Self {
        let clock = TestClock::default();
        let sandbox_clock = clock.clone();
        let options = StripeOptions {
            clock: Arc::new(move || sandbox_clock.now().as_seconds() - seconds),
            ..options
        };
        Self::with_clocks(options, collections, clock).await
    }

    /// A rig whose provider's clock is right, also where this machine's is moved.
    pub(crate) async fn with_provider_right(options: StripeOptions, collections: &[&str]) -> Self {
        Self::with_clocks(options, collections, TestClock::default()).await
    }

    async fn with_clocks(options: StripeOptions, collections: &[&str], clock: TestClock) -> Self {
        let stripe = Stripe::new(options);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, _server) = headrace_sandbox::serve(stripe.router(), any).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().display());
        let keyring = Keyring::parse(&Keyring::line([7; 36])).unwrap();
        let rig = Self {
            stripe,
            clock,
            store: headrace_store::open(&url).await.unwrap(),
            settings: SyncSettings {
                poll: Duration::from_millis(50),
                poll_idle: Duration::from_millis(200),
                retry_cap: Duration::from_millis(200),
                failed_pause: Duration::from_millis(200),
                ageing: Duration::from_millis(200),
                ..SyncSettings::default()
            },
            providers: None,
            sync: SyncId(id(4)),
            stream: StreamId(id(2)),
            keyring: Arc::new(keyring),
            address,
            supervisor: None,
            _folder: folder,
        };
        rig.put_credential("sk_test_sandbox").await;
        rig.put_sync(|sync| {
            sync.collection_ids = collections
                .iter()
                .map(|name| format!("stripe:{name}"))
                .collect();
        })
        .await;
        rig
    }

    /// Writes the credential with this key.
    pub(crate) async fn put_credential(&self, key: &str) {
        self.put_credential_of("stripe", "stripe_key", key).await;
    }

    /// Writes the credential as one of this provider and kind.
    pub(crate) async fn put_credential_of(&self, provider: &str, kind: &str, key: &str) {
        let secrets = BTreeMap::from([("secret".to_owned(), key.to_owned())]);
        let credential = Credential {
            provider: provider.to_owned(),
            kind: kind.to_owned(),
            name: None,
            account: None,
            last_account: None,
            oauth_app_id: None,
            properties: BTreeMap::new(),
            sealed: seal_secrets(&self.keyring, CREDENTIAL, &secrets).unwrap(),
            secret_names: ["secret".to_owned()].into(),
            metadata: Default::default(),
            health: Health::plain(HealthStatus::Healthy, self.clock.now()),
            rate_limit: Some(RateLimit {
                allowed_requests: 100_000,
                interval: 1.0,
                max_concurrent_requests: 8,
            }),
            refresh: None,
        };
        self.put(
            Kind::Credential,
            CREDENTIAL.0,
            serde_json::to_vec(&credential).unwrap(),
        )
        .await;
    }

    pub(crate) async fn credential_health(&self) -> Health {
        let stored = self.store.object(Kind::Credential, CREDENTIAL.0).await;
        let body = stored.unwrap().unwrap().body;
        serde_json::from_slice::<Credential>(&body).unwrap().health
    }

    /// Changes the stored sync.
    pub(crate) async fn put_sync(&self, change: impl FnOnce(&mut Sync)) {
        let stored = self.store.object(Kind::Sync, self.sync.0).await.unwrap();
        let mut sync = match stored {
            Some(object) => serde_json::from_slice(&object.body).unwrap(),
            None => Sync {
                provider: "stripe".to_owned(),
                name: "test".to_owned(),
                slug: None,
                stream_id: self.stream,
                credential_id: CREDENTIAL,
                collection_ids: Vec::new(),
                rate_limit: None,
                max_age_days: None,
                sync_frequency: Frequency::Continuous,
                external_id: None,
                metadata: Default::default(),
                enabled: true,
                paused: Default::default(),
            },
        };
        change(&mut sync);
        self.put(Kind::Sync, self.sync.0, serde_json::to_vec(&sync).unwrap())
            .await;
    }

    pub(crate) async fn delete_sync(&self) {
        let stored = self
            .store
            .object(Kind::Sync, self.sync.0)
            .await
            .unwrap()
            .unwrap();
        let (kind, id, revision) = (Kind::Sync, stored.id, stored.revision);
        self.store
            .write(vec![Write::Delete { kind, id, revision }])
            .await
            .unwrap();
    }

    async fn put(&self, kind: Kind, id: Uuid, body: Vec<u8>) {
        let known = self.store.object(kind, id).await.unwrap();
        let object = Object {
            kind,
            id,
            org: ORG,
            revision: known.map_or(0, |known| known.revision),
            names: Vec::new(),
            body,
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
        };
        self.store.write(vec![Write::Put(object)]).await.unwrap();
    }

    /// Starts syncing.
    pub(crate) async fn start(&mut self) -> Arc<Supervisor> {
        let supervisor = Supervisor::start(self.parts()).await.unwrap();
        self.supervisor = Some(Arc::clone(&supervisor));
        supervisor
    }

    /// Starts syncing in a runtime of its own, which can be shot.
    pub(crate) async fn start_in(&mut self, runtime: &Runtime) -> Arc<Supervisor> {
        let parts = self.parts();
        let starting = runtime.spawn(Supervisor::start(parts));
        let supervisor = starting.await.unwrap().unwrap();
        self.supervisor = Some(Arc::clone(&supervisor));
        supervisor
    }

    fn parts(&self) -> Parts {
        let base = format!("http://{}/v1", self.address);
        let bases = BTreeMap::from([("stripe".to_owned(), base)]);
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let backoff = Backoff {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(20),
        };
        let outbound = OutboundSettings {
            attempts: 3,
            backoff,
            ..OutboundSettings::default()
        };
        Parts {
            store: Arc::clone(&self.store),
            outbound: Arc::new(Outbound::new(Arc::clone(&clock), outbound).unwrap()),
            providers: Arc::new(Providers::load(self.providers.as_deref(), &bases).unwrap()),
            keyring: Arc::clone(&self.keyring),
            clock,
            node: Uuid::nil(),
            settings: self.settings,
        }
    }

    /// Stops syncing.
    pub(crate) async fn stop(&mut self) {
        self.supervisor.take().unwrap().shutdown().await;
    }

    /// Has changes of a collection looked for.
    pub(crate) async fn check(&self, collection: &str) {
        let supervisor = self.supervisor.as_ref().unwrap();
        supervisor.check(self.sync, collection).await.unwrap();
    }

    pub(crate) async fn status(&self) -> SyncStatus {
        self.supervisor
            .as_ref()
            .unwrap()
            .status(self.sync)
            .await
            .unwrap()
    }

    /// Waits until the sync's status is as wanted.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&SyncStatus) -> bool,
    ) -> SyncStatus {
        let mut told = self.supervisor.as_ref().unwrap().watch(self.sync).unwrap();
        let waiting = async {
            loop {
                told.borrow_and_update();
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                told.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("never: {what}; now: {:#?}", self.status().await),
        }
    }

    /// Waits until everything was read once.
    pub(crate) async fn until_read(&self) -> SyncStatus {
        self.until("all is read", |status| {
            status.initial_backfill_completed_at.is_some()
        })
        .await
    }

    /// Waits until the stream is as wanted.
    pub(crate) async fn until_stream(&self, what: &str, wanted: impl Fn(&[Row]) -> bool) {
        let mut log = self.store.watch(self.stream).await.unwrap();
        let waiting = async {
            loop {
                log.borrow_and_update();
                if wanted(&self.rows().await) {
                    return;
                }
                log.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(
            waited.is_ok(),
            "never: {what}; status: {:#?}",
            self.status().await
        );
    }

    /// All entries of the stream.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.rows_after(0).await
    }

    async fn rows_after(&self, after: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        loop {
            let range = Range {
                after: rows.last().map_or(after, |row: &Row| row.idx),
                limit: 1000,
                max_bytes: 64 << 20,
                newest_first: false,
            };
            let selection = Selection::default();
            let page = self
                .store
                .read(self.stream, &selection, range)
                .await
                .unwrap();
            rows.extend(page.rows);
            if !page.more {
                return rows;
            }
        }
    }

    /// Waits until the stream holds exactly what the account has of these collections. The account
    /// must not change meanwhile.
    pub(crate) async fn until_equal(&self, collections: &[Collection]) {
        let source = source(&self.stripe, collections);
        let kinds: Vec<&str> = collections.iter().map(|kind| prefix(*kind)).collect();
        let mut log = self.store.watch(self.stream).await.unwrap();
        let mut wrong: BTreeMap<String, String> = BTreeMap::new();
        for id in source.keys() {
            wrong.insert(id.clone(), "missing".to_owned());
        }
        let mut after = 0;
        let waiting = async {
            loop {
                log.borrow_and_update();
                for row in self.rows_after(after).await {
                    after = row.idx;
                    if kinds.iter().any(|kind| row.upstream_id.starts_with(kind)) {
                        match difference(source.get(&row.upstream_id), &row) {
                            Some(difference) => wrong.insert(row.upstream_id, difference),
                            None => wrong.remove(&row.upstream_id),
                        };
                    }
                }
                if wrong.is_empty() {
                    return;
                }
                log.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!(
                "never equal: {wrong:#?}; status: {:#?}",
                self.status().await
            );
        }
    }
}

/// One collection of a status.
pub(crate) fn collection<'a>(status: &'a SyncStatus, name: &str) -> &'a CollectionStatus {
    let id = format!("stripe:{name}");
    status
        .collections
        .iter()
        .find(|collection| collection.id == id)
        .unwrap()
}

/// What the account has, by id.
pub(crate) fn source(stripe: &Stripe, collections: &[Collection]) -> BTreeMap<String, Value> {
    let mut source = BTreeMap::new();
    for collection in collections {
        for object in stripe.list_all(*collection) {
            let id = object["id"].as_str().unwrap().to_owned();
            source.insert(id, comparable(object));
        }
    }
    source
}

/// What tells an entry from what the account has.
pub(crate) fn difference(expected: Option<&Value>, row: &Row) -> Option<String> {
    match (expected, row.deleted) {
        (None, true) => None,
        (None, false) => Some("gone at the source".to_owned()),
        (Some(_), true) => Some("not gone at the source".to_owned()),
        (Some(expected), false) => {
            let stored = comparable(serde_json::from_slice(&row.data).unwrap());
            (stored != *expected).then(|| format!("{stored} is not {expected}"))
        }
    }
}

/// How the ids of a collection begin.
fn prefix(collection: Collection) -> &'static str {
    match collection {
        Collection::Customer => "cus_",
        Collection::Product => "prod_",
        Collection::Price => "price_",
        Collection::Subscription => "sub_",
        Collection::SubscriptionItem => "si_",
        Collection::Invoice => "in_",
        Collection::InvoiceLine => "il_",
        Collection::PaymentIntent => "pi_",
        Collection::Charge => "ch_",
        Collection::Refund => "re_",
        Collection::BalanceTransaction => "txn_",
        Collection::Event => "evt_",
    }
}

/// The object without its lists, which the source keeps elsewhere.
fn comparable(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| value.get("object").is_none_or(|kind| kind != "list"));
    }
    object
}
