//! The store's contract, run against every backend.

mod conformance;
mod sqlite;
