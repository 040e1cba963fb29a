//! What a sync tells of itself.

use headrace_model::Timestamp;
use headrace_model::health::Health;
use serde::Serialize;

/// How a sync is doing.
#[derive(Clone, PartialEq, Debug)]
pub struct SyncStatus {
    /// In plain words.
    pub health: Health,
    /// When the first reading of all its collections was complete.
    pub initial_backfill_completed_at: Option<Timestamp>,
    /// Its collections, in the order of the sync's list.
    pub collections: Vec<CollectionStatus>,
}

/// How one collection of a sync is doing.
#[derive(Clone, PartialEq, Debug)]
pub struct CollectionStatus {
    /// The collection, such as `stripe:customer`.
    pub id: String,
    /// What it is doing.
    pub status: Activity,
    /// Its reading from beginning to end: the one under way, else the last one.
    pub backfill: BackfillStatus,
    /// When changes were last looked for with success.
    pub last_checked_at: Option<Timestamp>,
    /// How long the newest change took from the provider's clock to the stream, in milliseconds.
    pub lag_ms: Option<u64>,
    /// What is wrong, in plain words.
    pub error: Option<String>,
    /// What should be known besides, in plain words.
    pub notes: Vec<String>,
}

/// What a collection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It has not begun: it waits for its parent, or another node has the sync.
    Waiting,
    /// It reads everything.
    Backfilling,
    /// Everything was read; changes are looked for.
    Live,
    /// The user let it stand still.
    Paused,
    /// Something failed; it tries again by itself.
    Retrying,
    /// Something failed that somebody has to see to. It tries again now and then.
    Failed,
    /// The sync is disabled.
    Disabled,
}

/// A reading of a collection from beginning to end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackfillStatus {
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was complete; `None` while it goes on.
    pub completed_at: Option<Timestamp>,
    /// Records read so far.
    pub records: u64,
    /// About how many records there are, once that can be told.
    pub estimated_total: Option<u64>,
    /// About when it will be complete.
    pub estimated_completion_at: Option<Timestamp>,
    /// Where it is, in words for people.
    pub cursor: Option<String>,
}
