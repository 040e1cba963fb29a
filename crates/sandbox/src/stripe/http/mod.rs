//! The HTTP side: every route, and the form of answers.

mod broken;
mod envelope;
mod write;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use super::collection::Collection;
use super::error::Error;
use super::state::State as Sandbox;
use super::{Stripe, expand, operations, query};
use crate::form;
use envelope::envelope;
use write::Write;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// The id a request was given on arrival.
#[derive(Clone)]
struct RequestId(String);

type Answer = Result<Response, Error>;

pub(super) fn router(stripe: Stripe) -> axum::Router {
    axum::Router::new()
        .route("/v1/account", get(account))
        .route("/v1/balance", get(balance))
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

async fn balance() -> Response {
    json_text(super::objects::balance().to_string())
}

async fn list(
    State(stripe): State<Stripe>,
    Path(segment): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
) -> Answer {
    let Some(collection) = Collection::at(&segment) else {
        return plain(&stripe, query.as_deref(), &method, &uri);
    };
    let pairs = form::pairs(query.as_deref().unwrap_or_default());
    let state = stripe.state();
    let paths = expand::paths(&pairs);
    let page = query::page(&state, collection, pairs, stripe.now())?;
    let body = query::body(&format!("/v1/{segment}"), &page);
    expanded(&state, body, &paths)
}

async fn list_lines(
    State(stripe): State<Stripe>,
    Path((segment, id, nested)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
) -> Answer {
    if segment != "invoices" || nested != "lines" {
        return plain(&stripe, query.as_deref(), &method, &uri);
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
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
) -> Answer {
    let Some(collection) = Collection::at(&segment) else {
        return plain(&stripe, query.as_deref(), &method, &uri);
    };
    let pairs = form::pairs(query.as_deref().unwrap_or_default());
    if let Some((name, _)) = pairs.iter().find(|(name, _)| !expand::is_asked_by(name)) {
        return Err(Error::ParameterUnknown(name.clone()));
    }
    let state = stripe.state();
    let text = state.retrieve(collection, &id, stripe.now())?;
    expanded(&state, text.to_string(), &expand::paths(&pairs))
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

/// What a plain list has at this address.
fn plain(stripe: &Stripe, query: Option<&str>, method: &Method, uri: &Uri) -> Answer {
    let pairs = form::pairs(query.unwrap_or_default());
    let path = uri.path().trim_start_matches("/v1/");
    let found = stripe.state().plain.get(path, &pairs);
    let found = found.unwrap_or_else(|| Err(url_unknown(method, uri)))?;
    Ok(json_text(found.to_string()))
}

async fn unknown(method: Method, uri: Uri) -> Error {
    url_unknown(&method, &uri)
}

/// The answer `text`, parsed only when there is something to expand in it.
fn expanded(state: &Sandbox, text: String, paths: &[String]) -> Answer {
    if paths.is_empty() {
        return Ok(json_text(text));
    }
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
    expand::expand(state, &mut answer, paths)?;
    Ok(json_text(answer.to_string()))
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
