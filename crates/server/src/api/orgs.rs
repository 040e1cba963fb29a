//! `/v1/org`: the caller's own organisation. Others do not exist for it.

use axum::Json;
use axum::extract::State;
use headrace_engine::Stored;
use headrace_model::{Timestamp, config};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::CanRead;
use super::error::ApiError;
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_org))
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
struct OrgOut {
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Reads the token's organisation.
#[utoipa::path(get, path = "/v1/org", tag = "tokens", responses((status = 200, body = OrgOut), Errors))]
async fn get_org(
    CanRead(caller): CanRead,
    State(app): State<App>,
) -> Result<Json<OrgOut>, ApiError> {
    let Stored {
        id,
        created_at,
        value: config::Org { name },
        ..
    } = app.engine.org(caller.org).await?;
    Ok(Json(OrgOut {
        id,
        name,
        created_at,
    }))
}
