//! `/v1/credentials`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headrace_engine::{CredentialPatch, NewCredential, Stored};
use headrace_model::Timestamp;
use headrace_model::config::{self, Metadata};
use headrace_model::health::Health;
use headrace_model::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, CanRead, unbound};
use super::error::ApiError;
use super::extract::{Body, IdPath, Query};
use super::idempotency::{MASK, NewId};
use super::list::{List, Part, contains, metadata_filter};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_credential, list_credentials))
        .routes(routes!(
            get_credential,
            update_credential,
            delete_credential
        ))
}

/// A new credential: `{properties: {kind, …}, …}`, or flat: `{kind, access_token, …}`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct CredentialIn {
    /// The kind and its fields, such as `{"kind": "stripe_key", "secret": "sk_…"}`.
    #[schema(value_type = Option<Object>)]
    properties: Option<Secret<Map<String, Value>>>,
    /// A name for people.
    name: Option<String>,
    /// The OAuth app it was made with.
    oauth_app_id: Option<Uuid>,
    /// The user's own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
    /// The flat form: the kind and its fields beside the others.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    flat: Secret<Map<String, Value>>,
}

impl CredentialIn {
    pub(super) fn read(self, verify: bool, id: Option<Uuid>) -> Result<NewCredential, ApiError> {
        let Self {
            properties,
            name,
            oauth_app_id,
            metadata,
            flat: Secret(flat),
        } = self;
        let (mut fields, nested) = match properties {
            Some(Secret(properties)) if flat.is_empty() => (properties, true),
            Some(_) => {
                let extra = flat.keys().next().cloned().unwrap_or_default();
                let reason =
                    "is not a field here: the credential's own fields belong into properties";
                return Err(ApiError::invalid(extra, reason));
            }
            None => (flat, false),
        };
        let path = |field: &str| {
            if nested {
                format!("properties.{field}")
            } else {
                field.to_owned()
            }
        };
        let kind = match fields.remove("kind") {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(ApiError::invalid(path("kind"), "must be a text")),
            None => {
                return Err(ApiError::invalid(
                    path("kind"),
                    "is needed, such as stripe_key",
                ));
            }
        };
        let fields = texts(fields, path)?;
        Ok(NewCredential {
            kind,
            name,
            fields: Secret(fields),
            oauth_app_id,
            metadata,
            verify,
            id,
        })
    }
}

fn texts(
    fields: Map<String, Value>,
    path: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>, ApiError> {
    let read = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(number) => Ok((name, number.to_string())),
        _ => Err(ApiError::invalid(path(&name), "must be a text")),
    };
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(read)
        .collect()
}

/// Changes of a credential; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CredentialChange {
    /// A name for people.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    name: Option<Option<String>>,
    /// The user's own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
    /// New values of its fields; masked ones stay.
    #[schema(value_type = Option<Object>)]
    properties: Option<Secret<Map<String, Value>>>,
    /// The budget of the account; `null` for the provider's default.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<super::sync_docs::RateLimitDoc>)]
    rate_limit: Option<Option<super::sync_docs::RateLimitDoc>>,
}

/// A credential.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CredentialOut {
    /// Its id.
    id: Uuid,
    /// Its organisation.
    org_id: Uuid,
    /// The provider.
    provider: String,
    /// Its kind.
    kind: String,
    /// A name for people.
    name: Option<String>,
    /// The OAuth app it was made with.
    oauth_app_id: Option<Uuid>,
    /// The account it opened when it was checked.
    #[schema(value_type = Option<Object>)]
    account: Option<config::Account>,
    /// Its fields; secrets are masked.
    properties: BTreeMap<String, String>,
    /// The budget of the account, where it is not the provider's default.
    rate_limit: Option<super::sync_docs::RateLimitDoc>,
    /// The user's own.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// What the last check found.
    #[schema(value_type = super::sync_docs::HealthDoc)]
    health: Health,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

fn out(credential: Stored<config::Credential>) -> CredentialOut {
    let Stored {
        id,
        org,
        revision: _,
        created_at,
        updated_at,
        value,
    } = credential;
    let mut properties = value.properties;
    properties.insert("kind".to_owned(), value.kind.clone());
    properties.extend(
        value
            .secret_names
            .into_iter()
            .map(|name| (name, MASK.to_owned())),
    );
    CredentialOut {
        id,
        org_id: org.0,
        provider: value.provider,
        kind: value.kind,
        name: value.name,
        oauth_app_id: value.oauth_app_id,
        account: value.account,
        properties,
        rate_limit: value.rate_limit.map(Into::into),
        metadata: value.metadata,
        health: value.health,
        created_at,
        updated_at,
    }
}

/// Whether to ask the provider.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VerifyParams {
    /// `false` takes it without asking the provider.
    verify: Option<bool>,
}

/// Takes a credential. Asks the provider whether it works; the same account again updates it.
#[utoipa::path(post, path = "/v1/credentials", tag = "credentials", request_body = CredentialIn,
    params(VerifyParams),
    responses((status = 201, body = CredentialOut), (status = 200, body = CredentialOut), Errors))]
