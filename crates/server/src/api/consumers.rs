//! `/v1/http-consumers` (the collection path also as `/v1/consumers`).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headrace_engine::Error;
use headrace_model::config::{DeliverPolicy, HttpConsumer, Metadata, Unapplied};
use headrace_model::filter::Filter;
use headrace_model::{StreamId, Timestamp};
use headrace_store::StoreError;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanAdmin, CanRead, reaches_consumer};
use super::consumer_docs::{ConsumerOut, FiltersIn, PolicyIn, out};
use super::error::ApiError;
use super::extract::{Body, NamePath, Query};
use super::idempotency::NewId;
use super::list::{List, Part, contains, metadata_filter};
use super::messages::reach;
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_consumer, list_consumers))
        .routes(routes!(get_consumer, update_consumer, delete_consumer))
        .routes(routes!(reset_consumer))
        .routes(routes!(pause_consumer))
        .routes(routes!(resume_consumer))
}

/// `/v1/consumers` answers as `/v1/http-consumers` does.
pub(super) fn plural_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_plain_consumer, list_plain_consumers))
}

/// Makes a consumer; the same as by `/v1/http-consumers`.
#[utoipa::path(post, path = "/v1/consumers", tag = "consumers", request_body = ConsumerIn,
    responses((status = 201, body = ConsumerOut), Errors))]
async fn create_plain_consumer(
    caller: CanAdmin,
    app: State<App>,
    id: NewId,
    input: Body<ConsumerIn>,
) -> Result<(StatusCode, Json<ConsumerOut>), ApiError> {
    create_consumer(caller, app, id, input).await
}

/// Lists the consumers, with their counts; the same as by `/v1/http-consumers`.
#[utoipa::path(get, path = "/v1/consumers", tag = "consumers", params(ListParams),
    responses((status = 200, body = List<ConsumerOut>), Errors))]
async fn list_plain_consumers(
    caller: CanRead,
    app: State<App>,
    params: Query<ListParams>,
) -> Result<Json<List<ConsumerOut>>, ApiError> {
    list_consumers(caller, app, params).await
}

/// A new consumer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumerIn {
    /// The stream, by id or slug; may be left out when there is exactly one.
    stream_id: Option<String>,
    /// A name for people.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 255)]
    name: Option<String>,
    /// An address besides the id; unique.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: Option<String>,
    /// Where it starts: `all` (unless given), `new`, `last`, a span such as `1h`, `{"from_idx": n}` or
    /// `{"from_time": t}`.
    deliver_policy: Option<PolicyIn>,
    /// How long a worker has for a message, in milliseconds; 60000 unless given.
    #[schema(minimum = 100, maximum = 43200000)]
    ack_wait_ms: Option<u64>,
    /// The same in seconds.
    #[schema(minimum = 1, maximum = 43200)]
    ack_wait: Option<u64>,
    /// Deliveries of a version in all before it goes to the dead letters; -1 (unless given): no maximum.
    #[schema(minimum = -1, maximum = 1000000)]
    max_deliver: Option<i64>,
    /// Messages outstanding at once, 1 to 20000; 1000 unless given.
    #[schema(minimum = 1, maximum = 20000)]
    max_ack_pending: Option<u32>,
    /// Long polls at once; 100 unless given.
    #[schema(minimum = 1, maximum = 10000)]
    max_waiting: Option<u32>,
    /// What it is given; everything unless given.
    filters: Option<FiltersIn>,
    /// The user's own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
}

