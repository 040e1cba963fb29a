//! Durability: what Headrace keeps, behind one trait.
//!
//! [`Store`] is the contract; [`open()`] chooses the backend by URL. Nothing above this crate knows
//! which backend it has, and the store knows nothing of HTTP, acks or providers.

mod breakpoint;
mod directory;
mod draft;
mod error;
mod object;
mod open;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sqlite;
mod stream;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use headrace_model::delivery::{Consumer, DeadLetter, Policy};
use headrace_model::{ConsumerId, OrgId, RecordId, StreamId, SyncId, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

pub use breakpoint::{Breakpoint, breakpoint};
pub use directory::{make_directory, sync_names_beside};
pub use draft::{Draft, give_back, remove_drafts};
pub use error::StoreError;
pub use object::{Kind, Object, Write};
pub use open::{check_backup, open, open_existing, restore};
pub use stream::{
    Answer, AnswerKey, Appended, Batch, Claim, Counts, CursorWrite, Fence, Lane, LaneStats,
    Message, Next, Outcome, Page, Place, Range, Row, Selection, StreamStats, Sweep, Swept,
};

/// So many dead letters are redriven at once: a consumer's memory does not grow with its dead letters.
pub const REDRIVEN_AT_ONCE: usize = 1_000;

/// What a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store. Every method that writes answers only when what it wrote survives a power cut; what one
/// call wrote is visible to every call that starts after its answer, and never before it is durable.
/// The one exception are deliveries: see [`Store::next`].
///
/// **Objects** are the configuration: organisations, streams, credentials, syncs, consumers, tokens.
/// Bodies are the caller's JSON; secrets in them are sealed by the caller.
///
/// **The log** of a stream holds each record once, under the index of its newest version. Indexes
/// start at 1, grow by one per entry and are assigned in commit order, so a reader that has seen
/// everything up to n has seen every entry ≤ n that will ever exist. A log is made by its first append
/// and needs no declaration.
///
/// **Consumers** hand out the log. Their rules are [`headrace_model::delivery`]; a store only runs
/// them one at a time per consumer and keeps what they changed. It tells them which versions have
/// left the log, and writes dead letters.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- objects

    /// Carries out the writes in order, all or none. A taken name or a stale revision refuses all.
    async fn write(&self, writes: Vec<Write>) -> Result<()>;

    /// One object.
    async fn object(&self, kind: Kind, id: Uuid) -> Result<Option<Object>>;

    /// The object that owns this unique name within the organisation.
    async fn object_named(&self, kind: Kind, org: OrgId, name: &str) -> Result<Option<Object>>;

    /// Objects of a kind in the order of their ids, after `after`; of all organisations without `org`.
    async fn objects(
        &self,
        kind: Kind,
        org: Option<OrgId>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Object>>;

    // ---- the log

    /// Appends many batches in one transaction, each with its sync's cursors and under its sync's
    /// fence. The answer has one result per batch, in order: a stale fence refuses its batch alone
    /// ([`StoreError::Fenced`]). Each observation is compared with what the log holds *inside* the
    /// transaction ([`headrace_model::record::decide`]). `now` is the commit time of the new versions,
    /// moved up where needed so that it never decreases along the log.
    async fn append(
        &self,
        stream: StreamId,
        now: Timestamp,
        batches: Vec<Batch>,
    ) -> Result<Vec<Result<Appended>>>;

    /// Entries that match, in log order (or from the newest on), with their data. Never purge entries.
    async fn read(&self, stream: StreamId, selection: &Selection, range: Range) -> Result<Page>;

    /// The current entry of a record of this stream, tombstones included.
    async fn record(&self, stream: StreamId, record: RecordId) -> Result<Option<Row>>;

    /// The upstream ids of the records of a collection that were last seen below this parent, without
    /// those that are deleted.
    async fn children(
        &self,
        stream: StreamId,
        sync: SyncId,
        collection: &str,
        parent: &str,
    ) -> Result<Vec<String>>;

    /// The parent of this record of this stream; `None` where it has none, or is not in its log.
    async fn parent(&self, stream: StreamId, record: RecordId) -> Result<Option<String>>;

    /// Where these records of this stream are, in the order asked for; `None` for those that are not
    /// in its log. Reads no data.
    async fn places(&self, stream: StreamId, records: Vec<RecordId>) -> Result<Vec<Option<Place>>>;

    /// The lanes of a stream by number: every (sync, collection) that was ever appended to. A
    /// snapshot: lanes made later have only entries beyond the [`Store::last_idx`] read before it. As
    /// long as there are no others, it is the same allocation.
    async fn lanes(&self, stream: StreamId) -> Result<Arc<Vec<Lane>>>;

    /// The index of the newest durable entry; 0 for an empty log.
    async fn last_idx(&self, stream: StreamId) -> Result<u64>;

    /// Follows [`Store::last_idx`]: wakes whoever waits for something new.
    async fn watch(&self, stream: StreamId) -> Result<watch::Receiver<u64>>;

    /// The index just before the first entry whose commit time is not earlier than `time`.
    async fn position_before(&self, stream: StreamId, time: Timestamp) -> Result<u64>;

    /// Counts of a stream, and of each of its lanes.
    async fn stats(&self, stream: StreamId) -> Result<StreamStats>;

    /// Takes out of the log, without a trace, what nobody needs any more; one bounded step, which costs
    /// no write where nothing goes.
    ///
    /// * Tombstones that are old enough, once every consumer of the stream that wants its lane is at or
    ///   beyond it, unless a consumer has them outstanding, held, or among its dead letters. A record
    ///   that comes back afterwards is new.
    /// * Purge entries. Consumers are never given any. They are for readers that keep copies of the
    ///   records elsewhere: those will hold a position in the store that counts here. Readers without
    ///   one miss the purges of the time before they began, and begin with a copy of the log as it is.
    async fn sweep(&self, stream: StreamId, sweep: Sweep) -> Result<Swept>;

    /// Removes a stream's log, its lanes, its consumers' states and its dead letters.
    async fn drop_log(&self, stream: StreamId) -> Result<()>;

    // ---- syncing

    /// The cursors of a sync by collection, as [`Batch`]es wrote them. Those whose names begin with a
    /// slash are notes, which [`Store::notes`] reads: there may be many.
    async fn cursors(&self, sync: SyncId) -> Result<Vec<(String, Vec<u8>)>>;

    /// The notes of a sync whose names begin with `beneath`, which begins with a slash.
    async fn notes(&self, sync: SyncId, beneath: &str) -> Result<Vec<(String, Vec<u8>)>>;

    /// Removes cursors of a sync: of one collection, or all, with the notes.
    async fn drop_cursors(&self, sync: SyncId, collection: Option<&str>) -> Result<()>;

    /// Takes or renews the lease `name` for `owner` until `until`. `None` while another owner's runs.
    /// The fence grows with every new owner: a node that wakes up late cannot write.
    async fn lease(
        &self,
        name: &str,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Fence>>;

    /// Gives a lease back early, if it still is this owner's.
    async fn release(&self, name: &str, owner: Uuid) -> Result<()>;

    // ---- consumers

    /// Makes the state of a consumer of `stream`, at `position`. One that exists is left as it is.
    async fn create_consumer(
        &self,
        stream: StreamId,
        consumer: ConsumerId,
        position: u64,
    ) -> Result<()>;

    /// The consumers that have a state here.
    async fn consumers(&self) -> Result<Vec<ConsumerId>>;

    /// Removes a consumer's state and dead letters.
    async fn drop_consumer(&self, consumer: ConsumerId) -> Result<()>;

    /// Hands out: expires, then leases what is due and what follows, and reads it. The leases survive the
    /// end of the process when this answers, and a power cut from the next answer to
    /// [`Store::update`] on: one that a power cut takes is handed out again. What is due again and does
    /// not match any more is done: it is not handed out but dropped.
    async fn next(&self, consumer: ConsumerId, next: Next<'_>) -> Result<Vec<Message>>;

    /// Changes a consumer's state by one pure step; others wait. The step's changes are durable when
    /// this answers. What a step was computed on may turn out to be lost: then it runs again, on the
    /// state that is durable, and what it told the caller the first time is void.
    async fn update(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c mut Consumer) + Send),
    ) -> Result<()>;

    /// Has a consumer begin anew at this position, and writes an object: both, or neither.
    async fn restart(&self, consumer: ConsumerId, position: u64, with: Write) -> Result<()>;

    /// From here on messages are handed out: called once, when what the last run left undone is done.
    /// Where that run did not end well, every consumer's generation rises: deliveries may have been
    /// forgotten, and no later one may have the token of one of those.
    async fn begin(&self) -> Result<()>;

    /// Runs `step` on the current state without changing it. It may run again, like that of
    /// [`Store::update`].
    async fn inspect(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c Consumer) + Send),
    ) -> Result<()>;

    /// The exact counts of a consumer for what it selects.
    async fn counts(&self, consumer: ConsumerId, selection: &Selection) -> Result<Counts>;

    /// Ends the ack windows that have passed, and tells when the next one ends. What a power cut takes of
    /// that is done again.
    async fn expire(
        &self,
        consumer: ConsumerId,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Option<Timestamp>>;

    /// Wakes whenever something became deliverable other than by an append: a nack, an expiry, a
    /// settled delivery that held a newer version back, a reset, a redrive.
    async fn watch_consumer(&self, consumer: ConsumerId) -> Result<watch::Receiver<u64>>;

    /// Dead letters in the order of their records, after `after`.
    async fn dead_letters(
        &self,
        consumer: ConsumerId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>>;

    /// When the oldest of the dead letters died; `None` while there is none.
    async fn oldest_death(&self, consumer: ConsumerId) -> Result<Option<Timestamp>>;

    /// Removes dead letters: these, or all. Answers how many there were.
    async fn drop_dead_letters(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
    ) -> Result<u64>;

    /// Delivers dead records again at attempt 1: these, or all; those that match `selection`, which was
    /// resolved after `upto` was read, as for [`Next`]. Answers how many were dead. Of all, no more than
    /// [`REDRIVEN_AT_ONCE`] wait for a worker at once; the others stay dead until those were delivered.
    async fn redrive(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
        selection: &Selection,
        upto: u64,
    ) -> Result<u64>;

    // ---- idempotency

    /// Claims an idempotency key, or tells what it was used for. Claims and answers older than `forget`
    /// are gone. A claim without an answer can be claimed again by the same request: whether it is
    /// still being worked on is the caller's to know.
    async fn claim(
        &self,
        key: &AnswerKey,
        request: [u8; 32],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<Claim>;

    /// Keeps the (sealed) answer for a claimed key; `None`, where nothing was done, gives the key free
    /// again.
    async fn answer(&self, key: &AnswerKey, answer: Option<Answer>) -> Result<()>;

    // ---- the store itself

    /// Writes a copy of everything into a new file, while others go on: one state of the whole store, in
    /// which is everything that was answered before this was called. `now` is noted in it. The file gets
    /// its name when it is whole and durable; one that exists is refused, and so is one that would leave
    /// others no room to write ([`StoreError::NoRoom`]). When the caller stops waiting, the copy is given
    /// up. Only [`restore`] makes a store of it again.
    async fn back_up(&self, to: &Path, now: Timestamp) -> Result<()>;

    /// Looks all of what is stored through, slowly and beside other work, for damage that nobody would come
    /// upon: it is answered, and ends all writing. Nothing is wrong where the store is closed meanwhile.
    async fn look_through(&self) -> Result<()>;

    /// Whether it can write: what `/ready` asks.
    async fn ready(&self) -> Result<()>;

    /// Ends the store after everything accepted is durable. Calls after it fail.
    async fn close(&self) -> Result<()>;
}
