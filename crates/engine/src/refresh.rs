//! Looking for a credential's collections. Those of a definition are declared, so what is looked for is
//! whether the credential still opens them.

use std::sync::Arc;

use headrace_model::config::{self, Refresh};
use headrace_model::{CredentialId, OrgId};
use headrace_store::StoreError;
use uuid::Uuid;

use crate::entity::{self, Stored};
use crate::under_way::UnderWay;
use crate::{Engine, Error};

/// Somebody else may change the credential at the same time so many times.
const ATTEMPTS: usize = 5;

/// The looks that are under way, by credential.
pub(crate) type Refreshes = UnderWay<Uuid, ()>;

/// How the last look for a credential's collections went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefreshView {
    /// Whether one is under way.
    pub is_running: bool,
    /// When it began and succeeded last, and why it failed.
    pub last: Refresh,
}

impl Engine {
    /// Looks in the background, unless somebody does so already.
    pub async fn start_refresh(
        self: &Arc<Self>,
        org: OrgId,
        id: Uuid,
    ) -> Result<RefreshView, Error> {
        self.credential(org, id).await?;
        if let Ok(under_way) = self.refreshes.begin(&id, ()) {
            self.note_refresh(org, id, |refresh, now| {
                refresh.last_started_at = Some(now);
                // Until it is known better.
                refresh.error = Some("it was cut off: start it again".to_owned());
            })
            .await?;
            let engine = Arc::clone(self);
            self.tasks.spawn(async move {
                engine.refresh(org, id).await;
                drop(under_way);
            });
        }
        self.refresh_of(org, id).await
    }

    /// How the last look went. Before any, the declared collections are known since the credential is.
    pub async fn refresh_of(&self, org: OrgId, id: Uuid) -> Result<RefreshView, Error> {
        let is_running = self.refreshes.has(&id);
        let credential = self.credential(org, id).await?;
        let since = Some(credential.created_at);
        let declared = Refresh {
            last_started_at: since,
            last_succeeded_at: since,
            error: None,
        };
        let mut last = credential.value.refresh.unwrap_or(declared);
        if is_running {
            last.error = None;
        }
        Ok(RefreshView { is_running, last })
    }

    async fn refresh(&self, org: OrgId, id: Uuid) {
        let found = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            found = self.still_opens(org, id) => found,
        };
        let noted = self.note_refresh(org, id, |refresh, now| match &found {
            Ok(()) => {
                refresh.last_succeeded_at = Some(now);
                refresh.error = None;
            }
            Err(error) => refresh.error = Some(error.to_string()),
        });
        if let Err(error) = noted.await {
            let error = crate::chain(&error);
            tracing::warn!(credential = %id, error, "how looking for collections went was not kept");
        }
    }

    async fn still_opens(&self, org: OrgId, id: Uuid) -> Result<(), Error> {
        let credential = self.credential(org, id).await?;
        let (provider, kind) = self.kind(&credential.value.kind)?;
        let fields = self.open(&credential)?;
        self.verify(CredentialId(id), &provider, kind, &fields)
            .await?;
        Ok(())
    }

    async fn note_refresh(
        &self,
        org: OrgId,
        id: Uuid,
        change: impl Fn(&mut Refresh, headrace_model::Timestamp),
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let mut written = Ok(());
        for _ in 0..ATTEMPTS {
            let mut credential: Stored<config::Credential> =
                entity::load(&*self.store, org, id).await?;
            change(credential.value.refresh.get_or_insert_default(), now);
            written = credential.save(&*self.store, now).await;
            if !matches!(written, Err(Error::Store(StoreError::Changed { .. }))) {
                break;
            }
        }
        written
    }
}
