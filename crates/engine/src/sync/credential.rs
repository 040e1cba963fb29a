//! What the use of a credential shows of it: that it is refused, and that it works again.

use std::sync::atomic::{AtomicBool, Ordering};

use headrace_model::config::Credential;
use headrace_model::health::{Health, HealthStatus};
use headrace_model::retry::Class;
use headrace_store::{Kind, StoreError, Write};
use uuid::Uuid;

use super::SyncError;
use super::context::Context;
use super::runner;
use crate::outbound::{CallError, Response};

/// The credential of a running sync.
pub(super) struct InUse {
    id: Uuid,
    /// As it was when the sync was started.
    value: Credential,
    is_refused: AtomicBool,
}

impl InUse {
    pub(super) fn new(id: Uuid, value: Credential) -> Self {
        let is_refused = AtomicBool::new(value.health.status == HealthStatus::Error);
        Self {
            id,
            value,
            is_refused,
        }
    }
}

impl Context {
    /// Keeps what an answer shows of the credential in its health, when that is news.
    pub(super) async fn learn_of_credential(&self, answer: &Result<Response, CallError>) {
        let (refused, health) = match answer {
            Ok(_) => (false, Health::plain(HealthStatus::Healthy, self.now())),
            Err(error) if error.class() == Class::Reauthorize => {
                let note = format!("Reauthorise the account, or put in a new key: {error}.");
                (true, Health::noted(HealthStatus::Error, note, self.now()))
            }
            Err(_) => return,
        };
        let in_use = &self.credential;
        if in_use.is_refused.swap(refused, Ordering::SeqCst) == refused {
            return;
        }
        match self.write_health(health).await {
            // Somebody changes it just now, and looks at it then.
            Ok(()) | Err(SyncError::Store(StoreError::Changed { .. })) => {}
            Err(error) => {
                tracing::warn!(credential = %in_use.id, "its health could not be kept: {error}");
                in_use.is_refused.store(!refused, Ordering::SeqCst);
            }
        }
    }

    async fn write_health(&self, health: Health) -> Result<(), SyncError> {
        let (store, in_use) = (&self.parts.store, &self.credential);
        let Some(mut object) = store.object(Kind::Credential, in_use.id).await? else {
            return Ok(());
        };
        let mut stored: Credential = runner::read(&object.body, "credential")?;
        if !runner::reads_alike(Some(&stored), Some(&in_use.value)) {
            // It has other secrets by now: the answer says nothing of them.
            return Ok(());
        }
        stored.health = health;
        object.body = serde_json::to_vec(&stored).map_err(|source| SyncError::Damaged {
            what: "credential",
            source,
        })?;
        Ok(store.write(vec![Write::Put(object)]).await?)
    }
}
