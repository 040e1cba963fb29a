//! An opened credential: everything a request to the provider needs of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headrace_model::CredentialId;
use headrace_model::config::{Credential, RateLimit};
use headrace_model::provider::{BadCredential, Definition};
use headrace_model::seal::{Keyring, SealError};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::random;
use crate::providers::{Provider, Providers};

/// What stands in the place of a secret.
pub const MASK: &str = "***********";

/// A credential that requests can be made with. Neither its debug form nor anything made with
/// [`Account::redact`] shows its secrets.
#[derive(Clone)]
pub struct Account {
    id: CredentialId,
    provider: Arc<Provider>,
    base: Url,
    headers: HeaderMap,
    secrets: Vec<String>,
    limit: RateLimit,
}

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The provider is not known (any more).
    #[error("there is no provider {name}")]
    NoSuchProvider {
        /// Its name.
        name: String,
    },
    /// The fields do not make a credential of this kind.
    #[error("the credential cannot be used")]
    Bad(#[source] BadCredential),
    /// The fields do not tell where the API is.
    #[error("the credential does not tell where the API of {name} is")]
    NoBase {
        /// The provider.
        name: String,
    },
    /// Its secrets cannot be opened.
    #[error("the credential's secrets cannot be opened: was the key file replaced?")]
    Sealed(#[source] SealError),
    /// What was sealed is not what is expected.
    #[error("the credential's secrets are damaged")]
    Damaged(#[source] serde_json::Error),
}

impl Account {
    /// The account of a credential of this kind and with these fields by their own names, the secret
    /// ones included ([`headrace_model::provider::CredentialKind::read`]).
    pub fn new(
        id: CredentialId,
        provider: Arc<Provider>,
        kind: &str,
        fields: &BTreeMap<String, String>,
        limit: Option<RateLimit>,
    ) -> Result<Self, AccountError> {
        let definition = &provider.definition;
        let base = provider.base(fields).ok_or_else(|| AccountError::NoBase {
            name: definition.name.clone(),
        })?;
        let secrets = secrets(definition, kind, fields);
        let headers = headers(definition, kind, fields)?;
        let limit = limit.unwrap_or_else(|| default_limit(definition));
        Ok(Self {
            id,
            base,
            headers,
            secrets,
            limit,
            provider,
        })
    }

    /// Opens a stored credential.
    pub fn open(
        id: CredentialId,
        credential: &Credential,
        providers: &Providers,
        keyring: &Keyring,
    ) -> Result<Self, AccountError> {
        let name = &credential.provider;
        let provider = providers
            .get(name)
            .ok_or_else(|| AccountError::NoSuchProvider { name: name.clone() })?;
        let mut fields = open_secrets(keyring, id, &credential.sealed)?;
        fields.extend(credential.properties.clone());
        let provider = Arc::clone(provider);
        Self::new(
            id,
            provider,
            &credential.kind,
            &fields,
            credential.rate_limit,
        )
    }

    /// The credential.
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// The provider's definition.
    pub fn definition(&self) -> &Definition {
        &self.provider.definition
    }

    /// The text with every secret of the credential masked.
    pub fn redact(&self, text: &str) -> String {
        let secrets = self.secrets.iter();
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("provider", &self.provider.definition.name)
            .finish_non_exhaustive()
    }
}

/// Seals the secret fields of a credential: the text for [`Credential::sealed`].
pub fn seal_secrets(
    keyring: &Keyring,
    id: CredentialId,
    secrets: &BTreeMap<String, String>,
) -> Result<String, AccountError> {
    let json = serde_json::to_vec(secrets).map_err(AccountError::Damaged)?;
    keyring
        .seal(&bound_to(id), random(), &json)
        .map_err(AccountError::Sealed)
}

/// Opens the secret fields of a credential.
pub fn open_secrets(
    keyring: &Keyring,
    id: CredentialId,
    sealed: &str,
) -> Result<BTreeMap<String, String>, AccountError> {
    let json = keyring
        .open(&bound_to(id), sealed)
        .map_err(AccountError::Sealed)?;
    serde_json::from_slice(&json).map_err(AccountError::Damaged)
}

/// Whether the secret fields of a credential were sealed with one of these keys.
pub(crate) fn can_open(keyring: &Keyring, id: CredentialId, sealed: &str) -> Result<(), SealError> {
    keyring.open(&bound_to(id), sealed).map(drop)
}

/// The budget of a credential where the user sets none.
pub fn default_limit(definition: &Definition) -> RateLimit {
    let limits = &definition.limits;
    RateLimit {
        allowed_requests: limits.requests,
        interval: limits.per.as_secs_f64(),
        max_concurrent_requests: limits.concurrent,
    }
}

fn bound_to(id: CredentialId) -> Vec<u8> {
    format!("credential {id}").into_bytes()
}

fn secrets(definition: &Definition, kind: &str, fields: &BTreeMap<String, String>) -> Vec<String> {
    let Some(kind) = definition.credential(kind) else {
        return Vec::new();
    };
    let secret = kind.fields.iter().filter(|field| field.secret);
    secret
        .filter_map(|field| fields.get(&field.name))
        .filter(|value| !value.is_empty())
        .cloned()
        .collect()
}

fn headers(
    definition: &Definition,
    kind: &str,
    fields: &BTreeMap<String, String>,
) -> Result<HeaderMap, AccountError> {
    let mut headers = HeaderMap::new();
    for header in definition
        .headers(kind, fields)
        .map_err(AccountError::Bad)?
    {
        let not_a_header = || AccountError::Bad(BadCredential::NotAHeader(header.name.clone()));
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| not_a_header())?;
        let mut value = HeaderValue::from_str(&header.value).map_err(|_| not_a_header())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
