//! What the use of a credential shows of it: that it is refused, and that it works again.

use std::sync::atomic::{AtomicBool, Ordering};

use headrace_model::config::Credential;
use headrace_model::health::{Health, HealthStatus};
use headrace_model::retry::Class;
use headrace_store::{Kind, StoreError, Write};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::SyncError;
use super::context::Context;
use super::runner;
use crate::outbound::{CallError, Response};

/// Somebody else may write the credential at the same time so many times.
const ATTEMPTS: usize = 5;

/// The credential of a running sync.
pub(super) struct InUse {
    id: Uuid,
    /// As it was when the sync was started.
    value: Credential,
    /// What its stored health says. Changed under the lock of who writes it.
    is_refused: AtomicBool,
    writing: Mutex<()>,
}

impl InUse {
    pub(super) fn new(id: Uuid, value: Credential) -> Self {
        Self {
            id,
            is_refused: AtomicBool::new(value.health.status == HealthStatus::Error),
            value,
            writing: Mutex::default(),
        }
    }
}

impl Context {
    /// Keeps what an answer shows of the credential in its health, when that is news.
    pub(super) async fn learn_of_credential(&self, answer: &Result<Response, CallError>) {
        let refusal = match answer {
            Ok(_) => None,
            Err(error) if error.class() == Class::Reauthorize => Some(error),
            Err(_) => return,
        };
        let in_use = &self.credential;
        let is_news = || in_use.is_refused.load(Ordering::SeqCst) != refusal.is_some();
        if !is_news() {
            return;
        }
        let _writing = in_use.writing.lock().await;
        if !is_news() {
            return;
        }
        let health = match refusal {
            Some(error) => {
                let note = format!("Reauthorise the account, or put in a new key: {error}.");
                Health::noted(HealthStatus::Error, note, self.now())
            }
            // As it was before; whether it was ever checked, its use does not tell.
            None if in_use.value.health.status != HealthStatus::Error => {
                in_use.value.health.clone()
            }
            None => Health::plain(HealthStatus::Healthy, self.now()),
        };
        match self.write_health(&health).await {
            Ok(()) => in_use.is_refused.store(refusal.is_some(), Ordering::SeqCst),
            Err(error) => {
                tracing::warn!(credential = %in_use.id, "its health could not be kept: {error}");
            }
        }
    }

    async fn write_health(&self, health: &Health) -> Result<(), SyncError> {
        for _ in 0..ATTEMPTS {
            match self.try_to_write_health(health).await {
                Err(SyncError::Store(StoreError::Changed { .. })) => {}
                written => return written,
            }
        }
        // Whoever changes it so often looks at it too.
        Ok(())
    }

    async fn try_to_write_health(&self, health: &Health) -> Result<(), SyncError> {
        let (store, in_use) = (&self.parts.store, &self.credential);
        let Some(mut object) = store.object(Kind::Credential, in_use.id).await? else {
            return Ok(());
        };
        let mut stored: Credential = runner::read(&object.body, "credential")?;
        if !runner::reads_alike(Some(&stored), Some(&in_use.value)) {
            // It has other secrets by now: the answer says nothing of them.
            return Ok(());
        }
        stored.health = health.clone();
        object.body = serde_json::to_vec(&stored).map_err(|source| SyncError::Damaged {
            what: "credential",
            source,
        })?;
        Ok(store.write(vec![Write::Put(object)]).await?)
    }
}
