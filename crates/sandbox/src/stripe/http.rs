//! The HTTP side: routes, authentication, idempotency, limits, faults and headers.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Path, RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;

use super::collection::Collection;
use super::error::Error;
use super::state::{Cause, Reply};
use super::{Stripe, operations, query};
use crate::clock::http_date;
use crate::fault::FaultKind;
use crate::form;

/// Seconds an idempotency key is remembered.
const REPLIES_KEPT: i64 = 24 * 60 * 60;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

#[derive(Clone)]
struct RequestId(String);

type Answer = Result<Response, Error>;

pub(super) fn router(stripe: Stripe) -> axum::Router {
    axum::Router::new()
        .route("/v1/account", get(account))
        .route("/v1/{collection}", get(list).post(create))
        .route(
            "/v1/{collection}/{id}",
            get(retrieve).post(update).delete(delete),
        )
        .route("/v1/{collection}/{id}/{action}", get(list_lines).post(act))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(stripe.clone(), envelope))
        .with_state(stripe)
}

async fn account(State(stripe): State<Stripe>) -> Response {
    json_text(stripe.state().account_text())
}

async fn list(
    State(stripe): State<Stripe>,
    Path(segment): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
) -> Answer {
    let collection = collection(&segment, &method, &uri)?;
    let pairs = form::pairs(query.as_deref().unwrap_or_default());
    let page = query::page(&stripe.state(), collection, pairs, stripe.now())?;
    Ok(json_text(query::body(&format!("/v1/{segment}"), &page)))
}

async fn list_lines(
    State(stripe): State<Stripe>,
    Path((segment, id, nested)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
) -> Answer {
    if segment != "invoices" || nested != "lines" {
        return Err(url_unknown(&method, &uri));
    }
    let mut pairs = form::pairs(query.as_deref().unwrap_or_default());
    if let Some((name, _)) = pairs.iter().find(|(name, _)| name == "invoice") {
        return Err(Error::ParameterUnknown(name.clone()));
    }
    let state = stripe.state();
    state.find(Collection::Invoice, &id)?;
    pairs.push(("invoice".to_owned(), id.clone()));
    let page = query::page(&state, Collection::InvoiceLine, pairs, stripe.now())?;
    Ok(json_text(query::body(
        &format!("/v1/invoices/{id}/lines"),
        &page,
    )))
}

async fn retrieve(
    State(stripe): State<Stripe>,
    Path((segment, id)): Path<(String, String)>,
    method: Method,
    uri: Uri,
) -> Answer {
    let collection = collection(&segment, &method, &uri)?;
    let text = stripe.state().retrieve(collection, &id, stripe.now())?;
    Ok(json_text(text.to_string()))
}

async fn create(
    State(stripe): State<Stripe>,
    Path(segment): Path<String>,
    write: Write,
    body: Bytes,
) -> Answer {
    let collection = collection(&segment, &write.method, &write.uri)?;
    let params = form::nested(form::pairs(&write.form(&body)?));
    write.once(&stripe, &body, |state, cause| {
        operations::create(state, collection, params, cause)
    })
}

async fn update(
    State(stripe): State<Stripe>,
    Path((segment, id)): Path<(String, String)>,
    write: Write,
    body: Bytes,
) -> Answer {
    let collection = collection(&segment, &write.method, &write.uri)?;
    let params = form::nested(form::pairs(&write.form(&body)?));
    write.once(&stripe, &body, |state, cause| {
        operations::update(state, collection, &id, params, cause)
    })
}

async fn delete(
    State(stripe): State<Stripe>,
    Path((segment, id)): Path<(String, String)>,
    write: Write,
    body: Bytes,
) -> Answer {
    let collection = collection(&segment, &write.method, &write.uri)?;
    write.once(&stripe, &body, |state, cause| {
        operations::delete(state, collection, &id, cause)
    })
}

async fn act(
    State(stripe): State<Stripe>,
    Path((segment, id, action)): Path<(String, String, String)>,
    write: Write,
    body: Bytes,
) -> Answer {
    let collection = collection(&segment, &write.method, &write.uri)?;
    write.once(&stripe, &body, |state, cause| {
        operations::act(state, collection, &id, &action, cause)
    })
}

async fn unknown(method: Method, uri: Uri) -> Error {
    url_unknown(&method, &uri)
}

/// The circumstances of a write.
struct Write {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request_id: String,
}

impl FromRequestParts<Stripe> for Write {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Stripe) -> Result<Self, Error> {
        let request_id = parts.extensions.get::<RequestId>();
        Ok(Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            request_id: request_id
                .map(|RequestId(id)| id.clone())
                .unwrap_or_default(),
        })
    }
}

impl Write {
    fn form(&self, body: &Bytes) -> Result<String, Error> {
        let kind = text(&self.headers, &CONTENT_TYPE).unwrap_or_default();
        if !body.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Error::NotAForm);
        }
        String::from_utf8(body.to_vec()).map_err(|_| Error::NotAForm)
    }

    /// Carries out `operation`, or repeats the answer it had under the same idempotency key.
    fn once(
        self,
        stripe: &Stripe,
        body: &Bytes,
        operation: impl FnOnce(&mut super::state::State, &Cause) -> Result<Value, Error>,
    ) -> Answer {
        let now = stripe.now();
        let key = text(&self.headers, &IDEMPOTENCY_KEY).map(str::to_owned);
        let request = format!(
            "{} {} {}",
            self.method,
            self.uri,
            String::from_utf8_lossy(body)
        );
        let mut state = stripe.state();
        if let Some(key) = &key
            && let Some(reply) = state.replies.get(key)
            && now - reply.at < REPLIES_KEPT
        {
            return if reply.request == request {
                Ok(replayed(reply))
            } else {
                Err(Error::KeyReused(key.clone()))
            };
        }
        let cause = Cause {
            at: now,
            announced: true,
            request_id: Some(self.request_id.clone()),
            idempotency_key: key.clone(),
        };
        let text: Arc<str> = operation(&mut state, &cause)?.to_string().into();
        if let Some(key) = key {
            let (request_id, text) = (self.request_id, Arc::clone(&text));
            state.replies.insert(
                key,
                Reply {
                    at: now,
                    request,
                    request_id,
                    text,
                },
            );
        }
        Ok(json_text(text.to_string()))
    }
}

