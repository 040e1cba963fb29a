//! Answers that do not arrive, or not whole.

use std::io;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use futures_util::stream;

/// A body that fails before its first byte closes the connection before anything is sent.
pub(super) fn reset() -> Response {
    let nothing = stream::once(async { Err::<Bytes, _>(connection_closed()) });
    Response::new(Body::from_stream(nothing))
}

/// Announces the whole body, sends half of it, and closes the connection.
pub(super) async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return reset();
    };
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    let halves = stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(half), None)),
            None => {
                // Lets the server send what it has before it learns of the failure.
                tokio::task::yield_now().await;
                Some((Err(connection_closed()), None))
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(halves))
}

fn connection_closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "scripted fault")
}
