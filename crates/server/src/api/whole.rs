//! A request is carried out whole: a caller who hangs up in the middle of a change leaves no half of
//! it behind, and a panic answers as a fault of the server.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::error::{ApiError, Code};

/// Runs changes on a task of their own. Reading, and taking messages, ends with the caller: nothing
/// is handed out to somebody who has gone.
pub(super) async fn carry_out(request: Request, next: Next) -> Response {
    let takes_messages = request.uri().path().ends_with("/next");
    if takes_messages && request.method() == Method::HEAD {
        let summary = "HEAD would take messages and drop them: use GET or POST";
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