/// Changes of a consumer; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsumerPatch {
    /// A name for people.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 255)]
    name: Option<Option<String>>,
    /// An address besides the id.
    #[serde(default, deserialize_with = "super::patch::deserialize")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    slug: Option<Option<String>>,
    /// Restarts the consumer where it says.
    deliver_policy: Option<PolicyIn>,
    /// Milliseconds.
    #[schema(minimum = 100, maximum = 43200000)]
    ack_wait_ms: Option<u64>,
    /// Seconds.
    #[schema(minimum = 1, maximum = 43200)]
    ack_wait: Option<u64>,
    /// -1 for no maximum.
    #[schema(minimum = -1, maximum = 1000000)]
    max_deliver: Option<i64>,
    /// 1 to 20000.
    #[schema(minimum = 1, maximum = 20000)]
    max_ack_pending: Option<u32>,
    /// Long polls at once.
    #[schema(minimum = 1, maximum = 10000)]
    max_waiting: Option<u32>,
    /// Applies from the position on; drops what is outstanding and no longer matches.
    filters: Option<FiltersIn>,
    /// The user's own.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "super::metadata::deserialize")]
    metadata: Option<Metadata>,
}

fn ack_wait(millis: Option<u64>, seconds: Option<u64>) -> Result<Option<u64>, ApiError> {
    match (millis, seconds) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "ack_wait",
            "cannot be given beside ack_wait_ms",
        )),
        (millis, seconds) => Ok(millis.or(seconds.map(|seconds| seconds.saturating_mul(1_000)))),
    }
}

/// Makes a consumer.
#[utoipa::path(post, path = "/v1/http-consumers", tag = "consumers", request_body = ConsumerIn,
    responses((status = 201, body = ConsumerOut), Errors))]
pub(super) async fn create_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NewId(id): NewId,
    Body(input): Body<ConsumerIn>,
) -> Result<(StatusCode, Json<ConsumerOut>), ApiError> {
    let stream_id = app
        .engine
        .stream_or_only(caller.org, input.stream_id.as_deref())
        .await?;
    let consumer = HttpConsumer {
        stream_id,
        name: input.name,
        slug: input.slug,
        deliver_policy: input
            .deliver_policy
            .map_or(Ok(DeliverPolicy::All), PolicyIn::read)?,
        ack_wait_ms: ack_wait(input.ack_wait_ms, input.ack_wait)?.unwrap_or(60_000),
        max_deliver: input.max_deliver.unwrap_or(-1),
        max_ack_pending: input.max_ack_pending.unwrap_or(1_000),
        max_waiting: input.max_waiting.unwrap_or(100),
        filters: match input.filters {
            Some(filters) => filters.read(&app, caller.org).await?,
            None => Filter::default(),
        },
        metadata: input.metadata.unwrap_or_default(),
        paused: false,
        unapplied: Unapplied::default(),
    };
    Ok((
        StatusCode::CREATED,
        Json(out(app
            .engine
            .create_consumer(caller.org, consumer, id)
            .await?)),
    ))
}

/// Which consumers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only those of this stream, by id or slug.
    stream_id: Option<String>,
    /// Only those whose metadata contains this JSON object.
    metadata: Option<String>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// Lists the consumers, with their counts.
#[utoipa::path(get, path = "/v1/http-consumers", tag = "consumers", params(ListParams),
    responses((status = 200, body = List<ConsumerOut>), Errors))]
