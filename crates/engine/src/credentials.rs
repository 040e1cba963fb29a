//! Credentials: checked against the provider, sealed, one per upstream account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headrace_model::config::{self, Account as UpstreamAccount, Metadata, RateLimit};
use headrace_model::provider::{BadCredential, CredentialKind};
use headrace_model::secret::Secret;
use headrace_model::{CredentialId, OrgId};
use uuid::Uuid;

use crate::entity::{self, Stored, account_name};
use crate::error::Problems;
use crate::names::{check_metadata, check_name};
use crate::outbound::{MASK, seal_secrets};
use crate::providers::Provider;
use crate::verify::{Checked, cannot_open, unusable};
use crate::{Engine, Error};

/// A credential as it is given.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// Its kind, such as `stripe_key`, or an alias of one.
    pub kind: String,
    /// A name for people.
    pub name: Option<String>,
    /// Its fields, under any of their names.
    pub fields: Secret<BTreeMap<String, String>>,
    /// The OAuth app it was made with.
    pub oauth_app_id: Option<Uuid>,
    /// The user's own.
    pub metadata: Option<Metadata>,
    /// Whether to check it against the provider.
    pub verify: bool,
    /// The id that it is to have when it is new.
    pub id: Option<Uuid>,
}

/// Changes of a credential; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct CredentialPatch {
    /// A name for people.
    pub name: Option<Option<String>>,
    /// The user's own.
    pub metadata: Option<Metadata>,
    /// All its fields anew; masked ones stay as they are.
    pub fields: Option<Secret<BTreeMap<String, String>>>,
    /// The budget of the account.
    pub rate_limit: Option<Option<RateLimit>>,
}

/// A credential as it was given, found good, with what its check found.
pub(crate) struct Examined {
    id: CredentialId,
    provider: Arc<Provider>,
    kind: CredentialKind,
    fields: Fields,
    given: NewCredential,
    checked: Checked,
}

type Fields = BTreeMap<String, String>;

/// How often a write is repeated that somebody else came before: each time, one of them got through.
pub(crate) const ATTEMPTS: u32 = 100;

