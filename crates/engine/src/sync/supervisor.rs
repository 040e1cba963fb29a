//! The supervisor: one runner for each enabled sync.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headrace_model::seal::Keyring;
use headrace_model::{SyncId, Timestamp};
use headrace_store::{Kind, Store};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::collection::Ask;
use super::describe::describe;
use super::feed::FeedRequest;
use super::runner::{self, Desk, Entry};
use super::{SyncError, SyncStatus};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::providers::Providers;

/// Syncs that are loaded at once.
const LOADED_AT_ONCE: usize = 500;

/// How long a request waits for a sync that is just being started.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// What syncing needs of the program.
#[derive(Clone)]
pub struct Parts {
    /// Where streams and states are kept.
    pub store: Arc<dyn Store>,
    /// The way to the providers.
    pub outbound: Arc<Outbound>,
    /// The definitions.
    pub providers: Arc<Providers>,
    /// Opens credentials.
    pub keyring: Arc<Keyring>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who holds the leases. Stable across restarts where no other node can have the same store, so
    /// that a restart need not wait until its own leases have run out.
    pub node: Uuid,
    /// How syncing is paced.
    pub settings: SyncSettings,
}

/// How syncing is paced.
#[derive(Clone, Copy, Debug)]
pub struct SyncSettings {
    /// How often changes are looked for while there are some.
    pub poll: Duration,
    /// How often at least, when nothing changes.
    pub poll_idle: Duration,
    /// The longest pause after failures that go away by themselves.
    pub retry_cap: Duration,
    /// The pause after failures that somebody has to see to.
    pub failed_pause: Duration,
    /// How long a lease lasts without being renewed.
    pub lease: Duration,
    /// How often records that are too old are looked for.
    pub ageing: Duration,
    /// Records a page; as many as the provider gives when `None`.
    pub page_size: Option<u32>,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            poll_idle: Duration::from_secs(60),
            retry_cap: Duration::from_secs(60),
            failed_pause: Duration::from_secs(300),
            lease: Duration::from_secs(30),
            ageing: Duration::from_secs(6 * 3_600),
            page_size: None,
        }
    }
}

/// What to read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reread {
    /// Everything.
    All {
        /// Any number of records may turn out to be deleted.
        confirm_deletes: bool,
    },
    /// What was created at the provider since then.
    Since(Timestamp),
    /// These records.
    UpstreamIds(Vec<String>),
}

