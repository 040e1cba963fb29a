//! A request's body has to keep coming.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::App;

/// The caller stopped sending.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
pub(super) struct Stalled;

/// A whole body may take so many times what each piece of it may take.
const WHOLE: u32 = 10;

/// Lets a body fail with [`Stalled`] when it pauses for too long, or takes too long in all.
pub(super) async fn hurry(
    State(App { read_timeout, .. }): State<App>,
    request: Request,
    next: Next,
) -> Response {
    let request = match request.body().is_end_stream() {
        true => request,
        false => request.map(|body| hurried(body, read_timeout)),
    };
    next.run(request).await
}

fn hurried(body: Body, pause: Duration) -> Body {
    let give_up = Instant::now() + pause * WHOLE;
    let pieces = stream::unfold(Some(body.into_data_stream()), move |rest| async move {
        let mut rest = rest?;
        match timeout_at(give_up, timeout(pause, rest.next())).await {
            Ok(Ok(piece)) => Some((piece?.map_err(axum::BoxError::from), Some(rest))),
            Ok(Err(_)) | Err(_) => Some((Err(Stalled.into()), None)),
        }
    });
    Body::from_stream(pieces)
}
