//! `Idempotency-Key`: a repeated request gets the first answer, and does nothing again.
//!
//! Honoured on every POST that makes or changes something. Taking and settling messages is left out:
//! tokens make settling repeatable, and a replayed delivery would be a delivery to nobody.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headrace_engine::Caller;
use headrace_store::{Answer, AnswerKey, Claim};
use sha2::{Digest, Sha256};

use super::App;
use super::error::{ApiError, Code};
use super::extract::MAX_BODY_BYTES;

/// Put on an answer that shows a secret: its replay has that member masked.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskOnReplay(pub(super) &'static str);

/// How a secret looks when it is not shown.
pub(crate) const MASK: &str = "***********";

const NAME: &str = "idempotency-key";
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// Answers a repeated POST with its first answer.
pub(super) async fn replay(State(app): State<App>, request: Request, next: Next) -> Response {
    let worker = ["/next", "/ack", "/nack", "/extend", "/settle"];
    let path = request.uri().path();
    let applies = request.method() == Method::POST && !worker.iter().any(|end| path.ends_with(end));
    let key = request.headers().get(NAME).cloned().filter(|_| applies);
    let caller = request.extensions().get::<Caller>().cloned();
    match (key, caller) {
        (Some(key), Some(caller)) => match keyed(&app, &caller, &key, request, next).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        },
        _ => next.run(request).await,
    }
}

async fn keyed(
    app: &App,
    caller: &Caller,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let key = key
        .to_str()
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= MAX_KEY);
    let key = key.ok_or_else(|| {
        ApiError::new(
            Code::Malformed,
            "the Idempotency-Key must be 1 to 255 ASCII characters",
        )
    })?;
    let (parts, body) = request.into_parts();
    let too_large = |_| {
        ApiError::new(
            Code::TooLarge,
            "the body is larger than 4 MiB: send less at a time",
        )
    };
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(too_large)?;
    // The token takes part: an answer must not reach a token that may do less.
    let mut hash = Sha256::new();
    hash.update(caller.token.as_bytes());
    hash.update(parts.uri.query().unwrap_or_default().as_bytes());
    hash.update([0]);
    hash.update(&body);
    let key = AnswerKey {
        org: caller.org,
        endpoint: format!("{} {}", parts.method, parts.uri.path()),
        key: key.to_owned(),
    };
    match app.engine.claim(&key, hash.finalize().into()).await? {
        Claim::Answered(Answer { status, body }) => return replayed(app, &key, status, &body),
        Claim::Running => {
            let summary =
                "the first request with this Idempotency-Key is still running: wait for its answer";
            return Err(ApiError::new(Code::Conflict, summary));
        }
        Claim::OtherRequest => {
            let summary = "this Idempotency-Key was used for another request: use a new key";
            return Err(ApiError::new(Code::Conflict, summary));
        }
        Claim::Yours => {}
    }
    // On a task of its own: a caller that hangs up must not leave the key claimed and unanswered.
    let app = app.clone();
    let work = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        keep(&app, &key, response).await
    });
    work.await
        .map_err(|_| ApiError::new(Code::Internal, "the server failed; its log has the reason"))?
}

/// Keeps a good answer for replay; any other gives the key free again.
async fn keep(app: &App, key: &AnswerKey, response: Response) -> Result<Response, ApiError> {
    if !response.status().is_success() {
        app.engine.keep_answer(key, None).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await;
    let body = body
        .map_err(|_| ApiError::new(Code::Internal, "the server failed; its log has the reason"))?;
    let kept = match parts.extensions.get::<MaskOnReplay>() {
        Some(MaskOnReplay(member)) => masked(&body, member),
        None => body.clone(),
    };
    app.engine
        .keep_answer(key, Some((parts.status.as_u16(), &kept)))
        .await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn masked(body: &Bytes, member: &str) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Bytes::new();
    };
    if let Some(secret) = value.get_mut(member) {
        *secret = MASK.into();
    }
    value.to_string().into()
}

fn replayed(app: &App, key: &AnswerKey, status: u16, sealed: &[u8]) -> Result<Response, ApiError> {
    let body = app.engine.open_answer(key, sealed)?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    Ok(response)
}
