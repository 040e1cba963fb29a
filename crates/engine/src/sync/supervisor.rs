//! The supervisor: one runner for each enabled sync.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::seal::Keyring;
use headrace_model::{SyncId, Timestamp};
use headrace_store::Store;
use uuid::Uuid;

use super::{SyncError, SyncStatus};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::providers::Providers;

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
    All,
    /// What was created at the provider since then.
    Since(Timestamp),
    /// These records.
    UpstreamIds(Vec<String>),
}

/// Runs the enabled syncs.
pub struct Supervisor;

impl Supervisor {
    /// Starts all enabled syncs.
    pub async fn start(_parts: Parts) -> Result<Arc<Self>, SyncError> {
        Err(SyncError::Stopped)
    }

    /// A sync was created, patched, enabled, disabled, paused or deleted, or its credential was
    /// changed: brings what runs in line with what is stored.
    pub fn changed(&self, _sync: SyncId) {}

    /// How a sync is doing: from what is stored where it does not run.
    pub async fn status(&self, _sync: SyncId) -> Result<SyncStatus, SyncError> {
        Err(SyncError::Stopped)
    }

    /// Reads a collection again without hiding what is there. When this answers, the request
    /// survives a restart; the reading goes on in the background.
    pub async fn backfill(
        &self,
        _sync: SyncId,
        _collection: &str,
        _reread: Reread,
    ) -> Result<(), SyncError> {
        Err(SyncError::Stopped)
    }

    /// Looks for changes of a collection now.
    pub fn check(&self, _sync: SyncId, _collection: &str) -> Result<(), SyncError> {
        Err(SyncError::Stopped)
    }

    /// Forgets all states of a sync that was deleted. Stops it first.
    pub async fn forget(&self, _sync: SyncId) -> Result<(), SyncError> {
        Err(SyncError::Stopped)
    }

    /// Stops all syncs: the pages in flight are stored, nothing new is asked.
    pub async fn shutdown(&self) {}
}
