//! The engine against real stores and imitated providers.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod consumers;
mod credentials;
mod desk;
mod expiry;
mod policies;
mod removals;
mod retention;
mod simulation;
mod sync;
mod sync_ages;
mod sync_behind;
mod sync_changes;
mod sync_deletes;
mod sync_doubts;
mod sync_every;
mod sync_failures;
mod sync_families;
mod sync_follow;
mod sync_harness;
mod sync_links;
mod sync_outbound;
