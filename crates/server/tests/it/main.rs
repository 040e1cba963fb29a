//! The server from outside: a real process, real stores, the public API.

mod consuming;
mod harness;
mod streams;
