//! `/v1/http-consumers/{consumer}/dead-letters`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use headrace_engine::{DeadLetters, Stored};
use headrace_model::config::HttpConsumer;
use headrace_model::delivery::DeadLetter;
use headrace_model::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{CanAdmin, CanRead};
use super::error::ApiError;
use super::extract::{Body, NamePath, Query};
use super::list::{List, Part, PartParams, no_cursor};
use super::messages::{json_bytes, reach};
use super::record_json::{RecordDoc, RecordWriter, member};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_dead_letters, delete_dead_letters))
        .routes(routes!(redrive_dead_letters))
}

/// A dead letter, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterDoc {
    /// The record's id.
    id: Uuid,
    /// The version that was given up on.
    updated_idx: u64,
    /// How often it was delivered.
    attempts: u32,
    /// What the last worker said.
    last_error: Option<String>,
    /// When it was given up on.
    #[schema(value_type = String, format = DateTime)]
    died_at: Timestamp,
    /// The record as it is now; `null` when it has left the stream.
    record: Option<RecordDoc>,
}

/// Lists dead letters: what was given up on, why, and the record as it is now.
#[utoipa::path(get, path = "/v1/http-consumers/{consumer}/dead-letters", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug"), PartParams),
    responses((status = 200, body = List<DeadLetterDoc>), Errors))]
async fn list_dead_letters(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(part): Query<PartParams>,
) -> Result<Response, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let part = Part::from(part);
    let limit = part.limit()?;
    let after = read_cursor(part.cursor.as_deref())?;
    let found = app.engine.dead_letters(&consumer, after, limit).await?;
    Ok(json_bytes(write(&consumer, &found)))
}

/// Reads the `next_cursor` that [`write()`] wrote.
pub(super) fn read_cursor(cursor: Option<&str>) -> Result<Option<RecordId>, ApiError> {
    cursor
        .map(|cursor| RecordId::parse(cursor).ok_or_else(no_cursor))
        .transpose()
}

/// Writes dead letters with their records.
pub(super) fn write(consumer: &Stored<HttpConsumer>, found: &DeadLetters) -> Vec<u8> {
    let DeadLetters {
        letters,
        book,
        more,
    } = found;
    let mut out = b"{\"data\":[".to_vec();
    let mut records = RecordWriter::new(consumer.value.stream_id, book);
    for (at, (letter, row)) in letters.iter().enumerate() {
        let DeadLetter {
            record,
            idx,
            attempts,
            last_error,
            died_at,
        } = letter;
        out.extend_from_slice(if at > 0 { b",{\"id\":" } else { b"{\"id\":" });
        out.extend_from_slice(format!("\"{record}\"").as_bytes());
        member(&mut out, "updated_idx", idx);
        member(&mut out, "attempts", attempts);
        member(&mut out, "last_error", last_error);
        member(&mut out, "died_at", died_at);
        out.extend_from_slice(b",\"record\":");
        match row {
            Some(row) => records.write(row, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some((last, _)) = letters.last().filter(|_| *more) {
        member(&mut out, "next_cursor", &last.record);
    }
    out.push(b'}');
    out
}

/// Which dead letters: by record id, or all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WhichIn {
    /// Records by id.
    #[schema(value_type = Option<Vec<Uuid>>)]
    ids: Option<Vec<String>>,
    /// All of them.
    #[serde(default)]
    all: bool,
}

impl WhichIn {
    fn read(self) -> Result<Option<Vec<RecordId>>, ApiError> {
        match (self.ids, self.all) {
            (None, true) => Ok(None),
            (Some(ids), false) => {
                let numbered = ids.iter().enumerate();
                let read = |(at, id): (usize, &String)| {
                    let wrong = || ApiError::invalid(format!("ids[{at}]"), "is no record's id");
                    RecordId::parse(id).ok_or_else(wrong)
                };
                Ok(Some(numbered.map(read).collect::<Result<_, _>>()?))
            }
            _ => Err(ApiError::invalid(
                "ids",
                r#"is needed: a list of record ids, or {"all": true}"#,
            )),
        }
    }
}

/// How many dead letters it was.
#[derive(Debug, Serialize, ToSchema)]
struct CountOut {
    /// How many.
    count: u64,
}

/// Delivers dead records again, at attempt 1, in their current versions. By id at most 1000 at once, and
/// none (409) while as many wait for a worker; all of them follow each other as they are delivered.
#[utoipa::path(post, path = "/v1/http-consumers/{consumer}/dead-letters/redrive", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug")), request_body = WhichIn,
    responses((status = 200, body = CountOut), Errors))]
async fn redrive_dead_letters(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Body(input): Body<WhichIn>,
) -> Result<Json<CountOut>, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    let records = input.read()?;
    let count = app.engine.redrive(&consumer, records.as_deref()).await?;
    Ok(Json(CountOut { count }))
}

/// Which dead letters, for clients that send no body with DELETE.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichParams {
    /// `true`: all of them.
    all: Option<bool>,
}

/// Forgets dead letters: those that the body names, or with `all` every one. Neither is refused, as a
/// body may have been lost on the way.
#[utoipa::path(delete, path = "/v1/http-consumers/{consumer}/dead-letters", tag = "consumers",
    params(("consumer" = String, Path, description = "id or slug"), WhichParams), request_body = WhichIn,
    responses((status = 204), Errors))]
async fn delete_dead_letters(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    NamePath(name): NamePath,
    Query(WhichParams { all }): Query<WhichParams>,
    Body(mut input): Body<WhichIn>,
) -> Result<StatusCode, ApiError> {
    let consumer = reach(&app, &caller, &name).await?;
    input.all |= all.unwrap_or(false);
    let records = input.read()?;
    app.engine
        .drop_dead_letters(&consumer, records.as_deref())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
