//! The catalogue: providers and their collections.

use std::sync::Arc;

use headrace_model::OrgId;
use headrace_model::config;
use uuid::Uuid;

use crate::entity::Stored;
use crate::providers::Provider;
use crate::{Engine, Error};

impl Engine {
    /// The providers this installation knows.
    pub fn providers(&self) -> Vec<Arc<Provider>> {
        self.sync.providers.iter().cloned().collect()
    }

    /// A provider.
    pub fn provider(&self, name: &str) -> Result<Arc<Provider>, Error> {
        let found = self.sync.providers.get(name).cloned();
        found.ok_or_else(|| Error::not_found("provider", name))
    }

    /// The provider of a credential, whose collections it opens.
    pub async fn provider_of_credential(
        &self,
        org: OrgId,
        credential: Uuid,
    ) -> Result<(Stored<config::Credential>, Arc<Provider>), Error> {
        let credential = self.credential(org, credential).await?;
        let provider = self.provider(&credential.value.provider)?;
        Ok((credential, provider))
    }
}
