//! `/v1/records`.

use axum::extract::State;
use axum::response::Response;
use headrace_engine::{Caller, MAX_ANSWER_BYTES, Records, only};
use headrace_model::filter::Filter;
use headrace_model::{OrgId, RecordId, StreamId};
use headrace_store::Range;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanRead, out_of_bounds, reaches_stream};
use super::consumer_docs::sync_id_of;
use super::error::{ApiError, Code};
use super::extract::{NamePath, Query};
use super::list::Part;
use super::messages::json_bytes;
use super::record_json::{RecordDoc, RecordWriter, member};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_records))
        .routes(routes!(get_record))
}

/// Which records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordParams {
    /// The stream, by id or slug; may be left out when there is exactly one.
    pub(super) stream_id: Option<String>,
    /// Only those of this sync, by id or slug.
    pub(super) sync_id: Option<String>,
    /// Only those of this provider.
    pub(super) provider: Option<String>,
    /// Only those of this collection, such as `stripe:customer`.
    pub(super) collection_id: Option<String>,
    /// Only this one; quick with `sync_id` and `collection_id` beside it.
    pub(super) upstream_id: Option<String>,
    /// Only those of syncs with this external id.
    pub(super) external_id: Option<String>,
    /// Only deleted ones, or only others.
    pub(super) deleted: Option<bool>,
    /// The `cursor` of the answer before.
    pub(super) after_cursor: Option<String>,
    /// The same.
    pub(super) cursor: Option<String>,
    /// At most so many, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// `asc` (oldest change first, unless given) or `desc`.
    #[param(pattern = "^(asc|desc)$")]
    pub(super) order: Option<String>,
}

impl RecordParams {
    pub(super) async fn filter(&self, app: &App, org: OrgId) -> Result<Filter, ApiError> {
        let sync_id = match &self.sync_id {
            None => None,
            Some(name) => only(sync_id_of(app, org, "sync_id", name).await?),
        };
        Ok(Filter {
            provider: self.provider.clone().and_then(only),
            sync_id,
            collection_id: self.collection_id.clone().and_then(only),
            external_id: self.external_id.clone().and_then(only),
            deleted: self.deleted,
        })
    }
}

/// Records, as they are documented.
#[derive(Debug, Serialize, ToSchema)]
struct RecordList {
    /// The records.
    records: Vec<RecordDoc>,
    /// Pass it as `after_cursor` for what follows.
    cursor: Option<String>,
}

/// Lists records in the order of their last change.
#[utoipa::path(get, path = "/v1/records", tag = "records", params(RecordParams),
    responses((status = 200, body = RecordList), Errors))]
async fn list_records(
    CanRead(caller): CanRead,
    State(app): State<App>,
    Query(params): Query<RecordParams>,
) -> Result<Response, ApiError> {
    let stream = stream_for(&app, &caller, params.stream_id.as_deref()).await?;
    let filter = params.filter(&app, caller.org).await?;
    let newest_first = match params.order.as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(ApiError::invalid("order", "must be asc or desc")),
    };
    let limit = Part {
        limit: params.limit,
        cursor: None,
    }
    .limit()?;
    let cursor = params.after_cursor.as_ref().or(params.cursor.as_ref());
    let after = cursor.map_or(Ok(0), |cursor| {
        let wrong = "must be the cursor of an earlier answer";
        super::list::read_idx(cursor).ok_or_else(|| ApiError::invalid("after_cursor", wrong))
    })?;
    let range = Range {
        after,
        limit,
        max_bytes: MAX_ANSWER_BYTES,
        newest_first,
    };
    let (engine, org) = (&app.engine, caller.org);
    let records = match &params.upstream_id {
        Some(id) => {
            engine
                .records_by_upstream_id(org, stream, &filter, id, range)
                .await?
        }
        None => engine.records(org, stream, &filter, range).await?,
    };
    // A reader that follows the stream keeps its cursor at the end; one that goes back has an end.
    let last = records.page.rows.last().map(|row| row.idx);
    let next = match newest_first {
        true => last.filter(|_| records.page.more),
        false => last.or((after > 0).then_some(after)),
    };
    Ok(json_bytes(write_list(&records, next)))
}

fn write_list(records: &Records, next: Option<u64>) -> Vec<u8> {
    let bytes: usize = records
        .page
        .rows
        .iter()
        .map(|row| row.data.len() + 640)
        .sum();
    let mut out = Vec::with_capacity(bytes + 64);
    out.extend_from_slice(b"{\"records\":[");
    let mut writer = RecordWriter::new(records.stream, &records.book);
    for (at, row) in records.page.rows.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        writer.write(row, &mut out);
    }
    out.push(b']');
    member(&mut out, "cursor", &next.map(|idx| idx.to_string()));
    out.push(b'}');
    out
}

/// Reads a record.
#[utoipa::path(get, path = "/v1/records/{id}", tag = "records", params(("id" = Uuid, Path)),
    responses((status = 200, body = RecordDoc), Errors))]
async fn get_record(
    CanRead(caller): CanRead,
    State(app): State<App>,
    NamePath(text): NamePath,
) -> Result<Response, ApiError> {
    let absent = || ApiError::new(Code::NotFound, format!("there is no record {text:?}"));
    let id = RecordId::parse(&text).ok_or_else(absent)?;
    let records = app.engine.record(caller.org, id).await?;
    if !reaches_stream(&caller, records.stream) {
        return Err(out_of_bounds());
    }
    let mut out = Vec::new();
    for row in &records.page.rows {
        RecordWriter::new(records.stream, &records.book).write(row, &mut out);
    }
    Ok(json_bytes(out))
}

/// The stream a call means, if the caller's token reaches it.
pub(super) async fn stream_for(
    app: &App,
    caller: &Caller,
    named: Option<&str>,
) -> Result<StreamId, ApiError> {
    let stream = app.engine.stream_or_only(caller.org, named).await?;
    match reaches_stream(caller, stream) {
        true => Ok(stream),
        false => Err(out_of_bounds()),
    }
}
