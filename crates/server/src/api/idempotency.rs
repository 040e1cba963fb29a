//! `Idempotency-Key`: a repeated request gets the first answer, and does nothing again.
//!
//! Honoured on every POST that makes or changes something. Taking and settling messages is left out:
//! tokens make settling repeatable, and a replayed delivery would be a delivery to nobody.
//!
//! A process can end between the work and its answer. The key stays with its request then, and what
//! the request makes has an id that follows from them ([`NewId`]): another attempt finds it.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headrace_engine::{Caller, Engine};
use headrace_store::{Answer, AnswerKey, Breakpoint, Claim, breakpoint};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::App;
use super::error::{ApiError, Code};
use super::extract::collect;
use super::whole::is_at;

/// Put on an answer that shows a secret: its replay has that member masked.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskOnReplay(pub(super) &'static str);

/// How a secret looks when it is not shown.
pub(crate) const MASK: &str = "***********";

/// The id of what this request makes; `None` where any will do.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewId(pub(super) Option<Uuid>);

#[derive(Clone, Copy, Debug)]
struct Claimed(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for NewId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get().map(|Claimed(id)| *id)))
    }
}

const NAME: &str = "idempotency-key";
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// Answers a repeated POST with its first answer.
pub(super) async fn replay(State(app): State<App>, request: Request, next: Next) -> Response {
    let worker = ["/next", "/ack", "/nack", "/extend", "/settle"];
    let applies =
        request.method() == Method::POST && !worker.iter().any(|end| is_at(&request, end));
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
    let (mut parts, body) = request.into_parts();
    let body = collect(body).await?;
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
    let request = hash.finalize().into();
    let (claim, in_use) = app.engine.claim(&key, request).await?;
    match claim {
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
        Claim::Yours { since } => {
            let id = Engine::id_for(&key, request, since);
            parts.extensions.insert(Claimed(id));
        }
    }
    // On a task of its own: a caller that hangs up must not leave the key claimed and unanswered.
    let app = app.clone();
    let work = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        breakpoint(Breakpoint::Unanswered);
        let answered = keep(&app, &key, response).await;
        drop(in_use);
        answered
    });
    work.await
        .map_err(|_| ApiError::new(Code::Internal, "the server failed; its log has the reason"))?
}

/// Keeps a good answer for replay. A refusal gives the key free again; a failure may have come after
/// the work, and leaves it to the same request.
async fn keep(app: &App, key: &AnswerKey, response: Response) -> Result<Response, ApiError> {
    if response.status().is_server_error() {
        return Ok(response);
    }
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