async fn create_credential(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    Query(VerifyParams { verify }): Query<VerifyParams>,
    NewId(id): NewId,
    Body(input): Body<CredentialIn>,
) -> Result<(StatusCode, Json<CredentialOut>), ApiError> {
    let new = input.read(verify.unwrap_or(true), id)?;
    let (credential, is_new) = app.engine.put_credential(caller.org, new).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(out(credential))))
}

/// Which credentials.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only those for this provider.
    provider: Option<String>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Only those of this health: `healthy`, `initializing`, `warning` or `error`.
    #[serde(rename = "health.status")]
    #[param(pattern = "^(healthy|initializing|warning|error)$")]
    health_status: Option<String>,
    /// Only those whose metadata contains this JSON object.
    metadata: Option<String>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// Lists the credentials; secrets are masked.
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials", params(ListParams),
    responses((status = 200, body = List<CredentialOut>), Errors))]
async fn list_credentials(
    CanRead(caller): CanRead,
    State(app): State<App>,
    Query(params): Query<ListParams>,
) -> Result<Json<List<CredentialOut>>, ApiError> {
    unbound(&caller)?;
    let ListParams {
        provider,
        kind,
        health_status,
        metadata,
        limit,
        cursor,
    } = params;
    let metadata = metadata_filter(metadata.as_deref())?;
    let health = health_status
        .as_deref()
        .map(super::sync_docs::read_status)
        .transpose()?;
    let mut credentials = app.engine.credentials(caller.org).await?;
    credentials.retain(|credential| {
        let value = &credential.value;
        provider
            .as_ref()
            .is_none_or(|provider| value.provider == *provider)
            && kind.as_ref().is_none_or(|kind| value.kind == *kind)
            && health.is_none_or(|health| value.health.status == health)
            && metadata
                .as_ref()
                .is_none_or(|part| contains(&value.metadata, part))
    });
    Ok(Json(Part { limit, cursor }.of(credentials, out)?))
}

/// Reads a credential; secrets are masked.
#[utoipa::path(get, path = "/v1/credentials/{id}", tag = "credentials", params(("id" = Uuid, Path)),
    responses((status = 200, body = CredentialOut), Errors))]
async fn get_credential(
    CanRead(caller): CanRead,
    State(app): State<App>,
    IdPath(id): IdPath,
) -> Result<Json<CredentialOut>, ApiError> {
    unbound(&caller)?;
    Ok(Json(out(app.engine.credential(caller.org, id).await?)))
}

/// Changes a credential. New fields are checked first; those of another account are refused.
#[utoipa::path(patch, path = "/v1/credentials/{id}", tag = "credentials", request_body = CredentialChange,
    params(("id" = Uuid, Path), VerifyParams),
    responses((status = 200, body = CredentialOut), Errors))]
async fn update_credential(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    IdPath(id): IdPath,
    Query(VerifyParams { verify }): Query<VerifyParams>,
    Body(input): Body<CredentialChange>,
) -> Result<Json<CredentialOut>, ApiError> {
    let CredentialChange {
        name,
        metadata,
        properties,
        rate_limit,
    } = input;
    let fields = properties.map(|Secret(mut properties)| {
        properties.remove("kind");
        texts(properties, |field| format!("properties.{field}"))
    });
    let rate_limit = match rate_limit {
        Some(Some(limit)) => Some(Some(limit.read("rate_limit")?)),
        Some(None) => Some(None),
        None => None,
    };
    let patch = CredentialPatch {
        name,
        metadata,
        fields: fields.transpose()?.map(Secret),
        rate_limit,
    };
    let credential = app
        .engine
        .patch_credential(caller.org, id, patch, verify.unwrap_or(true))
        .await?;
    Ok(Json(out(credential)))
}

/// Removes a credential that no sync reads with.
#[utoipa::path(delete, path = "/v1/credentials/{id}", tag = "credentials", params(("id" = Uuid, Path)),
    responses((status = 204), Errors))]
async fn delete_credential(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    IdPath(id): IdPath,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_credential(caller.org, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_body_shows_its_secrets_when_debugged() {
        let nested = r#"{"properties": {"kind": "stripe_key", "secret": "sk_live_x"}}"#;
        let flat = r#"{"kind": "stripe_key", "secret": "sk_live_x"}"#;
        for body in [nested, flat] {
            let given: CredentialIn = serde_json::from_str(body).expect("it is one");
            assert!(!format!("{given:?}").contains("sk_live_x"), "{given:?}");
            let read = given.read(true, None).expect("it is one");
            assert!(!format!("{read:?}").contains("sk_live_x"), "{read:?}");
        }
        let change: CredentialChange =
            serde_json::from_str(r#"{"properties": {"secret": "sk_live_x"}}"#).expect("it is one");
        assert!(!format!("{change:?}").contains("sk_live_x"), "{change:?}");
    }
}
