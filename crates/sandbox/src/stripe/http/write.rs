//! Writes over HTTP: form bodies and idempotency keys.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use serde_json::Value;

use super::{Answer, IDEMPOTENCY_KEY, RequestId, json_text, put, text};
use crate::form;
use crate::stripe::error::Error;
use crate::stripe::state::{Cause, Reply, State};
use crate::stripe::{Stripe, expand};

/// Seconds an idempotency key is remembered.
const REPLIES_KEPT: i64 = 24 * 60 * 60;

/// The circumstances of a write.
pub(super) struct Write {
    pub(super) method: Method,
    pub(super) uri: Uri,
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
    pub(super) fn form(&self, body: &Bytes) -> Result<String, Error> {
        let kind = text(&self.headers, &CONTENT_TYPE).unwrap_or_default();
        if !body.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Error::NotAForm);
        }
        String::from_utf8(body.to_vec()).map_err(|_| Error::NotAForm)
    }

    /// Carries out `operation`, or repeats the answer it had under the same idempotency key.
    pub(super) fn once(
        self,
        stripe: &Stripe,
        body: &Bytes,
        operation: impl FnOnce(&mut State, &Cause) -> Result<Value, Error>,
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
        let mut answer = operation(&mut state, &cause)?;
        let paths = expand::paths(&form::pairs(&String::from_utf8_lossy(body)));
        // The write is done: a path that cannot be expanded is no longer a reason to refuse it.
        drop(expand::expand(&state, &mut answer, &paths));
        let text: Arc<str> = answer.to_string().into();
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
