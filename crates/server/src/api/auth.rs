//! Who calls. Everything under `/v1` needs a token; a handler gets its caller only through an
//! extractor that has checked the scope, so that nothing can be reached without one.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use headrace_engine::{Caller, TokenError};
use headrace_model::StreamId;
use headrace_model::config::Scope;
use uuid::Uuid;

use super::App;
use super::error::{ApiError, Code};

/// Lets a request under `/v1` pass with a good token only.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION).cloned();
    match identify(&app, header.as_ref()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn identify(app: &App, header: Option<&HeaderValue>) -> Result<Caller, ApiError> {
    let Some(header) = header else {
        let summary = "a token is needed: send the header Authorization: Bearer <api token>";
        return Err(ApiError::new(Code::MissingToken, summary));
    };
    let bearer = header
        .to_str()
        .ok()
        .and_then(|header| header.split_once(' '));
    let Some((_, token)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
    else {
        let summary = "the Authorization header must be: Bearer <api token>";
        return Err(ApiError::new(Code::NotABearerToken, summary));
    };
    app.engine
        .authenticate(token.trim())
        .await?
        .map_err(|error| match error {
            TokenError::Unknown => {
                ApiError::new(Code::UnknownToken, "this token is not known here")
            }
            TokenError::Revoked => ApiError::new(Code::RevokedToken, "this token was revoked"),
        })
}

macro_rules! permission {
    ($(#[$doc:meta])* $name:ident, $scope:expr, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
                let caller = parts.extensions.get::<Caller>().cloned();
                let caller = caller.ok_or_else(|| ApiError::new(Code::MissingToken, "a token is needed"))?;
                match caller.may($scope) {
                    true => Ok(Self(caller)),
                    false => Err(ApiError::new(
                        Code::Forbidden,
                        concat!("this token lacks the scope ", $word, ": use one that has it"),
                    )),
                }
            }
        }
    };
}

permission!(
    /// May change the configuration.
    CanAdmin, Scope::Admin, "admin"
);
permission!(
    /// May read everything but secrets.
    CanRead, Scope::Read, "read"
);
permission!(
    /// May take and settle messages.
    CanConsume, Scope::Consume, "consume"
);

/// A token that is bound to streams or consumers reaches only those.
pub(super) fn unbound(caller: &Caller) -> Result<(), ApiError> {
    match caller.consumer_ids.is_none() && caller.stream_ids.is_none() {
        true => Ok(()),
        false => Err(out_of_bounds()),
    }
}

/// Whether the caller's token reaches this stream.
pub(super) fn reaches_stream(caller: &Caller, stream: StreamId) -> bool {
    caller.consumer_ids.is_none()
        && caller
            .stream_ids
            .as_ref()
            .is_none_or(|ids| ids.contains(&stream))
}

/// Whether the caller's token reaches this consumer of this stream.
pub(super) fn reaches_consumer(caller: &Caller, consumer: Uuid, stream: StreamId) -> bool {
    caller
        .consumer_ids
        .as_ref()
        .is_none_or(|ids| ids.contains(&consumer))
        && caller
            .stream_ids
            .as_ref()
            .is_none_or(|ids| ids.contains(&stream))
}

/// The answer where a bound token reaches too far.
pub(super) fn out_of_bounds() -> ApiError {
    ApiError::new(
        Code::Forbidden,
        "this token is bound to other streams or consumers",
    )
}
