//! A credential's secret fields: sealed when stored, opened only to be used.

use std::collections::BTreeMap;

use headrace_model::config::Credential;
use headrace_model::seal::Keyring;
use headrace_model::{CredentialId, provider::CredentialKind};

use crate::Error;
use crate::clock::random;

/// The fields of a credential, secret ones included, by their own names.
pub type Fields = BTreeMap<String, String>;

/// Splits fields into what may be shown and the sealed rest, bound to this credential.
pub(crate) fn seal(
    keyring: &Keyring,
    id: CredentialId,
    kind: &CredentialKind,
    fields: &Fields,
) -> Result<Sealed, Error> {
    let is_secret = |name: &str| kind.fields.iter().any(|field| field.name == name && field.secret);
    let (secret, shown): (Fields, Fields) =
        fields.clone().into_iter().partition(|(name, _)| is_secret(name));
    let secret_names = secret.keys().cloned().collect();
    let text = serde_json::to_vec(&secret)
        .map_err(|source| Error::Sealing { action: "write", source: Box::new(source) })?;
    let sealed = keyring
        .seal(aad(id).as_bytes(), random(), &text)
        .map_err(|source| Error::Sealing { action: "seal", source: Box::new(source) })?;
    Ok(Sealed { shown, secret_names, sealed })
}

/// Fields as they are stored.
pub(crate) struct Sealed {
    pub(crate) shown: Fields,
    pub(crate) secret_names: std::collections::BTreeSet<String>,
    pub(crate) sealed: String,
}

/// Opens a stored credential: all its fields.
pub fn open(keyring: &Keyring, id: CredentialId, credential: &Credential) -> Result<Fields, Error> {
    let text = keyring
        .open(aad(id).as_bytes(), &credential.sealed)
        .map_err(|source| Error::Sealing { action: "open", source: Box::new(source) })?;
    let secret: Fields = serde_json::from_slice(&text)
        .map_err(|source| Error::Sealing { action: "read", source: Box::new(source) })?;
    Ok(credential.properties.clone().into_iter().chain(secret).collect())
}

/// Binds sealed text to its place: moved to another credential it does not open.
fn aad(id: CredentialId) -> String {
    format!("credential {id}")
}
