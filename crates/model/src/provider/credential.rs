//! Credentials: which fields a kind takes, and the headers that follow from them.

use std::collections::BTreeMap;
use std::fmt;

use super::Definition;
use super::format::AuthFile;

/// A kind of credential.
#[derive(Clone, Debug)]
pub struct CredentialKind {
    /// Its id, such as `stripe_key`.
    pub id: String,
    /// The name people know it by.
    pub title: String,
    /// Other ids it is accepted under.
    pub aliases: Vec<String>,
    /// Its fields, in the order of the file.
    pub fields: Vec<CredentialField>,
    pub(super) auth: Auth,
}

/// How a credential is shown to the provider.
#[derive(Clone, Debug)]
pub(super) enum Auth {
    /// `Authorization: Bearer …` with the value of this field.
    Bearer(String),
    /// A header of its own.
    Header {
        name: String,
        value: super::syntax::Template,
    },
}

/// A field of a credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialField {
    /// Its name.
    pub name: String,
    /// The name people know it by.
    pub title: String,
    /// Whether it must never be shown again.
    pub secret: bool,
    /// Whether it may be absent.
    pub optional: bool,
    /// Other names it is accepted under.
    pub aliases: Vec<String>,
}

/// A header of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value. It may be a secret: it is left out of the debug form.
    pub value: String,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A credential cannot be used as it is given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCredential {
    /// The provider has no such kind.
    #[error("there is no credential kind {0}")]
    UnknownKind(String),
    /// The kind has no such field.
    #[error("the credential has no field {0}")]
    UnknownField(String),
    /// A field is given twice, under two of its names.
    #[error("the credential's field {0} is given twice")]
    Twice(String),
    /// A field is missing or empty.
    #[error("the credential lacks its field {0}")]
    Missing(String),
    /// A value has characters that no header can carry, such as a line break.
    #[error("the header {0} cannot carry the credential's value")]
    NotAHeader(String),
}

impl CredentialKind {
    /// The fields by their own names, from how they were given. Empty values count as absent.
    pub fn read(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, BadCredential> {
        let mut fields = BTreeMap::new();
        for (name, value) in given {
            let field = self
                .field(name)
                .ok_or_else(|| BadCredential::UnknownField(name.clone()))?;
            if value.is_empty() {
                continue;
            }
            if fields.insert(field.name.clone(), value.clone()).is_some() {
                return Err(BadCredential::Twice(field.name.clone()));
            }
        }
        let missing = self
            .fields
            .iter()
            .find(|field| !field.optional && !fields.contains_key(&field.name));
        missing.map_or(Ok(fields), |field| {
            Err(BadCredential::Missing(field.name.clone()))
        })
    }

    fn field(&self, name: &str) -> Option<&CredentialField> {
        self.fields
            .iter()
            .find(|field| field.name == name || field.aliases.iter().any(|alias| alias == name))
    }
}

impl Definition {
    /// The headers of every request with a credential of this kind and these fields (by their own
    /// names). A header whose optional variable is absent is left out.
    pub fn headers(
        &self,
        kind: &str,
        fields: &BTreeMap<String, String>,
    ) -> Result<Vec<Header>, BadCredential> {
        let unknown = || BadCredential::UnknownKind(kind.to_owned());
        let credential = self.credential(kind).ok_or_else(unknown)?;
        let mut values = fields.clone();
        if let Some(version) = &self.version {
            values.insert("version".to_owned(), version.clone());
        }
        let mut headers = vec![credential.auth.header(&values)?];
        for (name, template) in &self.headers {
            match template.fill_from(&values) {
                Some(value) => headers.push(header(name, value)?),
                None => {
                    let mut needed = template
                        .variables()
                        .filter(|(variable, _)| !values.contains_key(*variable));
                    if let Some((variable, false)) = needed.find(|(_, optional)| !optional) {
                        return Err(BadCredential::Missing(variable.to_owned()));
                    }
                }
            }
        }
        Ok(headers)
    }
}

impl Auth {
    fn header(&self, values: &BTreeMap<String, String>) -> Result<Header, BadCredential> {
        match self {
            Self::Bearer(field) => {
                let token = values
                    .get(field)
                    .ok_or_else(|| BadCredential::Missing(field.clone()))?;
                header("Authorization", format!("Bearer {token}"))
            }
            Self::Header { name, value } => {
                let value = value
                    .fill_from(values)
                    .ok_or_else(|| BadCredential::Missing(name.clone()))?;
                header(name, value)
            }
        }
    }

    pub(super) fn from_file(file: AuthFile) -> Self {
        match file {
            AuthFile::Bearer(field) => Self::Bearer(field),
            AuthFile::Header { name, value } => Self::Header { name, value },
        }
    }
}

fn header(name: &str, value: String) -> Result<Header, BadCredential> {
    if value.chars().any(|c| !matches!(c, ' '..='~')) {
        return Err(BadCredential::NotAHeader(name.to_owned()));
    }
    let name = name.to_owned();
    Ok(Header { name, value })
}