fn replayed(reply: &Reply) -> Response {
    let mut response = json_text(reply.text.to_string());
    let headers = response.headers_mut();
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    put(
        headers,
        HeaderName::from_static("original-request"),
        &reply.request_id,
    );
    response
}

/// What every request goes through: the log, the faults, the limit, the key, the headers.
async fn envelope(State(stripe): State<Stripe>, mut request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    stripe.requests().push(format!("{method} {uri}"));
    let request_id = stripe.new_request_id();
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let headers = request.headers();
    let version = text(headers, &STRIPE_VERSION).unwrap_or(&stripe.0.options.api_version);
    let mut echoed = vec![(STRIPE_VERSION, version.to_owned())];
    if let Some(key) = text(headers, &IDEMPOTENCY_KEY) {
        echoed.push((IDEMPOTENCY_KEY, key.to_owned()));
    }

    let mut response = match stripe.faults().take(method.as_str(), uri.path()) {
        None => admitted(&stripe, request, next).await,
        Some(FaultKind::Status {
            code,
            headers,
            body,
        }) => scripted(code, &headers, body),
        Some(FaultKind::RawBody(bytes)) => json_bytes(bytes),
        Some(FaultKind::ResetConnection) => reset(),
        Some(FaultKind::LoseAnswer) => {
            admitted(&stripe, request, next).await;
            reset()
        }
        Some(FaultKind::TruncateBody) => truncated(admitted(&stripe, request, next).await).await,
        Some(FaultKind::Delay(time)) => {
            tokio::time::sleep(time).await;
            admitted(&stripe, request, next).await
        }
    };
    let headers = response.headers_mut();
    for (name, value) in echoed {
        put(headers, name, &value);
    }
    put(headers, HeaderName::from_static("request-id"), &request_id);
    put(headers, DATE, &http_date(stripe.now()));
    response
}

async fn admitted(stripe: &Stripe, request: Request, next: Next) -> Response {
    if stripe
        .0
        .limit
        .as_ref()
        .is_some_and(|limit| !limit.admits(Instant::now()))
    {
        let mut response = Error::RateLimited.into_response();
        let headers = response.headers_mut();
        let reason = HeaderValue::from_static("global-rate");
        headers.insert("stripe-rate-limited-reason", reason);
        if let Some(should_retry) = stripe.0.options.should_retry {
            let name = HeaderName::from_static("stripe-should-retry");
            put(headers, name, &should_retry.to_string());
        }
        return response;
    }
    if let Err(refusal) = authenticate(stripe, request.headers()) {
        let mut response = refusal.into_response();
        let scheme = HeaderValue::from_static("Basic realm=\"Stripe\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        return response;
    }
    next.run(request).await
}

fn authenticate(stripe: &Stripe, headers: &HeaderMap) -> Result<(), Error> {
    let given = text(headers, &AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(rest.trim().to_owned()),
            "basic" => {
                let user_and_password = BASE64_STANDARD.decode(rest.trim()).ok()?;
                let text = String::from_utf8(user_and_password).ok()?;
                Some(text.split(':').next().unwrap_or_default().to_owned())
            }
            _ => None,
        }
    });
    match given {
        None => Err(Error::KeyMissing),
        Some(key) if key.is_empty() => Err(Error::KeyMissing),
        Some(key) if key == *stripe.key() => Ok(()),
        Some(key) => Err(Error::KeyUnknown(abridged(&key))),
    }
}

/// The first seven and last four characters of a key, the rest as stars.
fn abridged(key: &str) -> String {
    let length = key.chars().count();
    let shown = |index| index < 7 || index + 4 >= length;
    key.chars()
        .enumerate()
        .map(|(index, c)| if shown(index) { c } else { '*' })
        .collect()
}

fn scripted(code: u16, headers: &[(String, String)], body: String) -> Response {
    let mut response = json_text(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Ok(name) = name.parse::<HeaderName>() {
            put(response.headers_mut(), name, value);
        }
    }
    response
}

/// A body that fails before its first byte closes the connection before anything is sent.
fn reset() -> Response {
    let nothing = stream::once(async { Err::<Bytes, _>(connection_closed()) });
    Response::new(Body::from_stream(nothing))
}

/// Announces the whole body, sends half of it, and closes the connection.
async fn truncated(response: Response) -> Response {
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

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = json_text(self.body().to_string());
        *response.status_mut() =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::BAD_REQUEST);
        response
    }
}

fn json_text(text: String) -> Response {
    json_bytes(text.into())
}

fn json_bytes(bytes: Bytes) -> Response {
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        bytes,
    )
        .into_response()
}

fn collection(segment: &str, method: &Method, uri: &Uri) -> Result<Collection, Error> {
    Collection::at(segment).ok_or_else(|| url_unknown(method, uri))
}

fn url_unknown(method: &Method, uri: &Uri) -> Error {
    Error::UrlUnknown {
        method: method.to_string(),
        path: uri.path().to_owned(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Sets a header, unless the value cannot be one.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
