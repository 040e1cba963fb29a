//! Asking a provider whether a credential works, and which account it opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use headrace_model::CredentialId;
use headrace_model::config::Account as UpstreamAccount;
use headrace_model::health::{Health, HealthStatus};
use headrace_model::json;
use headrace_model::provider::{BadCredential, CredentialKind, Failure};
use headrace_model::quota::Priority;

use crate::outbound::{Account, AccountError, Call, CallError};
use crate::providers::Provider;
use crate::{Engine, Error};

/// What a check found.
pub(crate) struct Checked {
    pub account: Option<UpstreamAccount>,
    pub health: Health,
}

impl Engine {
    pub(crate) fn unchecked(&self) -> Checked {
        let note = "not checked yet: taken with verify=false";
        let health = Health::noted(HealthStatus::Initializing, note, self.clock.now());
        Checked {
            account: None,
            health,
        }
    }

    /// Asks the provider whether the credential works. Refused is an error with the provider's words;
    /// where the question itself is forbidden or not known there, it is taken unverified.
    pub(crate) async fn verify(
        &self,
        id: CredentialId,
        provider: &Arc<Provider>,
        kind: &CredentialKind,
        fields: &BTreeMap<String, String>,
    ) -> Result<Checked, Error> {
        let account =
            Account::new(id, Arc::clone(provider), &kind.id, fields, None).map_err(cannot_open)?;
        let now = self.clock.now();
        let (mut found, mut live, mut doubt) = (None, None, None);
        for check in &provider.definition.checks {
            let call = Call {
                account: &account,
                request: &check.request,
                priority: Priority::Write,
                sync: None,
            };
            match self.sync.outbound.send_once(call).await {
                Ok(answer) => {
                    let mut body = Vec::new();
                    if json::compact(&answer.body, &mut body).is_err() {
                        doubt = Some("the answer is not JSON".to_owned());
                        continue;
                    }
                    let text = |path| json::text(&body, path).map(|text| text.into_owned());
                    found = check.account.as_ref().and_then(text).or(found);
                    let mode = check.livemode.as_ref().and_then(text);
                    live = mode.and_then(|mode| mode.parse().ok()).or(live);
                }
                Err(error) => match error.failure() {
                    Some(Failure::Reauthorize) => return Err(refused(kind, &error)),
                    Some(
                        Failure::Forbidden | Failure::Gone | Failure::Hidden | Failure::Rejected,
                    ) => {
                        doubt = Some(error.to_string());
                    }
                    _ if error.timed_out() => {
                        return Err(Error::UpstreamTimeout(crate::chain(&error)));
                    }
                    _ => return Err(Error::Upstream(crate::chain(&error))),
                },
            }
        }
        // Where the provider tells live from test, an account whose mode is not known could be either:
        // it merges with neither.
        let has_modes = provider
            .definition
            .checks
            .iter()
            .any(|check| check.livemode.is_some());
        let identified = !has_modes || live.is_some();
        let account = found
            .filter(|_| identified)
            .map(|id| UpstreamAccount { id, live });
        let health = match (&account, doubt) {
            (Some(_), _) => Health::plain(HealthStatus::Healthy, now),
            (None, Some(doubt)) => {
                let note = format!("taken unverified: it could not be checked, as {doubt}");
                Health::noted(HealthStatus::Warning, note, now)
            }
            (None, None) => Health::noted(
                HealthStatus::Warning,
                "taken unverified: the provider did not name the account",
                now,
            ),
        };
        Ok(Checked { account, health })
    }
}

fn refused(kind: &CredentialKind, error: &CallError) -> Error {
    let secret = kind.fields.iter().find(|field| field.secret);
    let field = secret.map_or("properties".to_owned(), |field| {
        format!("properties.{}", field.name)
    });
    Error::invalid(field, format!("was refused: {error}"))
}

/// The field that a credential's fields fail by.
pub(crate) fn unusable(bad: BadCredential) -> Error {
    let reason = bad.to_string();
    match bad {
        BadCredential::UnknownKind(_) => Error::invalid("kind", reason),
        BadCredential::UnknownField(field)
        | BadCredential::Twice(field)
        | BadCredential::Missing(field) => Error::invalid(format!("properties.{field}"), reason),
        BadCredential::NotAHeader(_) => Error::invalid("properties", reason),
    }
}

/// The field by which a credential cannot be used, or why it cannot be opened.
pub(crate) fn cannot_open(error: AccountError) -> Error {
    match error {
        AccountError::Bad(bad) => unusable(bad),
        AccountError::NoBase { .. } => Error::invalid("properties", error.to_string()),
        AccountError::NoSuchProvider { .. } => Error::invalid("kind", error.to_string()),
        other => Error::Sealing {
            action: "use",
            source: Box::new(other),
        },
    }
}
