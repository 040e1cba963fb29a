//! `/v1/http-consumers/{consumer}/next`, `ack`, `nack`, `extend`, `settle`, `messages`: what workers call.

use std::time::Duration;

use axum::body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use headrace_engine::{Caller, Delivery, Peek, PeekPage, PeekPlace, Stored};
use headrace_model::config::HttpConsumer;
use headrace_model::time::parse_span;
use headrace_model::{ConsumerId, StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanConsume, CanRead, out_of_bounds, reaches_consumer};
use super::dead_letters::DeadLetterDoc;
use super::error::ApiError;
use super::extract::{Body, NamePath, Query};
use super::list::List;
use super::record_json::{RecordDoc, RecordWriter, member};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(next_messages, next_messages_by_query))
        .routes(routes!(peek_messages))
}

/// What `next` is asked for.
#[derive(Debug, Default, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NextIn {
    /// At most so many messages, 1 to 1000; 1 unless given.
    #[schema(minimum = 1, maximum = 1000)]
    #[param(minimum = 1, maximum = 1000)]
    batch_size: Option<u64>,
    /// How long to wait for the first message: milliseconds, or a span such as `60s`; up to 5 minutes.
    wait_for: Option<WaitFor>,
    /// Answer `{"data": …, "info": …}` instead of a bare array.
    info: Option<bool>,
}

/// What `next` is asked for, checked.
struct Asked {
    batch: Option<usize>,
    wait: Option<Duration>,
    info: Option<bool>,
}

impl NextIn {
    fn read(self) -> Result<Asked, ApiError> {
        let batch = self.batch_size.map(|size| match size {
            1..=1_000 => Ok(size as usize),
            _ => Err(ApiError::invalid(
                "batch_size",
                "must be between 1 and 1000",
            )),
        });
        let wait = self.wait_for.map(|wait| {
            let wrong = "must be milliseconds or a span such as 60s, at most 300s";
            wait.read()
                .ok_or_else(|| ApiError::invalid("wait_for", wrong))
        });
        Ok(Asked {
            batch: batch.transpose()?,
            wait: wait.transpose()?,
            info: self.info,
        })
    }
}

/// A time to wait.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum WaitFor {
    /// Milliseconds.
    Millis(u64),
    /// A span such as `60s`, or digits.
    Text(String),
}

impl WaitFor {
    fn read(&self) -> Option<Duration> {
        let wait = match self {
            Self::Millis(millis) => Duration::from_millis(*millis),
            Self::Text(text) => match text.parse() {
                Ok(millis) => Duration::from_millis(millis),
                Err(_) => parse_span(text)?,
            },
        };
        (wait <= Duration::from_secs(300)).then_some(wait)
    }
}

/// A message, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
struct Message {
    /// Names this delivery; pass it to `ack`.
    ack_token: String,
    /// Which delivery of this version it is, from 1.
    attempts: u32,
    /// The record.
    record: RecordDoc,
}

/// What `next` answers, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its description is used")]
enum Taken {
    /// The messages alone.
    Bare(Vec<Message>),
    /// With `info=true`.
    WithInfo {
        /// The messages.
        data: Vec<Message>,
        /// How much there is besides.
        info: Info,
    },
}

/// How much a consumer has before it.
#[derive(Debug, Serialize, ToSchema)]
struct Info {
    /// Versions that wait for their first delivery.
    num_pending: u64,
    /// Delivered at least once and not settled.
    num_ack_pending: u64,
}

/// Takes the next messages, waiting for the first one if asked to.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/next", tag = "consume", request_body = NextIn,
    params(("consumer" = String, Path, description = "id or slug"), NextIn),
    responses((status = 200, body = Taken, headers(
        ("Headrace-Num-Pending" = u64), ("Headrace-Num-Ack-Pending" = u64))), Errors))]
async fn next_messages(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(query): Query<NextIn>,
    Body(input): Body<NextIn>,
) -> Result<Response, ApiError> {
    // Both are checked, also where the body goes before the query.
    let (query, body) = (query.read()?, input.read()?);
    let asked = Asked {
        batch: body.batch.or(query.batch),
        wait: body.wait.or(query.wait),
        info: body.info.or(query.info),
    };
    next(app, caller, &name, asked).await
}

/// Takes the next messages; the same as by POST.
#[utoipa::path(get, path = "/v1/http-consumers/{consumer}/next", tag = "consume",
    params(("consumer" = String, Path, description = "id or slug"), NextIn),
    responses((status = 200, body = Taken, headers(
        ("Headrace-Num-Pending" = u64), ("Headrace-Num-Ack-Pending" = u64))), Errors))]
async fn next_messages_by_query(
    CanConsume(caller): CanConsume,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(input): Query<NextIn>,
) -> Result<Response, ApiError> {
    next(app, caller, &name, input.read()?).await
}

