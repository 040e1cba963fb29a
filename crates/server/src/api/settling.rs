//! `/v1/http-consumers/{consumer}/ack`, `nack`, `extend`, `settle`: what workers say of messages.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headrace_engine::{SettledCounts, Settlement, Stored, bounds, read_tokens};
use headrace_model::config::HttpConsumer;
use headrace_model::delivery::LONGEST_DELAY;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::CanConsume;
use super::either::TextOr;
use super::error::ApiError;
use super::extract::{Body, NamePath};
use super::messages::reach;
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ack_messages))
        .routes(routes!(nack_messages))
        .routes(routes!(extend_messages))
        .routes(routes!(settle_messages))
}

/// Tokens of deliveries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AckIn {
    /// The tokens.
    ack_tokens: Vec<String>,
}

/// Tokens of deliveries to be given back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NackIn {
    /// The tokens.
    ack_tokens: Vec<String>,
    /// Not to be delivered again before so many milliseconds; at once unless given.
    #[serde(default)]
    #[schema(maximum = 86400000)]
    delay_ms: u64,
    /// Why; kept with the message and shown with dead letters.
    error: Option<String>,
}

/// Says that messages are done. Durable when it answers.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/ack", tag = "consume", request_body = AckIn,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 204, headers(("Headrace-Settled" = u64), ("Headrace-Stale" = u64))), Errors))]
async fn ack_messages(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<AckIn>,
) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let ack = tokens("ack_tokens", &input.ack_tokens)?;
    settled(
        &app,
        &consumer,
        Settlement {
            ack,
            ..Settlement::default()
        },
    )
    .await
}

/// Gives messages back, to be delivered again.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/nack", tag = "consume", request_body = NackIn,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 204, headers(("Headrace-Settled" = u64), ("Headrace-Stale" = u64))), Errors))]
async fn nack_messages(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<NackIn>,
) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let NackIn {
        ack_tokens,
        delay_ms,
        error,
    } = input;
    let delay = delay("delay_ms", delay_ms)?;
    let error = error.map(shortened);
    let nack = tokens("ack_tokens", &ack_tokens)?;
    let nack = nack
        .into_iter()
        .map(|token| (token, delay, error.clone()))
        .collect();
    settled(
        &app,
        &consumer,
        Settlement {
            nack,
            ..Settlement::default()
        },
    )
    .await
}

/// Starts the ack window of messages anew.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/extend", tag = "consume", request_body = AckIn,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 204, headers(("Headrace-Settled" = u64), ("Headrace-Stale" = u64))), Errors))]
async fn extend_messages(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<AckIn>,
) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let extend = tokens("ack_tokens", &input.ack_tokens)?;
    settled(
        &app,
        &consumer,
        Settlement {
            extend,
            ..Settlement::default()
        },
    )
    .await
}

/// Settles many deliveries in one call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SettleIn {
    /// Done.
    #[serde(default)]
    ack: Vec<String>,
    /// Given back.
    #[serde(default)]
    nack: Vec<NackOne>,
    /// The ack window starts anew.
    #[serde(default)]
    extend: Vec<String>,
    /// To the dead letters at once.
    #[serde(default)]
    reject: Vec<RejectOne>,
}

/// One delivery to be given back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NackOne {
    /// Its token.
    token: String,
    /// Not to be delivered again before so many milliseconds.
    #[serde(default)]
    #[schema(maximum = 86400000)]
    delay_ms: u64,
    /// Why.
    error: Option<String>,
}

/// One delivery that will never succeed: its token alone, or with the reason.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, from = "TextOr<Reasoned>")]
enum RejectOne {
    /// Its token.
    Token(String),
    /// Its token and why.
    Reasoned(Reasoned),
}

impl From<TextOr<Reasoned>> for RejectOne {
    fn from(given: TextOr<Reasoned>) -> Self {
        match given {
            TextOr::Text(token) => Self::Token(token),
            TextOr::Other(reasoned) => Self::Reasoned(reasoned),
        }
    }
}

