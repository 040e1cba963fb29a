//! What every request goes through before and after its route.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, DATE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::time::Instant;

use super::broken::{reset, truncated};
use super::{IDEMPOTENCY_KEY, RequestId, STRIPE_VERSION, json_bytes, json_text, put, text};
use crate::clock::http_date;
use crate::fault::FaultKind;
use crate::stripe::Stripe;
use crate::stripe::error::Error;

/// The log, the faults, the limit, the key, the headers.
pub(super) async fn envelope(
    State(stripe): State<Stripe>,
    mut request: Request,
    next: Next,
) -> Response {
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
