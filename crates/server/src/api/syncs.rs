//! `/v1/syncs`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headrace_engine::{Caller, Error, Problems, SyncPatch};
use headrace_model::config::{self, Frequency, Metadata};
use headrace_model::{CredentialId, StreamId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, CanRead, reaches_stream};
use super::credentials::CredentialIn;
use super::error::ApiError;
use super::extract::{Body, NamePath, Query};
use super::idempotency::NewId;
use super::list::{List, Part, contains, metadata_filter};
use super::sync_docs::{RateLimitDoc, SyncOut, out, read_status};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_sync, list_syncs))
        .routes(routes!(get_sync, update_sync, delete_sync))
        .routes(routes!(enable_sync))
        .routes(routes!(disable_sync))
}

/// A new sync.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SyncIn {
    /// The provider, such as `stripe`.
    provider: String,
    /// A name for people.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", max_length = 255)]
    name: String,
    /// An address besides the id; unique.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: Option<String>,
    /// The collections to read, such as `stripe:customer`.
    #[schema(min_items = 1)]
    collection_ids: Vec<String>,
    /// The stream to fill, by id or slug; may be left out when there is exactly one.
    stream_id: Option<String>,
    /// The credential to read with.
    credential_id: Option<Uuid>,
    /// A credential to be taken first.
    credential: Option<CredentialIn>,
    /// Its share of the credential's budget.
    rate_limit: Option<RateLimitDoc>,
    /// Older records are not admitted and age out.
    #[schema(minimum = 1)]
    max_age_days: Option<u32>,
    /// `continuous` (unless given) or a span of at least `30s`.
    #[schema(pattern = "^(continuous|[0-9]{1,9}(ms|s|m|h|d))$")]
    sync_frequency: Option<String>,
    /// Your name for whose account it is.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 255)]
    external_id: Option<String>,
    /// Your own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
}

/// Changes of a sync; what is left out stays. `provider`, `stream_id` and `credential_id` are fixed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SyncChange {
    /// A name for people.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", max_length = 255)]
    name: Option<String>,
    /// An address besides the id.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: Option<Option<String>>,
    /// The collections to read.
    #[schema(min_items = 1)]
    collection_ids: Option<Vec<String>>,
    /// Its share of the credential's budget.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    rate_limit: Option<Option<RateLimitDoc>>,
    /// `active` or `disabled`.
    #[schema(pattern = "^(active|disabled)$")]
    status: Option<String>,
    /// The age it admits.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_age_days: Option<Option<u32>>,
    /// `continuous` or a span.
    #[schema(pattern = "^(continuous|[0-9]{1,9}(ms|s|m|h|d))$")]
    sync_frequency: Option<String>,
    /// Your own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
    /// Your name for whose account it is.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 255)]
    external_id: Option<Option<String>>,
    /// Fixed: refused.
    #[schema(ignore)]
    provider: Option<serde_json::Value>,
    /// Fixed: refused.
    #[schema(ignore)]
    stream_id: Option<serde_json::Value>,
    /// Fixed: refused.
    #[schema(ignore)]
    credential_id: Option<serde_json::Value>,
}

fn frequency(text: Option<&str>) -> Result<Option<Frequency>, ApiError> {
    let wrong = || {
        ApiError::invalid(
            "sync_frequency",
            "must be continuous or a span of at least 30s, such as 4h",
        )
    };
    text.map(|text| Frequency::parse(text).ok_or_else(wrong))
        .transpose()
}

/// Makes a sync. It begins at once.
#[utoipa::path(post, path = "/v1/syncs", tag = "syncs", request_body = SyncIn,
    responses((status = 201, body = SyncOut), Errors))]
