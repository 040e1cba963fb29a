//! The sandbox over HTTP, as an independent client sees it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod client;
mod events;
mod faults;
mod judged;
mod lists;
mod nested;
mod plain;
mod seeding;
mod writes;
