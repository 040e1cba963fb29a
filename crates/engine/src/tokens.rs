//! Organisations and API tokens.

use std::collections::BTreeSet;

use headrace_model::config::{self, Scope};
use headrace_model::{OrgId, StreamId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::clock::random;
use crate::entity::{self, Entity, Stored};
use crate::{Engine, Error};

/// Who calls, and what they may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The organisation. Nothing of another exists for this caller.
    pub org: OrgId,
    /// The token's id.
    pub token: Uuid,
    /// What the token may do.
    pub scopes: BTreeSet<Scope>,
    /// Only these consumers, where given.
    pub consumer_ids: Option<BTreeSet<Uuid>>,
    /// Only these streams, where given.
    pub stream_ids: Option<BTreeSet<StreamId>>,
}

impl Caller {
    /// Whether a scope is given; `admin` gives all.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Why a token was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// It is no token of this installation.
    Unknown,
    /// It was revoked.
    Revoked,
}

/// An API token as it is stored: the settings and the hash of the secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredToken {
    /// The settings.
    pub token: config::ApiToken,
    /// SHA-256 of the whole token text.
    hash: [u8; 32],
    /// Revoked tokens are kept, so that their use can be told from a mistyped one.
    #[serde(default)]
    pub revoked: bool,
}

impl Entity for StoredToken {
    const KIND: headrace_store::Kind = headrace_store::Kind::Token;
    const WHAT: &'static str = "API token";
}

/// Every token's text begins with this.
const PREFIX: &str = "hrt_";

impl Engine {
    /// Makes an organisation.
    pub async fn create_org(&self, name: String) -> Result<Stored<config::Org>, Error> {
        let mut problems = crate::error::Problems::default();
        crate::names::check_name("name", &name, &mut problems);
        if name.trim().is_empty() {
            problems.add("name", "must not be empty");
        }
        problems.check()?;
        if self.orgs().await?.iter().any(|org| org.value.name == name) {
            return Err(Error::Conflict(format!(
                "there is an organisation {name:?} already"
            )));
        }
        let id = self.new_id();
        let now = self.clock.now();
        let mut org = Stored::new(id, OrgId(id), now, config::Org { name });
        org.save(&*self.store, now).await?;
        Ok(org)
    }

    /// An organisation.
    pub async fn org(&self, org: OrgId) -> Result<Stored<config::Org>, Error> {
        entity::load(&*self.store, org, org.0).await
    }

    /// Every organisation of the installation.
    pub async fn orgs(&self) -> Result<Vec<Stored<config::Org>>, Error> {
        entity::all(&*self.store, None).await
    }

    /// The first organisation, made at the first start.
    pub async fn first_org(&self) -> Result<OrgId, Error> {
        match self.orgs().await?.first() {
            Some(org) => Ok(OrgId(org.id)),
            None => Ok(OrgId(self.create_org("default".to_owned()).await?.id)),
        }
    }

    /// Makes an API token. The text is the only time its value is seen. `id` is the one it is to have.
    pub async fn create_token(
        &self,
        org: OrgId,
        token: config::ApiToken,
        id: Option<Uuid>,
    ) -> Result<(Stored<StoredToken>, String), Error> {
        let mut problems = crate::error::Problems::default();
        crate::names::check_name("name", &token.name, &mut problems);
        if token.scopes.is_empty() {
            problems.add(
                "scopes",
                "must have at least one of admin, read, consume, mutate, proxy",
            );
        }
        problems.check()?;
        let id = id.unwrap_or_else(|| self.new_id());
        let text = format!("{PREFIX}{}{}", id.simple(), hex(&random::<32>()));
        let now = self.clock.now();
        let hash = digest(&text);
        let mut stored = Stored::new(
            id,
            org,
            now,
            StoredToken {
                token,
                hash,
                revoked: false,
            },
        );
        // Made by the same request, which did not live to answer: nobody has seen that value.
        let made = entity::find::<StoredToken>(&*self.store, org, id).await?;
        stored.revision = made.map_or(0, |made| made.revision);
        stored.save(&*self.store, now).await?;
        Ok((stored, text))
    }

    /// The organisation's tokens that are not revoked.
    pub async fn tokens(&self, org: OrgId) -> Result<Vec<Stored<StoredToken>>, Error> {
        let mut tokens = entity::all::<StoredToken>(&*self.store, Some(org)).await?;
        tokens.retain(|token| !token.value.revoked);
        Ok(tokens)
    }

    /// Revokes a token, at once.
    pub async fn revoke_token(&self, org: OrgId, id: Uuid) -> Result<(), Error> {
        let mut token = entity::load::<StoredToken>(&*self.store, org, id).await?;
        if token.value.revoked {
            return Err(Error::not_found(StoredToken::WHAT, id));
        }
        token.value.revoked = true;
        token.save(&*self.store, self.clock.now()).await?;
        self.reconfigured.notify_waiters();
        Ok(())
    }

    /// Whether a caller's token still is good: for answers that go on for long.
    pub async fn still_good(&self, caller: &Caller) -> Result<bool, Error> {
        if caller.token.is_nil() {
            return Ok(true);
        }
        let token = entity::find::<StoredToken>(&*self.store, caller.org, caller.token).await?;
        Ok(token.is_some_and(|token| !token.value.revoked))
    }

    /// Who presents this token. Compared in constant time; only hashes are kept.
    pub async fn authenticate(&self, text: &str) -> Result<Result<Caller, TokenError>, Error> {
        if let Some(admin) = &self.admin_token
            && bool::from(admin.hash.ct_eq(&digest(text)))
        {
            return Ok(Ok(admin.caller.clone()));
        }
        let id = text.strip_prefix(PREFIX).and_then(|rest| rest.get(..32));
        let Some(id) = id.and_then(|id| Uuid::try_parse(id).ok()) else {
            return Ok(Err(TokenError::Unknown));
        };
        let Some(token) = entity::load_any::<StoredToken>(&*self.store, id).await? else {
            return Ok(Err(TokenError::Unknown));
        };
        if !bool::from(token.value.hash.ct_eq(&digest(text))) {
            return Ok(Err(TokenError::Unknown));
        }
        if token.value.revoked {
            return Ok(Err(TokenError::Revoked));
        }
        let config::ApiToken {
            name: _,
            scopes,
            consumer_ids,
            stream_ids,
        } = token.value.token;
        Ok(Ok(Caller {
            org: token.org,
            token: token.id,
            scopes,
            consumer_ids,
            stream_ids,
        }))
    }
}

/// The token of the environment: accepted as an admin of the first organisation, never stored.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    hash: [u8; 32],
    caller: Caller,
}

impl AdminToken {
    pub(crate) fn new(text: &str, org: OrgId) -> Self {
        let scopes = BTreeSet::from([Scope::Admin]);
        let caller = Caller {
            org,
            token: Uuid::nil(),
            scopes,
            consumer_ids: None,
            stream_ids: None,
        };
        Self {
            hash: digest(text),
            caller,
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