async fn create_sync(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NewId(id): NewId,
    Body(input): Body<SyncIn>,
) -> Result<(StatusCode, Json<SyncOut>), ApiError> {
    let stream_id = app
        .engine
        .stream_or_only(caller.org, input.stream_id.as_deref())
        .await?;
    let sync_frequency =
        frequency(input.sync_frequency.as_deref())?.unwrap_or(Frequency::Continuous);
    let rate_limit = input
        .rate_limit
        .map(|limit| limit.read("rate_limit"))
        .transpose()?;
    let (credential_id, credential) = match (input.credential_id, input.credential) {
        (Some(id), None) => (known_credential(&app, &caller, id).await?, None),
        (None, Some(credential)) => {
            let new = credential.read(true, id.map(beside));
            let new = new.map_err(|error| nested(error, "credential"))?;
            (Uuid::nil(), Some(new))
        }
        _ => {
            let reason = "is needed: the id of a credential, or a new one as credential, not both";
            return Err(ApiError::invalid("credential_id", reason));
        }
    };
    let sync = config::Sync {
        provider: input.provider,
        name: input.name,
        slug: input.slug,
        stream_id,
        credential_id: CredentialId(credential_id),
        collection_ids: input.collection_ids,
        rate_limit,
        max_age_days: input.max_age_days,
        sync_frequency,
        external_id: input.external_id,
        metadata: input.metadata.unwrap_or_default(),
        enabled: true,
        paused: Default::default(),
    };
    let made = app.engine.create_sync(caller.org, sync, credential, id);
    Ok((StatusCode::CREATED, Json(out(made.await?))))
}

/// The id of a sync's own credential, where the sync's is given: another one, and always the same.
fn beside(id: Uuid) -> Uuid {
    let (high, low) = id.as_u64_pair();
    Uuid::from_u64_pair(high, low ^ 1)
}

async fn known_credential(app: &App, caller: &Caller, id: Uuid) -> Result<Uuid, ApiError> {
    match app.engine.credential(caller.org, id).await {
        Ok(credential) => Ok(credential.id),
        Err(Error::NotFound { .. }) => {
            Err(ApiError::invalid("credential_id", "is no credential's id"))
        }
        Err(error) => Err(error.into()),
    }
}

fn nested(mut error: ApiError, around: &str) -> ApiError {
    let inner = std::mem::take(&mut error.validation_errors);
    error.validation_errors = inner
        .into_iter()
        .map(|(field, reasons)| (format!("{around}.{field}"), reasons))
        .collect();
    error
}

/// Which syncs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only those of this provider.
    provider: Option<String>,
    /// Only those into this stream, by id or slug.
    stream_id: Option<String>,
    /// Only those of this name.
    name: Option<String>,
    /// Only those with this external id.
    external_id: Option<String>,
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

/// Lists the syncs.
#[utoipa::path(get, path = "/v1/syncs", tag = "syncs", params(ListParams),
    responses((status = 200, body = List<SyncOut>), Errors))]
async fn list_syncs(
    CanRead(caller): CanRead,
    State(app): State<App>,
    Query(params): Query<ListParams>,
) -> Result<Json<List<SyncOut>>, ApiError> {
    let ListParams {
        provider,
        stream_id,
        name,
        external_id,
        health_status,
        metadata,
        limit,
        cursor,
    } = params;
    let metadata = metadata_filter(metadata.as_deref())?;
    let health = health_status.as_deref().map(read_status).transpose()?;
    let stream = match stream_id {
        Some(name) => Some(StreamId(app.engine.stream(caller.org, &name).await?.id)),
        None => None,
    };
    let mut syncs = app.engine.syncs(caller.org).await?;
    syncs.retain(|sync| {
        let value = &sync.value;
        reaches_stream(&caller, value.stream_id)
            && provider
                .as_ref()
                .is_none_or(|provider| value.provider == *provider)
            && stream.is_none_or(|stream| value.stream_id == stream)
            && name.as_ref().is_none_or(|name| value.name == *name)
            && external_id.is_none() | (value.external_id == external_id)
            && metadata
                .as_ref()
                .is_none_or(|part| contains(&value.metadata, part))
    });
    if let Some(health) = health {
        let mut matching = Vec::new();
        for sync in syncs {
            match app.engine.sync_status(&sync).await {
                Ok(status) if status.health.status == health => matching.push(sync),
                // One of another health, or one that was removed since the list was read.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        syncs = matching;
    }
    let part = Part { limit, cursor }.of(syncs, |sync| sync)?;
    let views = app.engine.sync_views(part.data).await?;
    Ok(Json(List {
        data: views.into_iter().map(out).collect(),
        next_cursor: part.next_cursor,
    }))
}

/// Reads a sync.
#[utoipa::path(get, path = "/v1/syncs/{sync}", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug")),
    responses((status = 200, body = SyncOut), Errors))]
