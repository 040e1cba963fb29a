//! The engine: what the use cases share.

use std::sync::Arc;

use headrace_store::Store;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::Error;
use crate::answers::Running;
use crate::backups::Backups;
use crate::clock::{Clock, draw};
use crate::expiry::Expiry;
use crate::gates::Gates;
use crate::outbound::Outbound;
use crate::providers::Providers;
use crate::rates::Rates;
use crate::refresh::Refreshes;
use crate::removal::LeftOver;
use crate::retention::Retention;
use crate::selection::{CardCache, Selections};
use crate::sync::Supervisor;
use crate::tokens::AdminToken;
use crate::waiting::Waiting;
use headrace_model::seal::Keyring;

/// What reaches out to providers.
#[derive(Clone)]
pub struct SyncParts {
    /// The providers this installation knows.
    pub providers: Arc<Providers>,
    /// The keys that seal secrets.
    pub keyring: Arc<Keyring>,
    /// The outbound HTTP client.
    pub outbound: Arc<Outbound>,
    /// What runs the syncs.
    pub supervisor: Arc<Supervisor>,
}

/// All use cases hang off this.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sync: SyncParts,
    pub(crate) card_cache: CardCache,
    pub(crate) selections: Selections,
    pub(crate) waiting: Waiting,
    pub(crate) expiry: Expiry,
    pub(crate) rates: Rates,
    pub(crate) gates: Gates,
    pub(crate) running: Running,
    pub(crate) refreshes: Refreshes,
    pub(crate) retention: Retention,
    pub(crate) backups: Backups,
    pub(crate) left_over: LeftOver,
    /// Rings when a consumer, a sync, a stream or a token was changed: those who wait look again.
    pub(crate) reconfigured: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) admin_token: Option<AdminToken>,
    pub(crate) tasks: TaskTracker,
}

impl Engine {
    /// Starts the use cases on a store: makes the first organisation, and the timers.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        sync: SyncParts,
        admin_token: Option<&str>,
    ) -> Result<Arc<Self>, Error> {
        let mut engine = Self {
            store,
            clock,
            sync,
            card_cache: CardCache::default(),
            selections: Selections::default(),
            waiting: Waiting::default(),
            expiry: Expiry::default(),
            rates: Rates::default(),
            gates: Gates::default(),
            running: Running::default(),
            refreshes: Refreshes::default(),
            retention: Retention::default(),
            backups: Backups::default(),
            left_over: LeftOver::default(),
            reconfigured: Notify::new(),
            stop: CancellationToken::new(),
            admin_token: None,
            tasks: TaskTracker::new(),
        };
        let org = engine.first_org().await?;
        engine.drop_unmade().await?;
        engine.apply_all().await?;
        engine.store.begin().await?;
        engine.take_up_removals().await?;
        engine.admin_token = admin_token.map(|text| AdminToken::new(text, org));
        let written = engine.look_back().await;
        let engine = Arc::new(engine);
        let (timer, cleaner) = (Arc::clone(&engine), Arc::clone(&engine));
        engine
            .tasks
            .spawn(async move { cleaner.finish_removals().await });
        engine
            .tasks
            .spawn(async move { timer.expire_forever(written).await });
        let sweeper = Arc::clone(&engine);
        engine
            .tasks
            .spawn(async move { sweeper.sweep_forever().await });
        Ok(engine)
    }

    /// The store, for what only reads.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Cancelled when the engine stops.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Wakes when a consumer, a sync, a stream or a token is changed from now on.
    pub fn reconfigured(&self) -> Notified<'_> {
        self.reconfigured.notified()
    }

    /// Ends the long polls and timers; waits for what was under way. The store stays open.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.sync.supervisor.shutdown().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn new_id(&self) -> Uuid {
        headrace_model::StreamId::new(self.clock.now(), draw(&*self.clock)).0
    }
}
