//! Syncing: keeping streams equal to the accounts at the providers.
//!
//! A sync is a set of reconcilers: one for each collection and one for each feed. Each is idempotent
//! and takes no input; it is woken by a signal and by a timer, looks at its stored state, does the next
//! step and stores the new state in one transaction with the records. So a crash at any instant costs
//! at most the page in flight.

mod ageing;
mod board;
mod collection;
mod context;
mod course;
mod credential;
mod describe;
mod error;
mod extent;
mod failure;
mod families;
mod feed;
mod look;
mod notes;
mod pace;
mod pages;
mod poll;
mod reconcilers;
mod refused;
mod run;
mod runner;
mod settle;
mod state;
mod status;
mod supervisor;
mod sweep;

pub use error::SyncError;
pub use status::{Activity, BackfillStatus, CollectionStatus, SyncStatus};
pub use supervisor::{Parts, Reread, Supervisor, SyncSettings};