async fn get_sync(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<SyncOut>, ApiError> {
    let sync = app.engine.sync(caller.org, &name).await?;
    if !reaches_stream(&caller, sync.value.stream_id) {
        return Err(super::auth::out_of_bounds());
    }
    Ok(Json(out(app.engine.sync_view(sync).await?)))
}

/// What becomes of the records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecordsParams {
    /// `keep` (unless given): they stay readable; `delete`: they leave the stream.
    #[param(pattern = "^(keep|delete)$")]
    records: Option<String>,
}

impl RecordsParams {
    fn delete(&self) -> Result<bool, ApiError> {
        match self.records.as_deref() {
            None | Some("keep") => Ok(false),
            Some("delete") => Ok(true),
            Some(_) => Err(ApiError::invalid("records", "must be keep or delete")),
        }
    }
}

/// Changes a sync. An added collection is read; a removed one stops and keeps its records, unless
/// `records=delete`.
#[utoipa::path(patch, path = "/v1/syncs/{sync}", tag = "syncs", request_body = SyncChange,
    params(("sync" = String, Path, description = "id or slug"), RecordsParams),
    responses((status = 200, body = SyncOut), Errors))]
async fn update_sync(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(records): Query<RecordsParams>,
    Body(change): Body<SyncChange>,
) -> Result<Json<SyncOut>, ApiError> {
    let sync = app.engine.sync(caller.org, &name).await?;
    let mut problems = Problems::default();
    let fixed = [
        ("provider", &change.provider),
        ("stream_id", &change.stream_id),
    ];
    for (field, value) in fixed
        .into_iter()
        .chain([("credential_id", &change.credential_id)])
    {
        if value.is_some() {
            problems.add(field, "is fixed: make a new sync instead");
        }
    }
    problems.check()?;
    let enabled = match change.status.as_deref() {
        None => None,
        Some("active") => Some(true),
        Some("disabled") => Some(false),
        Some(_) => return Err(ApiError::invalid("status", "must be active or disabled")),
    };
    let rate_limit = match change.rate_limit {
        Some(Some(limit)) => Some(Some(limit.read("rate_limit")?)),
        Some(None) => Some(None),
        None => None,
    };
    let patch = SyncPatch {
        name: change.name,
        slug: change.slug,
        collection_ids: change.collection_ids,
        rate_limit,
        max_age_days: change.max_age_days,
        sync_frequency: frequency(change.sync_frequency.as_deref())?,
        external_id: change.external_id,
        metadata: change.metadata,
        enabled,
    };
    Ok(Json(out(app
        .engine
        .patch_sync(sync, patch, records.delete()?)
        .await?)))
}

/// Removes a sync. Its records stay readable, unless `records=delete`.
#[utoipa::path(delete, path = "/v1/syncs/{sync}", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug"), RecordsParams),
    responses((status = 204), Errors))]
async fn delete_sync(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(records): Query<RecordsParams>,
) -> Result<StatusCode, ApiError> {
    let sync = app.engine.sync(caller.org, &name).await?;
    app.engine.remove_sync(sync, records.delete()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a sync run.
#[utoipa::path(post, path = "/v1/syncs/{sync}/enable", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug")),
    responses((status = 200, body = SyncOut), Errors))]
async fn enable_sync(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<SyncOut>, ApiError> {
    let sync = app.engine.sync(caller.org, &name).await?;
    let patch = SyncPatch {
        enabled: Some(true),
        ..SyncPatch::default()
    };
    Ok(Json(out(app.engine.patch_sync(sync, patch, false).await?)))
}

/// Stops a sync. What it has read stays.
#[utoipa::path(post, path = "/v1/syncs/{sync}/disable", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug")),
    responses((status = 200, body = SyncOut), Errors))]
async fn disable_sync(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<SyncOut>, ApiError> {
    let sync = app.engine.sync(caller.org, &name).await?;
    let patch = SyncPatch {
        enabled: Some(false),
        ..SyncPatch::default()
    };
    Ok(Json(out(app.engine.patch_sync(sync, patch, false).await?)))
}
