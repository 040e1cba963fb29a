//! What handlers take in: bodies and queries that are read strictly, and ids.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::pace::Stalled;

/// The largest body the API takes, in bytes. A call with 20,000 ack tokens has 0.8 MB.
pub(crate) const MAX_BODY_BYTES: usize = 4 << 20;

/// A JSON body. An empty one is `{}`. Unknown fields are refused by the types themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read_body(request).await?;
        let bytes = if bytes.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            bytes
        };
        Ok(Self(parse_json(&bytes)?))
    }
}

/// Reads a JSON body's bytes: checks its type and its size.
pub(super) async fn read_body(request: Request) -> Result<Bytes, ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let bytes = collect(request.into_body()).await?;
    let is_json = |kind: &str| {
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    };
    let named = kind.map(|kind| kind.to_str().is_ok_and(is_json));
    if !bytes.is_empty() && named == Some(false) {
        let summary = "the body must be JSON: send it with Content-Type: application/json";
        return Err(ApiError::new(Code::UnsupportedMediaType, summary));
    }
    Ok(bytes)
}

/// Reads a body up to [`MAX_BODY_BYTES`]. Of a larger one the rest is read and dropped, within reason:
/// a caller that is still sending would not see the answer.
pub(super) async fn collect(body: axum::body::Body) -> Result<Bytes, ApiError> {
    const DROPPED: usize = 64 << 20;
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut size = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(broken)?;
        size += chunk.len();
        if size <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        } else if size > DROPPED {
            break;
        }
    }
    match size <= MAX_BODY_BYTES {
        true => Ok(bytes.freeze()),
        false => Err(ApiError::new(
            Code::TooLarge,
            "the body is larger than 4 MiB: send less at a time",
        )),
    }
}

fn broken(error: axum::Error) -> ApiError {
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    match causes.any(|cause| cause.is::<Stalled>()) {
        true => ApiError::new(Code::TooSlow, Stalled.to_string()),
        false => ApiError::new(Code::Malformed, "the body ended before it was complete"),
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde would take an array for an object, member by member.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first
        .is_some_and(|first| matches!(first, b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n'))
    {
        serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
            .map_err(|error| malformed(&error))?;
        return Err(ApiError::invalid("body", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => refused(&path, &inner.to_string()),
            _ => malformed(&inner),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        Code::Malformed,
        format!("the body is not valid JSON: {error}"),
    )
}

/// Query parameters, read as strictly as bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let value = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        value
            .map(Self)
            .map_err(|error| refused(&error.path().to_string(), &error.inner().to_string()))
    }
}

/// An id in a path. What is no id addresses nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdPath(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for IdPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let NamePath(text) = NamePath::from_request_parts(parts, state).await?;
        let id = headrace_model::ids::parse_uuid(&text);
        let absent = || {
            ApiError::new(
                Code::NotFound,
                format!("there is nothing with the id {text:?}"),
            )
        };
        id.map(Self).ok_or_else(absent)
    }
}

/// An id or slug in a path.
#[derive(Clone, Debug)]
pub(crate) struct NamePath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let absent = |_| ApiError::new(Code::NotFound, "there is nothing at this path");
        path.map(|axum::extract::Path(text)| Self(text))
            .map_err(absent)
    }
}

/// Names the field that serde refused. Serde's own sentences name the field in backquotes for unknown
/// and missing fields, where the path ends at the object around it.
fn refused(path: &str, message: &str) -> ApiError {
    let reason = message
        .split(" at line ")
        .next()
        .unwrap_or(message)
        .to_owned();
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let around = |field: &str| match path {
        "." | "" => field.to_owned(),
        path if path.ends_with(field) => path.to_owned(),
        path => format!("{path}.{field}"),
    };
    if message.starts_with("unknown field") {
        let known = reason.split_once(", ").map_or("", |(_, known)| known);
        return ApiError::invalid(around(quoted), format!("is not a field here: {known}"));
    }
    if message.starts_with("missing field") {
        return ApiError::invalid(around(quoted), "is needed");
    }
    let field = if path == "." {
        "body".to_owned()
    } else {
        path.to_owned()
    };
    if message.starts_with("data did not match any variant") {
        return ApiError::invalid(field, "must have one of its documented forms");
    }
    // What was given is not repeated: it may be a secret in the wrong place.
    let reason = match reason.rsplit_once(", expected ") {
        Some((_, expected)) => format!("must be {}", in_words(expected)),
        None => reason,
    };
    ApiError::invalid(field, reason)
}

/// What serde expected, for people who do not write Rust.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_told_in_words() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "nothing reads what cannot be made")]
        struct In {
            count: u64,
            names: Vec<String>,
        }
        for (body, told) in [
            (r#"{"count": "x"}"#, "must be a whole number, not below 0"),
            (r#"{"count": 1, "names": 5}"#, "must be a list"),
            (r#"{"count": 1, "names": [5]}"#, "must be a string"),
        ] {
            let error = serde_json::from_str::<In>(body).unwrap_err();
            let told_as = format!("{:?}", refused("count", &error.to_string()));
            assert!(told_as.contains(told), "{told_as}");
        }
    }
}
