//! `/v1/streams`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headrace_engine::{Stored, StreamPatch, StreamView};
use headrace_model::{StreamId, Timestamp, config};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, CanRead, out_of_bounds, reaches_stream};
use super::error::ApiError;
use super::extract::{Body, NamePath, Query};
use super::idempotency::NewId;
use super::list::{List, Part, PartParams};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_stream, list_streams))
        .routes(routes!(get_stream, update_stream, delete_stream))
}

/// A new stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StreamIn {
    /// 1 to 64 letters, digits, `-` or `_`; unique. `name` is accepted too.
    #[serde(alias = "name")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: String,
    /// Days after which a deleted record that every consumer has passed leaves the stream, 1 to
    /// 36500; never, unless given.
    #[schema(minimum = 1, maximum = 36500)]
    tombstone_retention_days: Option<u32>,
}

/// What is to be changed of a stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StreamPatchIn {
    /// Another slug. `name` is accepted too.
    #[serde(alias = "name")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: Option<String>,
    /// How long deleted records stay, in days; `null` for ever.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36500)]
    tombstone_retention_days: Option<Option<u32>>,
}

/// A stream.
#[derive(Debug, Serialize, ToSchema)]
struct StreamOut {
    /// Its id.
    id: Uuid,
    /// Its slug: an address besides the id.
    slug: String,
    /// Its organisation.
    org_id: Uuid,
    /// Days that deleted records stay; `null` for ever.
    tombstone_retention_days: Option<u32>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What is in it; only when one stream is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<StatsOut>,
}

/// What is in a stream.
#[derive(Debug, Serialize, ToSchema)]
struct StatsOut {
    /// Records, deleted ones included.
    record_count: u64,
    /// Records that are not deleted.
    live_count: u64,
    /// Consumers of the stream.
    consumer_count: usize,
    /// Syncs into the stream.
    sync_count: usize,
    /// Bytes of record data.
    storage_bytes: u64,
    /// The newest `updated_idx`.
    last_idx: u64,
}

fn out(stream: Stored<config::Stream>) -> StreamOut {
    let Stored {
        id,
        org,
        revision: _,
        created_at,
        updated_at,
        value,
    } = stream;
    let config::Stream {
        slug,
        tombstone_retention_days,
    } = value;
    StreamOut {
        id,
        slug,
        org_id: org.0,
        tombstone_retention_days,
        created_at,
        updated_at,
        stats: None,
    }
}

fn view(view: StreamView) -> StreamOut {
    let StreamView {
        stream,
        log,
        consumers,
        syncs,
    } = view;
    let stats = StatsOut {
        record_count: log.records,
        live_count: log.live,
        consumer_count: consumers,
        sync_count: syncs,
        storage_bytes: log.bytes,
        last_idx: log.last_idx,
    };
    StreamOut {
        stats: Some(stats),
        ..out(stream)
    }
}

/// Makes a stream.
#[utoipa::path(post, path = "/v1/streams", tag = "streams", request_body = StreamIn,
    responses((status = 201, body = StreamOut), Errors))]
async fn create_stream(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NewId(id): NewId,
    Body(input): Body<StreamIn>,
) -> Result<(StatusCode, Json<StreamOut>), ApiError> {
    let StreamIn {
        slug,
        tombstone_retention_days,
    } = input;
    let stream = config::Stream {
        slug,
        tombstone_retention_days,
    };
    let stream = app.engine.create_stream(caller.org, stream, id).await?;
    Ok((StatusCode::CREATED, Json(out(stream))))
}

/// Lists the streams.
#[utoipa::path(get, path = "/v1/streams", tag = "streams", params(PartParams),
    responses((status = 200, body = List<StreamOut>), Errors))]
async fn list_streams(
    CanRead(caller): CanRead,
    State(app): State<App>,
    Query(part): Query<PartParams>,
) -> Result<Json<List<StreamOut>>, ApiError> {
    let mut streams = app.engine.streams(caller.org).await?;
    streams.retain(|stream| reaches_stream(&caller, StreamId(stream.id)));
    Ok(Json(Part::from(part).of(streams, out)?))
}

/// Reads a stream, with what is in it.
#[utoipa::path(get, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "id or slug")),
    responses((status = 200, body = StreamOut), Errors))]
async fn get_stream(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<StreamOut>, ApiError> {
    let stream = app.engine.stream_view(caller.org, &name).await?;
    match reaches_stream(&caller, StreamId(stream.stream.id)) {
        true => Ok(Json(view(stream))),
        false => Err(out_of_bounds()),
    }
}

/// Changes a stream.
#[utoipa::path(patch, path = "/v1/streams/{stream}", tag = "streams", request_body = StreamPatchIn,
    params(("stream" = String, Path, description = "id or slug")),
    responses((status = 200, body = StreamOut), Errors))]
async fn update_stream(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<StreamPatchIn>,
) -> Result<Json<StreamOut>, ApiError> {
    let StreamPatchIn {
        slug,
        tombstone_retention_days,
    } = input;
    let patch = StreamPatch {
        slug,
        tombstone_retention_days,
    };
    let stream = app.engine.update_stream(caller.org, &name, patch).await?;
    Ok(Json(out(stream)))
}

/// What goes with the stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteParams {
    /// Remove its syncs and consumers too.
    #[serde(default)]
    cascade: bool,
}

/// Removes a stream and its records.
#[utoipa::path(delete, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "id or slug"), DeleteParams),
    responses((status = 204), Errors))]
async fn delete_stream(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(DeleteParams { cascade }): Query<DeleteParams>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_stream(caller.org, &name, cascade).await?;
    Ok(StatusCode::NO_CONTENT)
}
