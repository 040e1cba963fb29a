//! A gate per consumer: handing out goes through together, changing the settings goes through alone.
//!
//! So a `next` that begins after a patch was answered sees the patch, and a filter is never applied
//! to what another filter handed out meanwhile. Streams have gates for the same reason, and syncs: what
//! is made on one is not made while it is removed, what is wanted of one does not change in the middle of a
//! sweep's step, and a collection does not come back while it is purged. Who needs two takes a sync's before
//! its stream's, and a stream's before a consumer's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::RwLock;
use uuid::Uuid;

/// The gates of the consumers, streams and syncs that were used since the start.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<Uuid, Arc<RwLock<()>>>>);

impl Gates {
    /// The gate of this consumer, stream or sync.
    pub(crate) fn of(&self, id: Uuid) -> Arc<RwLock<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(id).or_default())
    }

    /// Forgets what was removed.
    pub(crate) fn forget(&self, id: Uuid) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }
}
