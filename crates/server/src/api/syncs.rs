//! `/v1/syncs`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use headrace_engine::{
    Caller, CollectionStatus, Error, Problems, Reread, Stored, SyncPatch, SyncView, check_limit,
};
use headrace_model::config::{self, Frequency, Metadata, RateLimit};
use headrace_model::health::{Health, HealthStatus};
use headrace_model::{CredentialId, StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, CanRead, reaches_stream, unbound};
use super::credentials::CredentialIn;
use super::error::{ApiError, Code};
use super::extract::{Body, NamePath, Query};
use super::list::{List, Part, contains, metadata_filter};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_sync, list_syncs))
        .routes(routes!(get_sync, update_sync, delete_sync))
        .routes(routes!(enable_sync))
        .routes(routes!(disable_sync))
        .routes(routes!(pause_collection))
        .routes(routes!(resume_collection))
        .routes(routes!(backfill_collection))
        .routes(routes!(check_collection))
}

/// How many requests may be made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateLimit)]
pub(super) struct RateLimitDoc {
    /// Requests per interval.
    allowed_requests: u32,
    /// The interval, in seconds.
    interval: f64,
    /// Requests under way at once; 0: no cap.
    #[serde(default)]
    max_concurrent_requests: u32,
}

impl RateLimitDoc {
    pub(super) fn read(self, field: &str) -> Result<RateLimit, ApiError> {
        let Self {
            allowed_requests,
            interval,
            max_concurrent_requests,
        } = self;
        let limit = RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        };
        let mut problems = Problems::default();
        check_limit(field, &limit, &mut problems);
        problems.check()?;
        Ok(limit)
    }
}

impl From<RateLimit> for RateLimitDoc {
    fn from(limit: RateLimit) -> Self {
        let RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        } = limit;
        Self {
            allowed_requests,
            interval,
            max_concurrent_requests,
        }
    }
}

/// Health, in plain words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthDoc {
    /// `healthy`, `initializing`, `warning` or `error`.
    status: String,
    /// Why, and what to do.
    notes: Vec<String>,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The sync; only with a sync's health.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_id: Option<Uuid>,
}

impl HealthDoc {
    fn of(health: Health, sync: Uuid) -> Self {
        let Health {
            status,
            notes,
            time,
        } = health;
        let status = match status {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Initializing => "initializing",
            HealthStatus::Warning => "warning",
            HealthStatus::Error => "error",
        };
        Self {
            status: status.to_owned(),
            notes,
            time,
            sync_id: Some(sync),
        }
    }
}

pub(super) fn read_status(text: &str) -> Result<HealthStatus, ApiError> {
    match text {
        "healthy" => Ok(HealthStatus::Healthy),
        "initializing" => Ok(HealthStatus::Initializing),
        "warning" => Ok(HealthStatus::Warning),
        "error" => Ok(HealthStatus::Error),
        _ => Err(ApiError::invalid(
            "health.status",
            "must be healthy, initializing, warning or error",
        )),
    }
}

/// A new sync.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SyncIn {
    /// The provider, such as `stripe`.
    provider: String,
    /// A name for people.
    name: String,
    /// An address besides the id; unique.
    slug: Option<String>,
    /// The collections to read, such as `stripe:customer`.
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
    max_age_days: Option<u32>,
    /// `continuous` (unless given) or a span of at least `30s`.
    sync_frequency: Option<String>,
    /// Your name for whose account it is.
    external_id: Option<String>,
    /// Your own.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
}

/// Changes of a sync; what is left out stays. `provider`, `stream_id` and `credential_id` are fixed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SyncChange {
    /// A name for people.
    name: Option<String>,
    /// An address besides the id.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    slug: Option<Option<String>>,
    /// The collections to read.
    collection_ids: Option<Vec<String>>,
    /// Its share of the credential's budget.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    rate_limit: Option<Option<RateLimitDoc>>,
    /// `active` or `disabled`.
    status: Option<String>,
    /// The age it admits.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    max_age_days: Option<Option<u32>>,
    /// `continuous` or a span.
    sync_frequency: Option<String>,
    /// Your own.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// Your name for whose account it is.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    external_id: Option<Option<String>>,
    /// Fixed: refused.
    provider: Option<serde_json::Value>,
    /// Fixed: refused.
    stream_id: Option<serde_json::Value>,
    /// Fixed: refused.
    credential_id: Option<serde_json::Value>,
}