/// One delivery that will never succeed, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reasoned {
    /// Its token.
    token: String,
    /// Why.
    error: Option<String>,
}

/// What a settlement did.
#[derive(Debug, Serialize, ToSchema)]
struct SettleOut {
    /// Tokens that settled or extended their delivery.
    settled: u64,
    /// Tokens that were late, repeated, or another consumer's.
    stale: u64,
}

/// Acks, gives back, extends and rejects in one call.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/settle", tag = "consume", request_body = SettleIn,
    params(("consumer" = String, Path, description = "id or slug")),
    responses((status = 200, body = SettleOut), Errors))]
async fn settle_messages(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<SettleIn>,
) -> Result<Json<SettleOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let SettleIn {
        ack,
        nack,
        extend,
        reject,
    } = input;
    check_count("body", ack.len() + nack.len() + extend.len() + reject.len())?;
    let mut settlement = Settlement {
        ack: tokens("ack", &ack)?,
        extend: tokens("extend", &extend)?,
        ..Settlement::default()
    };
    let texts: Vec<String> = nack.iter().map(|one| one.token.clone()).collect();
    for (token, one) in tokens("nack", &texts)?.into_iter().zip(nack) {
        settlement.nack.push((
            token,
            delay("nack", one.delay_ms)?,
            one.error.map(shortened),
        ));
    }
    let (texts, errors): (Vec<String>, Vec<Option<Arc<str>>>) = reject
        .into_iter()
        .map(|one| match one {
            RejectOne::Token(token) => (token, None),
            RejectOne::Reasoned(Reasoned { token, error }) => (token, error.map(shortened)),
        })
        .unzip();
    settlement.reject = tokens("reject", &texts)?.into_iter().zip(errors).collect();
    let SettledCounts { settled, stale } = app.engine.settle(&consumer, &settlement).await?;
    app.metrics.settled(settled);
    Ok(Json(SettleOut { settled, stale }))
}

async fn settled(
    app: &App,
    consumer: &Stored<HttpConsumer>,
    settlement: Settlement,
) -> Result<Response, ApiError> {
    let SettledCounts { settled, stale } = app.engine.settle(consumer, &settlement).await?;
    app.metrics.settled(settled);
    let mut headers = HeaderMap::new();
    headers.insert("headrace-settled", HeaderValue::from(settled));
    headers.insert("headrace-stale", HeaderValue::from(stale));
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

fn tokens(field: &str, texts: &[String]) -> Result<Vec<headrace_model::delivery::Token>, ApiError> {
    check_count(field, texts.len())?;
    let texts = texts.iter().map(String::as_str);
    read_tokens(texts)
        .map_err(|(at, error)| ApiError::invalid(format!("{field}[{at}]"), format!("is {error}")))
}

/// More tokens than a consumer can have outstanding are none of its deliveries.
fn check_count(field: &str, tokens: usize) -> Result<(), ApiError> {
    let most = *bounds::MAX_ACK_PENDING.end() as usize;
    match tokens <= most {
        true => Ok(()),
        false => Err(ApiError::invalid(
            field,
            format!("has {tokens} tokens: send at most {most} in a call"),
        )),
    }
}

fn delay(field: &str, millis: u64) -> Result<Duration, ApiError> {
    let delay = Duration::from_millis(millis);
    match delay <= LONGEST_DELAY {
        true => Ok(delay),
        false => Err(ApiError::invalid(
            field,
            "must be at most 86400000 ms (a day)",
        )),
    }
}

/// What a worker says is kept to 1,000 characters: it is for people.
fn shortened(error: String) -> Arc<str> {
    match error.char_indices().nth(1_000) {
        Some((end, _)) => error.get(..end).unwrap_or_default().into(),
        None => error.into(),
    }
}
