//! The HTTP API: every route in one list, one file per resource.
//!
//! Handlers only read the request, call a use case and write the answer. Everything under `/v1` needs
//! a token. What does not is in [`open`], each with its own proof.

mod auth;
pub(crate) mod backups;
mod collections;
mod consumer_docs;
mod consumers;
mod credentials;
mod dead_letters;
mod either;
pub(crate) mod error;
mod extract;
mod health;
mod idempotency;
mod list;
mod live;
mod messages;
mod metadata;
mod openapi;
mod orgs;
mod pace;
mod patch;
mod record_json;
mod records;
mod settling;
mod streams;
mod sync_collections;
mod sync_docs;
mod syncs;
mod tokens;
mod whole;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Router, middleware};
use headrace_engine::Engine;
use utoipa_axum::router::OpenApiRouter;

use crate::metrics::Metrics;
use error::{ApiError, Code};
pub(crate) use openapi::Errors;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    /// The use cases.
    pub engine: Arc<Engine>,
    /// The metrics.
    pub metrics: Metrics,
    /// Where the embedded store keeps its data.
    pub data_dir: Arc<std::path::Path>,
    /// When the store was last found to be able to write.
    pub ready: Arc<tokio::sync::Mutex<Option<tokio::time::Instant>>>,
    /// How long the next piece of a request's body may take.
    pub read_timeout: std::time::Duration,
}

/// Every route that carries no token: they tell nothing but whether the server works.
fn open() -> OpenApiRouter<App> {
    health::open_routes()
}

/// Every route that needs a token.
fn guarded() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(streams::routes())
        .merge(credentials::routes())
        .merge(collections::routes())
        .merge(syncs::routes())
        .merge(sync_collections::routes())
        .merge(live::routes())
        .merge(records::routes())
        .merge(consumers::routes())
        .merge(consumers::plural_routes())
        .merge(messages::routes())
        .merge(settling::routes())
        .merge(dead_letters::routes())
        .merge(tokens::routes())
        .merge(orgs::routes())
        .merge(backups::routes())
        .merge(health::routes())
        .merge(openapi::routes())
}

/// The whole API as a service.
pub(crate) fn router(app: App) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let (open, _) = open().split_for_parts();
    // Unknown paths under /v1 are guarded too: without a token nobody learns what exists.
    let guarded = guarded
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn(whole::carry_out))
        .layer(from_fn_with_state(app.clone(), idempotency::replay))
        .layer(from_fn_with_state(app.clone(), auth::authenticate));
    let open = open.method_not_allowed_fallback(unknown_method);
    Router::new()
        .merge(open)
        .fallback_service(guarded.with_state(app.clone()))
        .layer(from_fn_with_state(app.clone(), pace::hurry))
        .layer(from_fn_with_state(app.clone(), count))
        .layer(middleware::map_response(harden))
        .with_state(app)
}

async fn unknown_path() -> ApiError {
    ApiError::new(
        Code::NotFound,
        "there is nothing at this path: /v1/openapi.json lists what there is",
    )
}

async fn unknown_method() -> ApiError {
    ApiError::new(
        Code::MethodNotAllowed,
        "this path does not take this method",
    )
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.answered(response.status().as_u16());
    response
}

/// Answers are data for one caller: nobody may keep, sniff or frame them.
async fn harden(mut response: Response) -> Response {
    use axum::http::{HeaderValue, header};
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}