/// A sync.
#[derive(Debug, Serialize, ToSchema)]
struct SyncOut {
    /// Its id.
    id: Uuid,
    /// Its organisation.
    org_id: Uuid,
    /// The provider.
    provider: String,
    /// A name for people.
    name: String,
    /// An address besides the id.
    slug: Option<String>,
    /// The stream it fills.
    stream_id: Uuid,
    /// The credential it reads with.
    credential_id: Uuid,
    /// The collections it reads.
    collection_ids: Vec<String>,
    /// Its share of the credential's budget.
    rate_limit: Option<RateLimitDoc>,
    /// The age it admits.
    max_age_days: Option<u32>,
    /// `continuous` or a span.
    sync_frequency: String,
    /// Your name for whose account it is.
    external_id: Option<String>,
    /// Your own.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// `active` or `disabled`.
    status: &'static str,
    /// How it is doing.
    health: HealthDoc,
    /// When all collections had been read once.
    #[schema(value_type = Option<String>, format = DateTime)]
    initial_backfill_completed_at: Option<Timestamp>,
    /// Its collections.
    collections: Vec<CollectionDoc>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A collection of a sync.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SyncCollection)]
struct CollectionDoc {
    /// Its id.
    id: String,
    /// `waiting`, `backfilling`, `live`, `paused`, `retrying`, `failed` or `disabled`.
    #[schema(value_type = String)]
    status: headrace_engine::Activity,
    /// Records in the stream, deleted ones included.
    records: u64,
    /// Its reading from beginning to end.
    backfill: BackfillDoc,
    /// When changes were last looked for.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_checked_at: Option<Timestamp>,
    /// How long the newest change took from the provider to the stream, in milliseconds.
    lag_ms: Option<u64>,
    /// What is wrong.
    error: Option<String>,
    /// What should be known besides.
    notes: Vec<String>,
}

/// A reading of a collection from beginning to end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backfill)]
struct BackfillDoc {
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it was complete.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// Records read.
    records: u64,
    /// Records there are, where the provider tells.
    estimated_total: Option<u64>,
    /// Where it is.
    cursor: Option<String>,
}

fn out(view: SyncView) -> SyncOut {
    let SyncView {
        sync,
        status,
        records,
    } = view;
    let Stored {
        id,
        org,
        revision: _,
        created_at,
        updated_at,
        value,
    } = sync;
    let count = |collection: &str| {
        records
            .iter()
            .find(|(id, _)| id == collection)
            .map_or(0, |(_, count)| *count)
    };
    let collection = |one: CollectionStatus| CollectionDoc {
        records: count(&one.id),
        id: one.id,
        status: one.status,
        backfill: BackfillDoc {
            started_at: one.backfill.started_at,
            completed_at: one.backfill.completed_at,
            records: one.backfill.records,
            estimated_total: one.backfill.estimated_total,
            cursor: one.backfill.cursor,
        },
        last_checked_at: one.last_checked_at,
        lag_ms: one.lag_ms,
        error: one.error,
        notes: one.notes,
    };
    SyncOut {
        id,
        org_id: org.0,
        provider: value.provider,
        name: value.name,
        slug: value.slug,
        stream_id: value.stream_id.0,
        credential_id: value.credential_id.0,
        collection_ids: value.collection_ids,
        rate_limit: value.rate_limit.map(Into::into),
        max_age_days: value.max_age_days,
        sync_frequency: value.sync_frequency.to_string(),
        external_id: value.external_id,
        metadata: value.metadata,
        status: if value.enabled { "active" } else { "disabled" },
        health: HealthDoc::of(status.health, id),
        initial_backfill_completed_at: status.initial_backfill_completed_at,
        collections: status.collections.into_iter().map(collection).collect(),
        created_at,
        updated_at,
    }
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
    let credential_id = match (input.credential_id, input.credential) {
        (Some(id), None) => known_credential(&app, &caller, id).await?,
        (None, Some(credential)) => {
            let new = credential
                .read(true)
                .map_err(|error| nested(error, "credential"))?;
            app.engine.put_credential(caller.org, new).await?.0.id
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
    Ok((
        StatusCode::CREATED,
        Json(out(app.engine.create_sync(caller.org, sync).await?)),
    ))
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
    health_status: Option<String>,
    /// Only those whose metadata contains this JSON object.
    metadata: Option<String>,
    /// At most so many, 1 to 1000.
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
            if app.engine.sync_status(&sync).await?.health.status == health {
                matching.push(sync);
            }
        }
        syncs = matching;
    }
    let part = Part { limit, cursor }.of(syncs, |sync| sync)?;
    let mut data = Vec::with_capacity(part.data.len());
    for sync in part.data {
        data.push(out(app.engine.sync_view(sync).await?));
    }
    Ok(Json(List {
        data,
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

type OfCollection = Result<Path<(String, String)>, axum::extract::rejection::PathRejection>;

async fn of_collection(
    app: &App,
    caller: &Caller,
    path: OfCollection,
) -> Result<(Stored<config::Sync>, String), ApiError> {
    unbound(caller)?;
    let Path((sync, collection)) =
        path.map_err(|_| ApiError::new(Code::NotFound, "there is nothing at this path"))?;
    Ok((app.engine.sync(caller.org, &sync).await?, collection))
}

/// Lets one collection stand still.
#[utoipa::path(post, path = "/v1/syncs/{sync}/collections/{collection}/pause", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug"), ("collection" = String, Path)),
    responses((status = 200, body = SyncOut), Errors))]
async fn pause_collection(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    path: OfCollection,
) -> Result<Json<SyncOut>, ApiError> {
    let (sync, collection) = of_collection(&app, &caller, path).await?;
    Ok(Json(out(app
        .engine
        .pause_collection(sync, &collection, true)
        .await?)))
}

/// Lets a paused collection go on.
#[utoipa::path(post, path = "/v1/syncs/{sync}/collections/{collection}/resume", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug"), ("collection" = String, Path)),
    responses((status = 200, body = SyncOut), Errors))]