impl Engine {
    /// Takes a credential. One for an account that is known already updates it: the flag tells whether
    /// it is new.
    pub async fn put_credential(
        &self,
        org: OrgId,
        new: NewCredential,
    ) -> Result<(Stored<config::Credential>, bool), Error> {
        let examined = self.examine(new).await?;
        let mut attempt = 0;
        loop {
            let (mut credential, is_new) = self.merged(org, &examined).await?;
            attempt += 1;
            match credential.save(&*self.store, self.clock.now()).await {
                Err(error) if came_second(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(taken(error)),
                Ok(()) => {
                    self.credential_changed(&credential).await?;
                    return Ok((credential, is_new));
                }
            }
        }
    }

    /// Reads a credential as it was given, and asks the provider whether it works. Stores nothing.
    pub(crate) async fn examine(&self, given: NewCredential) -> Result<Examined, Error> {
        let mut problems = Problems::default();
        check_metadata(given.metadata.as_ref(), &mut problems);
        if let Some(name) = &given.name {
            check_name("name", name, &mut problems);
        }
        problems.check()?;
        let (provider, kind) = self.kind(&given.kind)?;
        let fields = kind.read(&given.fields.0).map_err(unusable)?;
        let id = CredentialId(given.id.unwrap_or_else(|| self.new_id()));
        let checked = match given.verify {
            true => self.verify(id, &provider, kind, &fields).await,
            false => Ok(self.unchecked()),
        };
        // Syncs share the budget of a stored credential; this one's served the check alone.
        self.sync.outbound.forget(id);
        Ok(Examined {
            id,
            kind: kind.clone(),
            provider,
            fields,
            given,
            checked: checked?,
        })
    }

    /// The credential that an examined one leads to: the one for the account that is known already, or
    /// a new one. The flag tells which. Not stored yet.
    pub(crate) async fn merged(
        &self,
        org: OrgId,
        examined: &Examined,
    ) -> Result<(Stored<config::Credential>, bool), Error> {
        let Examined {
            id,
            provider,
            kind,
            fields,
            given,
            checked,
        } = examined;
        let known = match &checked.account {
            Some(account) => {
                let name = account_name(&kind.id, account);
                let kind = headrace_store::Kind::Credential;
                let known = self.store.object_named(kind, org, &name).await?;
                known.map(|known| known.id)
            }
            None => None,
        };
        // What has this id was made by the same request, which did not live to answer.
        let known =
            entity::find::<config::Credential>(&*self.store, org, known.unwrap_or(id.0)).await?;
        if let Some(mut credential) = known {
            self.seal_into(&mut credential, kind, fields)?;
            let value = &mut credential.value;
            value.name = given.name.clone().or(value.name.take());
            value.metadata = given.metadata.clone().unwrap_or(value.metadata.clone());
            value.oauth_app_id = given.oauth_app_id.or(value.oauth_app_id);
            value.health = checked.health.clone();
            let is_new = credential.id == id.0;
            return Ok((credential, is_new));
        }
        let credential = config::Credential {
            provider: provider.definition.name.clone(),
            kind: kind.id.clone(),
            name: given.name.clone(),
            account: checked.account.clone(),
            last_account: checked.account.clone(),
            oauth_app_id: given.oauth_app_id,
            properties: Fields::new(),
            sealed: String::new(),
            secret_names: BTreeSet::new(),
            metadata: given.metadata.clone().unwrap_or_default(),
            health: checked.health.clone(),
            rate_limit: None,
            refresh: None,
        };
        let mut credential = Stored::new(id.0, org, self.clock.now(), credential);
        self.seal_into(&mut credential, kind, fields)?;
        Ok((credential, true))
    }

    /// The organisation's credentials.
    pub async fn credentials(&self, org: OrgId) -> Result<Vec<Stored<config::Credential>>, Error> {
        entity::all(&*self.store, Some(org)).await
    }

    /// A credential.
    pub async fn credential(
        &self,
        org: OrgId,
        id: Uuid,
    ) -> Result<Stored<config::Credential>, Error> {
        entity::load(&*self.store, org, id).await
    }

    /// Changes a credential. New fields are checked first; those of another account change nothing.
    pub async fn patch_credential(
        &self,
        org: OrgId,
        id: Uuid,
        patch: CredentialPatch,
        verify: bool,
    ) -> Result<Stored<config::Credential>, Error> {
        let mut credential = self.credential(org, id).await?;
        let CredentialPatch {
            name,
            metadata,
            fields,
            rate_limit,
        } = patch;
        if let Some(given) = fields {
            let (provider, kind) = self.kind(&credential.value.kind)?;
            let id = CredentialId(credential.id);
            let mut known = self.open(&credential)?;
            let given = given
                .0
                .into_iter()
                .filter(|(_, value)| value != MASK)
                .collect();
            let given = read_some(kind, &given)?;
            known.extend(given);
            let fields = kind.read(&known).map_err(unusable)?;
            let checked = match verify {
                true => self.verify(id, &provider, kind, &fields).await?,
                false => self.unchecked(),
            };
            let value = &mut credential.value;
            let known = value.account.take().or(value.last_account.take());
            same_account(known.as_ref(), checked.account.as_ref())?;
            // Fields that nobody has checked may be another account's: it merges with none.
            value.last_account = checked.account.clone().or(known);
            value.account = checked.account;
            credential.value.health = checked.health;
            self.seal_into(&mut credential, kind, &fields)?;
        }
        let value = &mut credential.value;
        if let Some(name) = name {
            let mut problems = Problems::default();
            check_name("name", name.as_deref().unwrap_or_default(), &mut problems);
            problems.check()?;
            value.name = name;
        }
        let mut problems = Problems::default();
        check_metadata(metadata.as_ref(), &mut problems);
        problems.check()?;
        value.metadata = metadata.unwrap_or_else(|| value.metadata.clone());
        value.rate_limit = rate_limit.unwrap_or(value.rate_limit);
        credential
            .save(&*self.store, self.clock.now())
            .await
            .map_err(taken)?;
        self.credential_changed(&credential).await?;
        Ok(credential)
    }

    /// Removes a credential that no sync reads with.
    pub async fn delete_credential(&self, org: OrgId, id: Uuid) -> Result<(), Error> {
        let credential = self.credential(org, id).await?;
        let used = self.syncs_of_credential(org, CredentialId(id)).await?.len();
        if used > 0 {
            let sentence = format!("{used} syncs read with this credential: remove them first");
            return Err(Error::Conflict(sentence));
        }
        self.store.write(vec![credential.delete()]).await?;
        self.sync.outbound.forget(CredentialId(id));
        Ok(())
    }

    pub(crate) fn open(&self, credential: &Stored<config::Credential>) -> Result<Fields, Error> {
        let id = CredentialId(credential.id);
        let secrets =
            crate::outbound::open_secrets(&self.sync.keyring, id, &credential.value.sealed);
        let mut fields = secrets.map_err(cannot_open)?;
        fields.extend(credential.value.properties.clone());
        Ok(fields)
    }

    pub(crate) fn kind(&self, id: &str) -> Result<(Arc<Provider>, &CredentialKind), Error> {
        let providers = self.sync.providers.iter();
        let mut kinds =
            providers.filter_map(|provider| Some((provider, provider.definition.credential(id)?)));
        kinds
            .next()
            .map(|(provider, kind)| (Arc::clone(provider), kind))
            .ok_or_else(|| {
                let known = self
                    .sync
                    .providers
                    .iter()
                    .flat_map(|provider| &provider.definition.credentials);
                let known: Vec<&str> = known.map(|kind| kind.id.as_str()).collect();
                Error::invalid(
                    "kind",
                    format!(
                        "{id:?} is not known here: expected one of {}",
                        known.join(", ")
                    ),
                )
            })
    }

    fn seal_into(
        &self,
        credential: &mut Stored<config::Credential>,
        kind: &CredentialKind,
        fields: &Fields,
    ) -> Result<(), Error> {
        let is_secret = |name: &str| {
            kind.fields
                .iter()
                .any(|field| field.name == name && field.secret)
        };
        let (secret, shown): (Fields, Fields) = fields
            .clone()
            .into_iter()
            .partition(|(name, _)| is_secret(name));
        let id = CredentialId(credential.id);
        credential.value.sealed =
            seal_secrets(&self.sync.keyring, id, &secret).map_err(cannot_open)?;
        credential.value.secret_names = secret.into_keys().collect();
        credential.value.properties = shown;
        Ok(())
    }

    /// What reads with the credential goes on with what it is now.
    pub(crate) async fn credential_changed(
        &self,
        credential: &Stored<config::Credential>,
    ) -> Result<(), Error> {
        let id = CredentialId(credential.id);
        if let Some(provider) = self.sync.providers.get(&credential.value.provider) {
            let default = crate::outbound::default_limit(&provider.definition);
            self.sync
                .outbound
                .set_limit(id, credential.value.rate_limit.unwrap_or(default));
        }
        for sync in self.syncs_of_credential(credential.org, id).await? {
            self.sync
                .supervisor
                .changed(headrace_model::SyncId(sync.id));
        }
        Ok(())
    }
}

/// Reads some of a kind's fields by any of their names; the others may be absent.
fn read_some(kind: &CredentialKind, given: &Fields) -> Result<Fields, Error> {
    let mut read = Fields::new();
    for (name, value) in given {
        let named = |field: &&headrace_model::provider::CredentialField| {
            field.name == *name || field.aliases.contains(name)
        };
        let field = kind.fields.iter().find(named);
        let field = field.ok_or_else(|| unusable(BadCredential::UnknownField(name.clone())))?;
        read.insert(field.name.clone(), value.clone());
    }
    Ok(read)
}

fn same_account(
    known: Option<&UpstreamAccount>,
    found: Option<&UpstreamAccount>,
) -> Result<(), Error> {
    match (known, found) {
        (Some(known), Some(found)) if known != found => Err(Error::Conflict(format!(
            "these are for the account {}, but the credential is for {}: make a new credential instead",
            found.id, known.id
        ))),
        _ => Ok(()),
    }
}

/// Whether somebody else wrote the credential meanwhile, or another one for the account.
pub(crate) fn came_second(error: &Error) -> bool {
    use headrace_store::{Kind, StoreError};
    matches!(
        error,
        Error::Store(
            StoreError::Changed {
                kind: Kind::Credential
            } | StoreError::NameTaken {
                kind: Kind::Credential,
                ..
            }
        )
    )
}

fn taken(error: Error) -> Error {
    match error {
        Error::Store(headrace_store::StoreError::NameTaken { .. }) => {
            let sentence = "there is another credential for this account: change that one instead";
            Error::Conflict(sentence.to_owned())
        }
        other => other,
    }
}
