//! The rules of Headrace, as pure functions and plain data.
//!
//! Nothing here awaits, does I/O or reads a clock: time, randomness and bytes are passed in. That is
//! what lets the same rules run in every store, in property tests and under a simulated clock.

pub mod config;
pub mod delivery;
pub mod filter;
pub mod health;
pub mod ids;
pub mod json;
pub mod provider;
pub mod quota;
pub mod record;
pub mod retry;
pub mod seal;
pub mod secret;
pub mod time;

pub use ids::{ConsumerId, CredentialId, LaneNo, OrgId, RecordId, StreamId, SyncId, TokenId};
pub use time::Timestamp;
