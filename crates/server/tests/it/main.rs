//! The server from outside: a real process, real stores, the public API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod bad_input;
mod changing;
mod choosing;
mod cli;
mod connections;
mod consuming;
mod crash;
mod credentials;
mod getting_started;
mod harness;
mod idempotency;
mod judged;
mod large_answers;
mod live;
mod odd_records;
mod openapi;
mod security;
mod streams;
