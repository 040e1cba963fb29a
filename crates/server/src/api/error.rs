//! The one form in which the API says no.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headrace_engine::Error;
use headrace_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// Every code an answer can carry. Codes are stable: programs match on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The body or the query cannot be read at all.
    Malformed,
    /// No `Authorization` header.
    MissingToken,
    /// The `Authorization` header is not `Bearer <token>`.
    NotABearerToken,
    /// No token of this installation.
    UnknownToken,
    /// The token was revoked.
    RevokedToken,
    /// The token's scopes or bounds do not allow it.
    Forbidden,
    /// There is no such thing, or it belongs to another organisation.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// It contradicts what is there.
    Conflict,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Fields are missing, unknown or wrong; `validation_errors` names them.
    Invalid,
    /// Too many at once.
    TooMany,
    /// A fault of the server. It has been logged.
    Internal,
    /// The provider did not answer, or not usefully.
    UpstreamError,
    /// The provider did not answer in time.
    UpstreamTimeout,
    /// The server cannot do it now: it is stopping, or its disk is full.
    Unavailable,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::MissingToken
            | Self::NotABearerToken
            | Self::UnknownToken
            | Self::RevokedToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamError => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// An answer that says no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// One plain sentence: what is wrong and what to do.
    pub summary: String,
    /// A stable word for programs.
    pub code: Code,
    /// Reasons by field; only with code `invalid`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub validation_errors: BTreeMap<String, Vec<String>>,
    /// When to try again, where that may help.
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    /// An error with this code.
    pub(crate) fn new(code: Code, summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            code,
            validation_errors: BTreeMap::new(),
            retry_after_seconds: match code {
                Code::TooMany | Code::Unavailable => Some(1),
                _ => None,
            },
        }
    }

    /// The server cannot do it until somebody does something.
    fn until_somebody_helps(summary: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: None,
            ..Self::new(Code::Unavailable, summary)
        }
    }

    /// One field is wrong.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::invalid(field, reason).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let retry = self.retry_after_seconds;
        let mut response = (status, Json(self)).into_response();
        if let Some(seconds) = retry {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::new(Code::NotFound, error.to_string()),
            Error::Conflict(summary) => Self::new(Code::Conflict, summary),
            Error::TooMany(summary) => Self::new(Code::TooMany, summary),
            Error::UpstreamTimeout(summary) => Self::new(Code::UpstreamTimeout, summary),
            Error::Upstream(summary) => Self::new(Code::UpstreamError, summary),
            Error::Revoked => Self::new(Code::RevokedToken, error.to_string()),
            Error::ShuttingDown => Self::new(Code::Unavailable, error.to_string()),
            Error::Invalid(ref problems) => {
                let mut answer = Self::new(Code::Invalid, error.to_string());
                for problem in problems {
                    let reasons = answer
                        .validation_errors
                        .entry(problem.field.clone())
                        .or_default();
                    reasons.push(problem.reason.clone());
                }
                answer
            }
            Error::Store(error) => error.into(),
            other => Self::fault(&other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NameTaken { ref name, .. } => {
                Self::new(Code::Conflict, format!("the name {name:?} is taken"))
            }
            StoreError::Changed { .. } => Self::new(
                Code::Conflict,
                "it was changed by somebody else meanwhile: read it again",
            ),
            StoreError::NoConsumer => Self::new(Code::NotFound, "the consumer was removed"),
            StoreError::DiskFull => Self::new(Code::Unavailable, error.to_string()),
            StoreError::DiskFailed | StoreError::Overtaken | StoreError::NoRoom { .. } => {
                Self::until_somebody_helps(error.to_string())
            }
            // Nothing is secret about it, and nobody may have to look for it.
            StoreError::Damaged { .. } => {
                tracing::error!(%error, "a request failed");
                Self::new(Code::Internal, error.to_string())
            }
            StoreError::Closed => Self::new(Code::Unavailable, "the server is shutting down"),
            other => Self::fault(&other),
        }
    }
}

impl ApiError {
    /// A fault of ours: logged once with its causes, which are never sent.
    fn fault(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %headrace_engine::chain(error), "a request failed");
        Self::new(Code::Internal, "the server failed; its log has the reason")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_was_overtaken_is_told_as_such_and_not_to_be_tried_at_once() {
        let told = ApiError::from(StoreError::Overtaken);
        assert_eq!(told.code, Code::Unavailable);
        assert_eq!(told.summary, StoreError::Overtaken.to_string());
        assert!(
            !told
                .into_response()
                .headers()
                .contains_key(header::RETRY_AFTER)
        );
    }
}
