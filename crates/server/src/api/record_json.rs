//! Records as JSON, by splicing: the stored bytes of `data` go out as they came in. Nothing on this
//! path parses or re-serialises them.

use std::collections::HashMap;

use headrace_engine::{LaneBook, provider_of};
use headrace_model::{LaneNo, StreamId, Timestamp};
use headrace_store::Row;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A record, as it is documented. Answers are written by [`RecordWriter`], in this order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Record)]
pub(crate) struct RecordDoc {
    /// Made of the sync, the collection and the upstream id: the same after a rebuild or copy.
    id: Uuid,
    /// The sync that reads it.
    sync_id: Uuid,
    /// What is known of that sync.
    sync: SyncDoc,
    /// The stream it is in.
    stream_id: Uuid,
    /// The provider, such as `stripe`.
    provider: String,
    /// The collection, such as `stripe:customer`.
    collection_id: String,
    /// The provider's id, as text.
    upstream_id: String,
    /// Grows with every change in the stream, in commit order.
    updated_idx: u64,
    /// The provider's creation time.
    #[schema(value_type = Option<String>, format = DateTime)]
    upstream_created_at: Option<Timestamp>,
    /// The provider's modification time, else the newest event's, else the creation time.
    #[schema(value_type = Option<String>, format = DateTime)]
    upstream_updated_at: Option<Timestamp>,
    /// The provider's own tokens: no number rounded, no member dropped or moved.
    #[schema(value_type = Object)]
    data: (),
    /// Whether it is gone at the provider; `data` is then the last that was known.
    deleted: bool,
    /// When the stream first saw it.
    #[schema(value_type = String, format = DateTime)]
    inserted_at: Timestamp,
    /// When this version was committed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The sync beside a record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordSync)]
pub(crate) struct SyncDoc {
    id: Uuid,
    external_id: Option<String>,
    #[schema(value_type = Object)]
    metadata: (),
}

/// Writes records of one stream. What records of a lane have in common is put together once.
pub(super) struct RecordWriter<'a> {
    stream: StreamId,
    book: &'a LaneBook,
    heads: HashMap<LaneNo, Vec<u8>>,
}

impl<'a> RecordWriter<'a> {
    pub(super) fn new(stream: StreamId, book: &'a LaneBook) -> Self {
        Self {
            stream,
            book,
            heads: HashMap::new(),
        }
    }

    /// Appends a record.
    pub(super) fn write(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Row {
            idx,
            lane,
            record,
            upstream_id,
            deleted,
            ..
        } = row;
        let Row {
            upstream_created_at,
            upstream_updated_at,
            inserted_at,
            updated_at,
            data,
            ..
        } = row;
        let (stream, book) = (self.stream, self.book);
        let head = self
            .heads
            .entry(*lane)
            .or_insert_with(|| head(stream, book, *lane));
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(record.to_string().as_bytes());
        out.push(b'"');
        out.extend_from_slice(head);
        member(out, "upstream_id", upstream_id);
        member(out, "updated_idx", idx);
        member(out, "upstream_created_at", upstream_created_at);
        member(out, "upstream_updated_at", upstream_updated_at);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
        member(out, "deleted", deleted);
        member(out, "inserted_at", inserted_at);
        member(out, "updated_at", updated_at);
        out.push(b'}');
    }
}

/// Appends `,"name":value`.
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

fn head(stream: StreamId, book: &LaneBook, lane: LaneNo) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let Some((lane, card)) = book.lane(lane) else {
        return out;
    };
    let empty = headrace_model::config::Metadata::new();
    member(&mut out, "sync_id", &lane.sync);
    out.extend_from_slice(b",\"sync\":{\"id\":\"");
    out.extend_from_slice(lane.sync.to_string().as_bytes());
    out.push(b'"');
    member(
        &mut out,
        "external_id",
        &card.and_then(|card| card.external_id.as_deref()),
    );
    member(
        &mut out,
        "metadata",
        card.map_or(&empty, |card| &card.metadata),
    );
    out.push(b'}');
    member(&mut out, "stream_id", &stream);
    member(&mut out, "provider", &provider_of(&lane.collection));
    member(&mut out, "collection_id", &lane.collection);
    out
}
