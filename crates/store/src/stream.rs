//! The data of logs, syncs and consumers as it goes in and out of a store.

use std::sync::Arc;

use bytes::Bytes;
use headrace_model::delivery::{Leased, Policy};
use headrace_model::record::{Mark, Observation};
use headrace_model::{ConsumerId, LaneNo, OrgId, RecordId, SyncId, Timestamp};

/// What one sync brings to a stream at once: a page, the events of a poll.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The sync.
    pub sync: SyncId,
    /// The fence of its lease; `None` for writes that are under no lease (a mutation's result).
    pub fence: Option<Fence>,
    /// What was seen, with the collection of each.
    pub seen: Vec<(Arc<str>, Observation)>,
    /// Records to be taken out of the stream without a trace for consumers: aged out, or cleared.
    pub purge: Vec<RecordId>,
    /// Cursors to be written with it.
    pub cursors: Vec<CursorWrite>,
}

/// A cursor of one collection of the batch's sync. The body is the caller's. An empty one removes it;
/// and everything beneath it, where the name ends with a slash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CursorWrite {
    /// The collection, or another name the caller keeps a cursor under.
    pub collection: Arc<str>,
    /// Its content.
    pub body: Vec<u8>,
}

/// Proof of a lease: its name and number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The lease's name.
    pub name: Arc<str>,
    /// Grows with every new owner of the lease.
    pub number: u64,
}

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// One per observation, in order.
    pub outcomes: Vec<Outcome>,
    /// Records that were purged.
    pub purged: usize,
}

/// What became of an observation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the record's newest version, at this index.
    Appended {
        /// Its index.
        idx: u64,
        /// Whether the stream had never seen the record before.
        new: bool,
    },
    /// The stream holds the same content already.
    Unchanged,
    /// The stream holds something newer.
    Stale,
    /// Read the record again by id, and append it as a recheck of this.
    Doubt(Mark),
}

/// A lane: one collection of one sync in a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Its number in the log.
    pub no: LaneNo,
    /// The sync.
    pub sync: SyncId,
    /// The collection.
    pub collection: Arc<str>,
}

/// Which entries of a log are meant: a filter, resolved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Only these lanes, in ascending order; `None` for all, those made later included.
    pub lanes: Option<Arc<[LaneNo]>>,
    /// Only tombstones, or only what is not deleted.
    pub deleted: Option<bool>,
}

impl Selection {
    /// Whether an entry of this lane matches.
    pub fn takes(&self, lane: LaneNo, deleted: bool) -> bool {
        self.lanes
            .as_ref()
            .is_none_or(|lanes| lanes.binary_search(&lane).is_ok())
            && self.deleted.is_none_or(|wanted| wanted == deleted)
    }
}

/// Which part of a log to read, and how much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Entries after this index (before it, when `newest_first` and it is not 0).
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// Stop before the data is more than this many bytes; at least one entry is read.
    pub max_bytes: usize,
    /// From the newest back.
    pub newest_first: bool,
}

/// Entries that were read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The entries, in the order asked for.
    pub rows: Vec<Row>,
    /// Whether more match beyond the last one.
    pub more: bool,
}

/// An entry of the log: the newest version of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its index (`updated_idx`).
    pub idx: u64,
    /// Its lane.
    pub lane: LaneNo,
    /// Its record.
    pub record: RecordId,
    /// The record's id at the provider.
    pub upstream_id: String,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// The provider's creation time.
    pub upstream_created_at: Option<Timestamp>,
    /// The provider's modification time, else the event's, else the creation time.
    pub upstream_updated_at: Option<Timestamp>,
    /// When the stream first saw the record.
    pub inserted_at: Timestamp,
    /// When this version was committed.
    pub updated_at: Timestamp,
    /// The provider's tokens; `null` where none were ever seen.
    pub data: Bytes,
}

/// Where a record is in the log, and what a selection looks at of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its index.
    pub idx: u64,
    /// Its lane.
    pub lane: LaneNo,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

/// Counts of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Entries, tombstones included.
    pub records: u64,
    /// Entries that are not deleted.
    pub live: u64,
    /// Bytes of data they hold.
    pub bytes: u64,
    /// The newest index.
    pub last_idx: u64,
    /// The same of each lane.
    pub lanes: Vec<LaneStats>,
}

/// Counts of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneStats {
    /// The lane.
    pub lane: Lane,
    /// Entries, tombstones included.
    pub records: u64,
    /// Entries that are not deleted.
    pub live: u64,
}

/// One step of taking out of a log what nobody needs any more.
pub struct Sweep {
    /// Tombstones that were committed before this time may go; `None` keeps them all.
    pub tombstones_before: Option<Timestamp>,
    /// Entries after this index: the last step's [`Swept::next`], 0 to begin.
    pub after: u64,
    /// Entries up to this index: [`crate::Store::last_idx`] from before `wants` was made.
    pub upto: u64,
    /// At most so many entries are looked at.
    pub limit: usize,
    /// Whether a consumer may be given tombstones of a lane once it gets there. One that is never given
    /// any may stand before them for ever.
    pub wants: Arc<dyn Fn(ConsumerId, LaneNo) -> bool + Send + Sync>,
}

/// What one step took out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Tombstones.
    pub tombstones: usize,
    /// Purge entries.
    pub purges: usize,
    /// Where to go on, if there may be more.
    pub next: Option<u64>,
}

/// What a `next` asks for.
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    /// The time.
    pub now: Timestamp,
    /// The consumer's settings.
    pub policy: &'a Policy,
    /// What it selects, resolved after `upto` was read.
    pub selection: &'a Selection,
    /// Nothing new beyond this index: [`crate::Store::last_idx`] from before `selection` was resolved,
    /// so that an entry of a lane or sync that the selection does not know yet is never passed over.
    pub upto: u64,
    /// At most so many messages.
    pub batch: usize,
    /// Stop before the data is more than this many bytes; at least one message is given.
    pub max_bytes: usize,
}

/// A message for a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its delivery.
    pub leased: Leased,
    /// The consumer's number, for the token.
    pub consumer: u64,
    /// The record's version.
    pub row: Row,
}

/// The counts of a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Live matching entries beyond the position, plus withheld versions.
    pub pending: u64,
    /// Delivered at least once and not settled.
    pub ack_pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// The consumer's number, for reading tokens.
    pub consumer: u64,
}

/// Whose idempotency key: organisation, method, path and the key itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AnswerKey {
    /// The organisation.
    pub org: OrgId,
    /// Method and path of the request.
    pub endpoint: String,
    /// The caller's key.
    pub key: String,
}

/// The answer that was given under an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, sealed.
    pub body: Vec<u8>,
}

/// What claiming an idempotency key found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// The key is yours: do the work, then keep the answer.
    Yours {
        /// When this request first claimed it. Earlier than now where an attempt of before ended
        /// without an answer: what it may have made is to be found by ids that follow from this.
        since: Timestamp,
    },
    /// The same request was answered before.
    Answered(Answer),
    /// The same request is being worked on. A store does not know: who runs it does.
    Running,
    /// The key was used for another request.
    OtherRequest,
}
