//! `/v1/api-tokens`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use headrace_engine::{Stored, StoredToken};
use headrace_model::config::{self, Scope};
use headrace_model::secret::Secret;
use headrace_model::{StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, unbound};
use super::error::ApiError;
use super::extract::{Body, IdPath, Query};
use super::idempotency::{MaskOnReplay, NewId};
use super::list::{List, Part, PartParams};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_api_token, list_api_tokens))
        .routes(routes!(revoke_api_token))
}

/// What a token may do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scope)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its description is used")]
enum ScopeDoc {
    /// Change the configuration, and everything else.
    Admin,
    /// Read everything but secrets.
    Read,
    /// Take and settle messages.
    Consume,
    /// Write to providers.
    Mutate,
    /// Call providers.
    Proxy,
}

/// A new API token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApiTokenIn {
    /// A name for people.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 255)]
    name: String,
    /// What it may do: `admin`, `read`, `consume`, `mutate`, `proxy`.
    #[schema(value_type = Vec<ScopeDoc>, min_items = 1)]
    scopes: BTreeSet<Scope>,
    /// Only these consumers; for tokens that read or consume.
    consumer_ids: Option<BTreeSet<Uuid>>,
    /// Only these streams; for tokens that read or consume.
    stream_ids: Option<BTreeSet<Uuid>>,
}

/// An API token.
#[derive(Debug, Serialize, ToSchema)]
struct ApiTokenOut {
    /// Its id.
    id: Uuid,
    /// Its organisation.
    org_id: Uuid,
    /// A name for people.
    name: String,
    /// What it may do.
    #[schema(value_type = Vec<ScopeDoc>)]
    scopes: BTreeSet<Scope>,
    /// Only these consumers, where given.
    consumer_ids: Option<BTreeSet<Uuid>>,
    /// Only these streams, where given.
    stream_ids: Option<BTreeSet<Uuid>>,
    /// Its value; shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    token: Option<Secret<String>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

fn out(token: Stored<StoredToken>) -> ApiTokenOut {
    let config::ApiToken {
        name,
        scopes,
        consumer_ids,
        stream_ids,
    } = token.value.token;
    let stream_ids = stream_ids.map(|ids| ids.into_iter().map(|id| id.0).collect());
    let (id, org_id, created_at) = (token.id, token.org.0, token.created_at);
    ApiTokenOut {
        id,
        org_id,
        name,
        scopes,
        consumer_ids,
        stream_ids,
        token: None,
        created_at,
    }
}

/// Makes an API token. Its value is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/api-tokens", tag = "tokens", request_body = ApiTokenIn,
    responses((status = 201, body = ApiTokenOut), Errors))]
async fn create_api_token(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NewId(id): NewId,
    Body(input): Body<ApiTokenIn>,
) -> Result<Response, ApiError> {
    unbound(&caller)?;
    let ApiTokenIn {
        name,
        scopes,
        consumer_ids,
        stream_ids,
    } = input;
    let bound = consumer_ids.is_some() || stream_ids.is_some();
    if bound
        && scopes
            .iter()
            .any(|scope| !matches!(scope, Scope::Read | Scope::Consume))
    {
        let reason =
            "must be only read and consume for a token that is bound to streams or consumers";
        return Err(ApiError::invalid("scopes", reason));
    }
    for id in stream_ids.iter().flatten() {
        app.engine.stream(caller.org, &id.to_string()).await?;
    }
    for id in consumer_ids.iter().flatten() {
        app.engine.consumer(caller.org, &id.to_string()).await?;
    }
    let stream_ids = stream_ids.map(|ids| ids.into_iter().map(StreamId).collect());
    let token = config::ApiToken {
        name,
        scopes,
        consumer_ids,
        stream_ids,
    };
    let (stored, value) = app.engine.create_token(caller.org, token, id).await?;
    let answer = ApiTokenOut {
        token: Some(Secret(value)),
        ..out(stored)
    };
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response.extensions_mut().insert(MaskOnReplay("token"));
    Ok(response)
}

/// Lists the API tokens that are not revoked, without their values.
#[utoipa::path(get, path = "/v1/api-tokens", tag = "tokens", params(PartParams),
    responses((status = 200, body = List<ApiTokenOut>), Errors))]
async fn list_api_tokens(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    Query(part): Query<PartParams>,
) -> Result<Json<List<ApiTokenOut>>, ApiError> {
    Ok(Json(
        Part::from(part).of(app.engine.tokens(caller.org).await?, out)?,
    ))
}

/// Revokes an API token, at once.
#[utoipa::path(delete, path = "/v1/api-tokens/{id}", tag = "tokens",
    params(("id" = Uuid, Path)), responses((status = 204), Errors))]
async fn revoke_api_token(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    IdPath(id): IdPath,
) -> Result<StatusCode, ApiError> {
    app.engine.revoke_token(caller.org, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
