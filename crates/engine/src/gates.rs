//! A gate per consumer: handing out goes through together, changing the settings goes through alone.
//!
//! So a `next` that begins after a patch was answered sees the patch, and a filter is never applied
//! to what another filter handed out meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use headrace_model::ConsumerId;
use tokio::sync::RwLock;

/// The gates of the consumers that were used since the start.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<ConsumerId, Arc<RwLock<()>>>>);

impl Gates {
    /// The consumer's gate.
    pub(crate) fn of(&self, consumer: ConsumerId) -> Arc<RwLock<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(consumer).or_default())
    }

    /// Forgets a consumer that was removed.
    pub(crate) fn forget(&self, consumer: ConsumerId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&consumer);
    }
}
