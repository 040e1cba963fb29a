//! `/v1/records/live`: every change as it is committed, as server-sent events.
//!
//! Nothing is kept for a listener: the next events are read from the log when the last ones have been
//! sent. One that does not read is cut off by the connection's write timeout, and resumes with
//! `Last-Event-ID`.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use headrace_engine::{Caller, Engine, MAX_ANSWER_BYTES};
use headrace_model::StreamId;
use headrace_model::filter::Filter;
use headrace_store::Range;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::CanRead;
use super::error::ApiError;
use super::extract::Query;
use super::record_json::RecordWriter;
use super::records::{RecordParams, stream_for};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(live_records))
}

/// A quiet stream says so this often, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(15);
/// Entries read at a time.
const PAGE: usize = 200;

/// Which records to follow.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveParams {
    /// The stream, by id or slug; may be left out when there is exactly one.
    stream_id: Option<String>,
    /// Only those of this sync, by id or slug.
    sync_id: Option<String>,
    /// Only those of this provider.
    provider: Option<String>,
    /// Only those of this collection, such as `stripe:customer`.
    collection_id: Option<String>,
    /// Only those of syncs with this external id.
    external_id: Option<String>,
    /// Only deleted ones, or only others.
    deleted: Option<bool>,
}

/// An event, as it is documented.
#[derive(Debug, Serialize, ToSchema)]
struct Event {
    /// The record's `updated_idx`; absent from an error.
    id: Option<String>,
    /// `record`, or `error` before the stream ends of one.
    event: String,
    /// The record as JSON, or the error's summary as a JSON string.
    data: String,
}

/// Follows records: one event per change, as it is committed. `id` is its `updated_idx`; pass the last
/// one seen as `Last-Event-ID` to resume.
#[utoipa::path(get, path = "/v1/records/live", tag = "records", params(LiveParams,
    ("Last-Event-ID" = Option<u64>, Header, maximum = 9223372036854775807_i64, description = "resume after this updated_idx")),
    responses((status = 200, content_type = "text/event-stream", body = Event), Errors))]
async fn live_records(
    CanRead(caller): CanRead,
    State(app): State<App>,
    headers: HeaderMap,
    Query(params): Query<LiveParams>,
) -> Result<Response, ApiError> {
    let LiveParams {
        stream_id,
        sync_id,
        provider,
        collection_id,
        external_id,
        deleted,
    } = params;
    let params = RecordParams {
        stream_id,
        sync_id,
        provider,
        collection_id,
        external_id,
        deleted,
        ..RecordParams::default()
    };
    let stream = stream_for(&app, &caller, params.stream_id.as_deref()).await?;
    let filter = params.filter(&app, caller.org).await?;
    let resume = headers.get("last-event-id").map(|id| {
        let wrong = || ApiError::invalid("Last-Event-ID", "must be an updated_idx");
        id.to_str()
            .ok()
            .and_then(super::list::read_idx)
            .ok_or_else(wrong)
    });
    let after = match resume.transpose()? {
        Some(after) => after,
        None => app.engine.store().last_idx(stream).await?,
    };
    let appended = app.engine.store().watch(stream).await?;
    let follower = Follower {
        app,
        caller,
        stream,
        filter,
        after,
        appended,
    };
    let kind = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((kind, axum::body::Body::from_stream(follower.events())).into_response())
}

struct Follower {
    app: App,
    caller: Caller,
    stream: StreamId,
    filter: Filter,
    after: u64,
    appended: watch::Receiver<u64>,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(follower))),
                Ok(None) => None,
                Err(error) => {
                    let summary = serde_json::to_string(&error.summary).unwrap_or_default();
                    Some((
                        Ok(format!("event: error\ndata: {summary}\n\n").into()),
                        None,
                    ))
                }
            }
        })
    }

    /// The next events, or a comment that keeps the connection open; `None` when the server stops, the
    /// token was revoked or the stream is gone.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let engine: &Engine = &self.app.engine;
        loop {
            // Before reading: what happens from now on wakes the next turn.
            let reconfigured = engine.reconfigured();
            let org = self.caller.org;
            if !engine.still_good(&self.caller).await?
                || !engine.has_stream(org, self.stream).await?
            {
                return Ok(None);
            }
            self.appended.borrow_and_update();
            let range = Range {
                after: self.after,
                limit: PAGE,
                max_bytes: MAX_ANSWER_BYTES,
                newest_first: false,
            };
            let records = engine
                .records(org, self.stream, &self.filter, range)
                .await?;
            let rows = &records.page.rows;
            if let Some(last) = rows.last() {
                self.after = last.idx;
                let mut out = Vec::new();
                let mut writer = RecordWriter::new(self.stream, &records.book);
                for row in rows {
                    out.extend_from_slice(
                        format!("id: {}\nevent: record\ndata: ", row.idx).as_bytes(),
                    );
                    writer.write(row, &mut out);
                    out.extend_from_slice(b"\n\n");
                }
                return Ok(Some(out.into()));
            }
            tokio::select! {
                () = reconfigured => {}
                changed = self.appended.changed() => if changed.is_err() { return Ok(None) },
                () = tokio::time::sleep(KEEP_ALIVE) => return Ok(Some(Bytes::from_static(b": still here\n\n"))),
                () = engine.stopping().cancelled() => return Ok(None),
            }
        }
    }
}
