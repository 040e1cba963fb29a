//! The use cases of Headrace: syncing providers into streams, handing streams to consumers, and the
//! configuration of both. Knows neither HTTP routes nor SQL.

mod answers;
mod backups;
mod catalogue;
pub mod clock;
mod consumers;
mod credentials;
mod engine;
mod entity;
mod error;
mod expiry;
mod gates;
pub mod keys;
mod messages;
mod names;
pub mod outbound;
mod peek;
pub mod providers;
mod rates;
mod records;
mod refresh;
mod removal;
mod retention;
mod selection;
mod steady;
mod streams;
pub mod sync;
mod syncs;
mod tokens;
mod under_way;
mod verify;
mod waiting;

pub use answers::KeyInUse;
pub use backups::BackupTurn;
pub use clock::{Clock, SystemClock};
pub use consumers::{ConsumerView, bounds};
pub use credentials::{CredentialPatch, NewCredential};
pub use engine::{Engine, SyncParts};
pub use entity::{Entity, Stored};
pub use error::{Error, Invalid, Problems};
pub use messages::{Delivery, SettledCounts, Settlement, read_tokens};
pub use outbound::default_limit;
pub use peek::{DeadLetters, Peek, PeekPage, PeekPlace, Peeked};
pub use providers::{Provider, Providers};
pub use rates::Rate;
pub use records::{MAX_ANSWER_BYTES, Records};
pub use refresh::RefreshView;
pub use selection::{LaneBook, SyncCard, only, provider_of};
pub use steady::SteadyClock;
pub use streams::{StreamPatch, StreamView};
pub use sync::{Activity, CollectionStatus, Reread, SyncStatus};
pub use syncs::{SyncPatch, SyncView, check_limit};
pub use tokens::{Caller, StoredToken, TokenError};

/// An error with its causes, for a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