/// Runs the enabled syncs.
pub struct Supervisor {
    parts: Parts,
    entries: Mutex<HashMap<SyncId, Arc<Entry>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Supervisor {
    /// Runs no sync until one is [`Supervisor::changed`]: for commands on a store that nobody serves.
    pub fn idle(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            entries: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Starts all enabled syncs.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, SyncError> {
        let supervisor = Self::idle(parts);
        let mut after = None;
        loop {
            let store = &supervisor.parts.store;
            let objects = store
                .objects(Kind::Sync, None, after, LOADED_AT_ONCE)
                .await?;
            for object in &objects {
                supervisor.entry(SyncId(object.id));
            }
            match objects.last() {
                Some(last) if objects.len() == LOADED_AT_ONCE => after = Some(last.id),
                _ => return Ok(supervisor),
            }
        }
    }

    /// A sync was created, patched, enabled, disabled, paused or deleted, or its credential was
    /// changed: brings what runs in line with what is stored. What is stored of a deleted sync's
    /// progress is removed.
    pub fn changed(self: &Arc<Self>, sync: SyncId) {
        self.entry(sync).signal();
    }

    /// Waits until everything that [`Supervisor::changed`] was told before is in effect: a sync that
    /// was disabled, or a collection that was taken out, writes nothing any more.
    pub async fn in_effect(&self, sync: SyncId) {
        let entry = self.lock().get(&sync).cloned();
        if let Some(entry) = entry {
            entry.in_effect().await;
        }
    }

    /// How a sync is doing: from what is stored where it does not run.
    pub async fn status(&self, sync: SyncId) -> Result<SyncStatus, SyncError> {
        let object = self.parts.store.object(Kind::Sync, sync.0).await?;
        let object = object.ok_or(SyncError::NoSuchSync)?;
        let body: headrace_model::config::Sync = runner::read(&object.body, "sync")?;
        let stored = runner::stored(&*self.parts.store, sync).await?;
        let entry = self.lock().get(&sync).cloned();
        let (lives, runs) = match &entry {
            Some(entry) => (entry.board.read(), entry.desk().is_some()),
            None => (BTreeMap::new(), false),
        };
        let live = |id: &str| {
            let mut live = lives.get(id).cloned().unwrap_or_default();
            if let Some(state) = stored.collections.get(id) {
                live.state = state.clone();
            }
            live
        };
        Ok(describe(&body, live, runs, self.parts.clock.now()))
    }

    /// Wakes whenever the status of a sync changes. `None` when the sync is not known.
    pub fn watch(&self, sync: SyncId) -> Option<watch::Receiver<u64>> {
        Some(self.lock().get(&sync)?.board.watch())
    }

    /// Reads a collection again without hiding what is there. When this answers, the request
    /// survives a restart; the reading goes on in the background.
    pub async fn backfill(
        &self,
        sync: SyncId,
        collection: &str,
        reread: Reread,
    ) -> Result<(), SyncError> {
        let desk = self.desk(sync).await?;
        let asks = desk
            .collections
            .get(collection)
            .ok_or(SyncError::NotRunning)?;
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Reread(reread, reply);
        asks.send(ask).await.map_err(|_| SyncError::NotRunning)?;
        answer.await.map_err(|_| SyncError::NotRunning)?
    }

    /// Looks for changes of a collection now, in the background.
    pub async fn check(&self, sync: SyncId, collection: &str) -> Result<(), SyncError> {
        let desk = self.desk(sync).await?;
        let asks = desk.collections.get(collection);
        let asks = asks.ok_or(SyncError::NotRunning)?;
        // Where the mailbox is full there will be a look soon.
        let asked = asks.try_send(Ask::Check).is_ok();
        let feed = desk
            .feed_of
            .get(collection)
            .and_then(|feed| desk.feeds.get(feed));
        let fed = feed.is_some_and(|feed| feed.try_send(FeedRequest::Check).is_ok());
        tracing::debug!(%sync, collection, asked, fed, "looking for changes");
        Ok(())
    }

    /// A sync was deleted: waits until nothing of it runs, and removes what is stored of its progress.
    pub async fn forget(self: &Arc<Self>, sync: SyncId) -> Result<(), SyncError> {
        self.changed(sync);
        self.in_effect(sync).await;
        self.parts.store.drop_cursors(sync, None).await?;
        Ok(())
    }

    /// Stops all syncs: what is being stored is stored, nothing new is asked.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Where a sync takes requests, once it runs as it was last changed.
    async fn desk(&self, sync: SyncId) -> Result<Desk, SyncError> {
        let entry = self.lock().get(&sync).cloned();
        let entry = entry.ok_or(SyncError::NotRunning)?;
        // Where the store hangs there is no waiting for it.
        let running = tokio::time::timeout(STARTS_WITHIN, entry.in_effect()).await;
        running.map_err(|_| SyncError::NotRunning)?;
        entry.desk().ok_or(SyncError::NotRunning)
    }

    /// The entry of a sync. A new one is run.
    fn entry(self: &Arc<Self>, sync: SyncId) -> Arc<Entry> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(&sync) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry::new(sync));
        entries.insert(sync, Arc::clone(&entry));
        let (supervisor, running) = (Arc::clone(self), Arc::clone(&entry));
        self.tasks.spawn(async move {
            let stop = supervisor.stop.clone();
            runner::run(supervisor.parts.clone(), running, stop).await;
            supervisor.lock().remove(&sync);
        });
        entry
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SyncId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
