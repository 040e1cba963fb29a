//! The server from outside: a real process, real stores, the public API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod backup_download;
mod backup_trouble;
mod bad_input;
mod bad_workers;
mod changing;
mod choosing;
mod cli;
mod clock;
mod connections;
mod consuming;
mod crash;
mod credentials;
mod crowds;
mod damage;
mod disk;
mod failing_disk;
mod getting_started;
mod harness;
mod idempotency;
mod judged;
mod key_folder;
mod large_answers;
mod live;
mod odd_records;
mod openapi;
mod power_loss;
mod schemathesis;
mod security;
mod streams;
mod stripe_docs;
