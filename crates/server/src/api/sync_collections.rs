//! `/v1/syncs/{sync}/collections/{collection}`: one collection of a sync.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use headrace_engine::{Caller, Reread, Stored};
use headrace_model::Timestamp;
use headrace_model::config::{self};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanAdmin, unbound};
use super::error::{ApiError, Code};
use super::extract::Body;
use super::sync_docs::{SyncOut, out};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(pause_collection))
        .routes(routes!(resume_collection))
        .routes(routes!(backfill_collection))
        .routes(routes!(check_collection))
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
    #[schema(min_items = 1, max_items = 1000)]
    upstream_ids: Option<Vec<String>>,
    /// When everything is read: any number of records may turn out to be deleted. Without it, a number
    /// that is more than usual is only told.
    #[serde(default)]
    confirm_deletes: bool,
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
        confirm_deletes,
    }): Body<BackfillIn>,
) -> Result<(StatusCode, Json<SyncOut>), ApiError> {
    let (sync, collection) = of_collection(&app, &caller, path).await?;
    if confirm_deletes && (since.is_some() || upstream_ids.is_some()) {
        return Err(ApiError::invalid(
            "confirm_deletes",
            "deletes are looked for when everything is read: give neither since nor upstream_ids",
        ));
    }
    let reread = match (since, upstream_ids) {
        (None, None) => Reread::All { confirm_deletes },
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