async fn next(app: App, caller: Caller, name: &str, asked: Asked) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, name).await?;
    let (batch, wait) = (asked.batch.unwrap_or(1), asked.wait.unwrap_or_default());
    let delivery = app.engine.next(&caller, &consumer, batch, wait).await?;
    app.metrics.delivered(delivery.messages.len());
    Ok(delivered(&consumer, &delivery, asked.info.unwrap_or(false)))
}

fn delivered(consumer: &Stored<HttpConsumer>, delivery: &Delivery, info: bool) -> Response {
    let Delivery {
        messages,
        book,
        counts,
    } = delivery;
    let number = ConsumerId(consumer.id).number();
    let bytes: usize = messages
        .iter()
        .map(|message| message.row.data.len() + 768)
        .sum();
    let mut out = Vec::with_capacity(bytes + 128);
    out.extend_from_slice(if info { b"{\"data\":[" } else { b"[" });
    let mut records = RecordWriter::new(consumer.value.stream_id, book);
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"ack_token\":\"");
        message.leased.token(number).write(&mut out);
        out.push(b'"');
        member(&mut out, "attempts", &message.leased.attempts);
        out.extend_from_slice(b",\"record\":");
        records.write(&message.row, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    if info {
        out.extend_from_slice(b",\"info\":{\"num_pending\":");
        out.extend_from_slice(counts.pending.to_string().as_bytes());
        member(&mut out, "num_ack_pending", &counts.ack_pending);
        out.extend_from_slice(b"}}");
    }
    let mut response = json_bytes(out);
    let headers = response.headers_mut();
    headers.insert("headrace-num-pending", HeaderValue::from(counts.pending));
    headers.insert(
        "headrace-num-ack-pending",
        HeaderValue::from(counts.ack_pending),
    );
    response
}

/// An answer of JSON that is bytes already.
pub(super) fn json_bytes(bytes: Vec<u8>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (kind, body::Body::from(bytes)).into_response()
}

/// Which messages to look at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeekParams {
    /// `available` (unless given), `delivered` or `dead`.
    #[param(pattern = "^(available|delivered|dead)$")]
    state: Option<String>,
    /// At most so many, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// What looking finds, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its description is used")]
enum Peeked {
    /// Messages that are available or delivered, in the order of delivery.
    Messages(List<PeekedMessage>),
    /// Dead letters.
    Dead(List<DeadLetterDoc>),
}

/// A message that was looked at, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
struct PeekedMessage {
    /// Deliveries so far.
    attempts: u32,
    /// When its ack window ends, or it is due again.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// What the last worker said.
    last_error: Option<String>,
    /// The record.
    record: RecordDoc,
}

/// Looks at messages without changing anything.
#[utoipa::path(get, path = "/v1/http-consumers/{consumer}/messages", tag = "consume",
    params(("consumer" = String, Path, description = "id or slug"), PeekParams),
    responses((status = 200, body = Peeked), Errors))]
async fn peek_messages(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(PeekParams {
        state,
        limit,
        cursor,
    }): Query<PeekParams>,
) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let limit = super::list::Part {
        limit,
        cursor: None,
    }
    .limit()?;
    let what = match state.as_deref() {
        None | Some("available") => Peek::Available,
        Some("delivered") => Peek::Delivered,
        Some("dead") => {
            let after = super::dead_letters::read_cursor(cursor.as_deref())?;
            let found = app.engine.dead_letters(&consumer, after, limit).await?;
            return Ok(json_bytes(super::dead_letters::write(&consumer, &found)));
        }
        Some(_) => {
            return Err(ApiError::invalid(
                "state",
                "must be available, delivered or dead",
            ));
        }
    };
    let after = cursor.map(|cursor| PeekPlace::parse(&cursor).ok_or_else(super::list::no_cursor));
    let after = after.transpose()?;
    let page = app.engine.peek(&consumer, what, after, limit).await?;
    Ok(json_bytes(write_peeked(consumer.value.stream_id, &page)))
}

fn write_peeked(stream: StreamId, page: &PeekPage) -> Vec<u8> {
    let PeekPage {
        messages,
        book,
        next,
    } = page;
    let mut out = b"{\"data\":[".to_vec();
    let mut records = RecordWriter::new(stream, book);
    for (at, one) in messages.iter().enumerate() {
        out.extend_from_slice(if at > 0 {
            b",{\"attempts\":"
        } else {
            b"{\"attempts\":"
        });
        out.extend_from_slice(one.attempts.to_string().as_bytes());
        member(&mut out, "until", &one.until);
        member(&mut out, "last_error", &one.last_error);
        out.extend_from_slice(b",\"record\":");
        records.write(&one.row, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = next {
        member(&mut out, "next_cursor", &next.to_string());
    }
    out.push(b'}');
    out
}

/// The consumer, if the caller's token reaches it.
pub(super) async fn reach(
    app: &App,
    caller: &Caller,
    name: &str,
) -> Result<Stored<HttpConsumer>, ApiError> {
    let consumer = app.engine.consumer(caller.org, name).await?;
    match reaches_consumer(caller, consumer.id, consumer.value.stream_id) {
        true => Ok(consumer),
        false => Err(out_of_bounds()),
    }
}
