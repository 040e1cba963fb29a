//! Stateful imitations of the providers' APIs.
//!
//! A sandbox is an [`axum::Router`] with a Rust handle beside it. The router answers as the real
//! API does: same paths, same paging, same errors, same limits. The handle fills the sandbox with
//! data, changes it behind the API's back, and scripts [faults](Fault).
//!
//! Everything a sandbox makes up comes from its seed: two sandboxes with the same seed, clock and
//! sequence of calls hold the same data.

// The largest objects nest the `json!` macro more than 128 deep.
#![recursion_limit = "256"]

mod clock;
mod fault;
mod form;
mod requests;
mod rng;
mod serve;
pub mod stripe;

pub use clock::{Clock, wall_clock};
pub use fault::{Fault, FaultKind, Faults};
pub use requests::Requests;
pub use serve::serve;
