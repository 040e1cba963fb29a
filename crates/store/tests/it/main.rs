//! The store's contract, run against every backend.

#![expect(clippy::unwrap_used, reason = "a test ends where something is amiss")]

mod conformance;
mod flipped;
mod forged;
mod journal;
mod naming;
mod restoring;
mod sqlite;