async fn resume_collection(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    path: OfCollection,
) -> Result<Json<SyncOut>, ApiError> {
    let (sync, collection) = of_collection(&app, &caller, path).await?;
    Ok(Json(out(app
        .engine
        .pause_collection(sync, &collection, false)
        .await?)))
}

/// What to read again: everything unless given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackfillIn {
    /// What was created since then.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// These records.
    upstream_ids: Option<Vec<String>>,
}

/// Reads a collection again, without hiding what is there.
#[utoipa::path(post, path = "/v1/syncs/{sync}/collections/{collection}/backfill", tag = "syncs",
    request_body = BackfillIn,
    params(("sync" = String, Path, description = "id or slug"), ("collection" = String, Path)),
    responses((status = 202, body = SyncOut), Errors))]
async fn backfill_collection(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    path: OfCollection,
    Body(BackfillIn {
        since,
        upstream_ids,
    }): Body<BackfillIn>,
) -> Result<(StatusCode, Json<SyncOut>), ApiError> {
    let (sync, collection) = of_collection(&app, &caller, path).await?;
    let reread = match (since, upstream_ids) {
        (None, None) => Reread::All,
        (Some(since), None) => Reread::Since(since),
        (None, Some(ids)) if (1..=1_000).contains(&ids.len()) => Reread::UpstreamIds(ids),
        (None, Some(_)) => return Err(ApiError::invalid("upstream_ids", "must be 1 to 1000 ids")),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "since",
                "cannot be given beside upstream_ids",
            ));
        }
    };
    app.engine
        .reread_collection(&sync, &collection, reread)
        .await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(out(app.engine.sync_view(sync).await?)),
    ))
}

/// Looks for changes of a collection now.
#[utoipa::path(post, path = "/v1/syncs/{sync}/collections/{collection}/check", tag = "syncs",
    params(("sync" = String, Path, description = "id or slug"), ("collection" = String, Path)),
    responses((status = 202, body = SyncOut), Errors))]
async fn check_collection(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    path: OfCollection,
) -> Result<(StatusCode, Json<SyncOut>), ApiError> {
    let (sync, collection) = of_collection(&app, &caller, path).await?;
    app.engine.check_collection(&sync, &collection).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(out(app.engine.sync_view(sync).await?)),
    ))
}
