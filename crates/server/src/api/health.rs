//! `/health`, `/ready` and `/v1/metrics`: whether it lives, whether it can work, how it does.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headrace_store::StoreError;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanRead, unbound};
use super::error::{ApiError, Code};
use super::{App, Errors};

pub(super) fn open_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
struct StatusOut {
    /// `ok`.
    status: &'static str,
}

/// Whether the server lives.
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses((status = 200, body = StatusOut)))]
async fn health() -> Json<StatusOut> {
    Json(StatusOut { status: "ok" })
}

/// Whether the server can work: its store can write.
#[utoipa::path(get, path = "/ready", tag = "health", security(()), responses((status = 200, body = StatusOut), Errors))]
async fn ready(State(app): State<App>) -> Result<Json<StatusOut>, ApiError> {
    // Asking costs a write: whoever asks again within a second gets the same answer.
    let mut asked = app.ready.lock().await;
    let fresh = asked.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
    if !fresh {
        *asked = None;
        let ready = app.engine.store().ready().await;
        ready.map_err(|error| not_ready(&error))?;
        *asked = Some(Instant::now());
    }
    Ok(Json(StatusOut { status: "ok" }))
}

/// In a plain word: anybody may ask. The log has the rest.
fn not_ready(error: &StoreError) -> ApiError {
    let why = match error {
        StoreError::DiskFull => "the disk is full",
        StoreError::DiskFailed => "the disk failed to store what was written",
        StoreError::Damaged { .. } => "stored data is damaged",
        StoreError::Closed => "the server is shutting down",
        other => {
            tracing::error!(error = %headrace_engine::chain(other), "the store is not ready");
            "the store cannot write"
        }
    };
    ApiError::new(Code::Unavailable, format!("not ready: {why}"))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, content_type = "text/plain", body = String), Errors))]
async fn metrics(CanRead(caller): CanRead, State(app): State<App>) -> Result<Response, ApiError> {
    // They are of everything.
    unbound(&caller)?;
    let clock = app.engine.clock();
    let (machine, used) = (clock.machine(), clock.now());
    let ahead = machine.since(used).as_secs_f64() - used.since(machine).as_secs_f64();
    app.metrics.clock_is_ahead(ahead);
    let text = app.metrics.render();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
