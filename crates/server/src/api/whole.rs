//! A request is carried out whole: a caller who hangs up in the middle of a change leaves no half of
//! it behind, and a panic answers as a fault of the server.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::error::{ApiError, Code};

/// Whether the request's route ends so. Its path may do so too where that is the name of something.
pub(super) fn is_at(request: &Request, end: &str) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    route.is_some_and(|route| route.as_str().ends_with(end))
}

/// Runs changes on a task of their own. Reading, and taking messages, ends with the caller: nothing
/// is handed out to somebody who has gone.
pub(super) async fn carry_out(request: Request, next: Next) -> Response {
    let takes_messages = is_at(&request, "/next");
    if request.method() == Method::HEAD && (takes_messages || is_at(&request, "/backup")) {
        let summary = "HEAD would do all the work of a GET and drop what it makes: use GET";
        return ApiError::new(Code::MethodNotAllowed, summary).into_response();
    }
    let ends_with_caller =
        takes_messages || matches!(*request.method(), Method::GET | Method::HEAD);
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    let done = match ends_with_caller {
        true => work.await.ok(),
        false => tokio::spawn(work).await.ok().and_then(Result::ok),
    };
    done.unwrap_or_else(|| {
        let summary = "the server failed; its log has the reason";
        ApiError::new(Code::Internal, summary).into_response()
    })
}