pub(super) async fn list_consumers(
    CanRead(caller): CanRead,
    State(app): State<App>,
    Query(ListParams {
        stream_id,
        metadata,
        limit,
        cursor,
    }): Query<ListParams>,
) -> Result<Json<List<ConsumerOut>>, ApiError> {
    let metadata = metadata_filter(metadata.as_deref())?;
    let stream = match stream_id {
        Some(name) => Some(StreamId(app.engine.stream(caller.org, &name).await?.id)),
        None => None,
    };
    let mut consumers = app.engine.consumers(caller.org).await?;
    consumers.retain(|consumer| {
        reaches_consumer(&caller, consumer.id, consumer.value.stream_id)
            && stream.is_none_or(|stream| consumer.value.stream_id == stream)
            && metadata
                .as_ref()
                .is_none_or(|part| contains(&consumer.value.metadata, part))
    });
    let part = Part { limit, cursor }.of(consumers, |consumer| consumer)?;
    let mut data = Vec::with_capacity(part.data.len());
    for consumer in part.data {
        match app.engine.consumer_view(consumer).await {
            Ok(view) => data.push(out(view)),
            // It was removed since the list was read.
            Err(Error::Store(StoreError::NoConsumer)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(List {
        data,
        next_cursor: part.next_cursor,
    }))
}

/// Reads a consumer, with its counts.
#[utoipa::path(get, path = "/v1/http-consumers/{consumer}", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = ConsumerOut), Errors))]
async fn get_consumer(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<ConsumerOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    Ok(Json(out(app.engine.consumer_view(consumer).await?)))
}

/// Changes a consumer. Another `deliver_policy` restarts it, and `restarted` says so.
#[utoipa::path(patch, path = "/v1/http-consumers/{consumer}", tag = "consumers", request_body = ConsumerPatch,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = ConsumerOut), Errors))]
async fn update_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(patch): Body<ConsumerPatch>,
) -> Result<Json<ConsumerOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let old = consumer.value.clone();
    let value = HttpConsumer {
        stream_id: old.stream_id,
        name: patch.name.unwrap_or(old.name),
        slug: patch.slug.unwrap_or(old.slug),
        deliver_policy: patch
            .deliver_policy
            .map_or(Ok(old.deliver_policy), PolicyIn::read)?,
        ack_wait_ms: ack_wait(patch.ack_wait_ms, patch.ack_wait)?.unwrap_or(old.ack_wait_ms),
        max_deliver: patch.max_deliver.unwrap_or(old.max_deliver),
        max_ack_pending: patch.max_ack_pending.unwrap_or(old.max_ack_pending),
        max_waiting: patch.max_waiting.unwrap_or(old.max_waiting),
        filters: match patch.filters {
            Some(filters) => filters.read(&app, caller.org).await?,
            None => old.filters,
        },
        metadata: patch.metadata.unwrap_or(old.metadata),
        paused: old.paused,
        unapplied: Unapplied::default(),
    };
    let (view, restarted) = app.engine.update_consumer(consumer, value).await?;
    let mut answer = out(view);
    answer.restarted = Some(restarted);
    Ok(Json(answer))
}

/// Removes a consumer and its dead letters.
#[utoipa::path(delete, path = "/v1/http-consumers/{consumer}", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug")), responses((status = 204), Errors))]
async fn delete_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<StatusCode, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    app.engine.remove_consumer(consumer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where to start anew: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetIn {
    /// As for a new consumer.
    deliver_policy: Option<PolicyIn>,
    /// The first index to deliver.
    from_idx: Option<u64>,
    /// Deliver what was committed at or after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    from_time: Option<Timestamp>,
}

/// Starts a consumer anew. What is outstanding is forgotten; tokens of before settle nothing.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/reset", tag = "consumers", request_body = ResetIn,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = ConsumerOut), Errors))]
async fn reset_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(ResetIn {
        deliver_policy,
        from_idx,
        from_time,
    }): Body<ResetIn>,
) -> Result<Json<ConsumerOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let policy = match (deliver_policy, from_idx, from_time) {
        (Some(policy), None, None) => policy.read()?,
        (None, Some(idx), None) => DeliverPolicy::FromIdx(idx),
        (None, None, Some(time)) => DeliverPolicy::FromTime(time),
        _ => {
            let reason = "is needed: exactly one of deliver_policy, from_idx and from_time";
            return Err(ApiError::invalid("deliver_policy", reason));
        }
    };
    app.engine.reset_consumer(&consumer, policy).await?;
    Ok(Json(out(app.engine.consumer_view(consumer).await?)))
}

/// Hands out nothing until it is resumed. What is outstanding can still be settled.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/pause", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = ConsumerOut), Errors))]
async fn pause_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<ConsumerOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let value = HttpConsumer {
        paused: true,
        ..consumer.value.clone()
    };
    let (view, _) = app.engine.update_consumer(consumer, value).await?;
    Ok(Json(out(view)))
}

/// Hands out again.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/resume", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = ConsumerOut), Errors))]
async fn resume_consumer(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
) -> Result<Json<ConsumerOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let value = HttpConsumer {
        paused: false,
        ..consumer.value.clone()
    };
    let (view, _) = app.engine.update_consumer(consumer, value).await?;
    Ok(Json(out(view)))
}
