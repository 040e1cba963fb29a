//! Stateful imitations of the providers' APIs.
//!
//! A sandbox is an [`axum::Router`] with a Rust handle beside it. The router answers as the real
//! API does: same paths, same paging, same errors, same limits. The handle fills the sandbox with
//! data, changes it behind the API's back, and scripts [faults](Fault).
//!
//! Everything a sandbox makes up comes from its seed: two sandboxes with the same seed, clock and
//! sequence of calls hold the same data.
//!
//! ```
//! use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
//!
//! let stripe = Stripe::new(StripeOptions::default());
//! stripe.seed(Collection::Customer, 3);
//! let ada = stripe.create(Collection::Customer, serde_json::json!({ "name": "Ada" }))?;
//! assert_eq!(stripe.list_all(Collection::Customer)[0], ada);
//! # Ok::<(), headrace_sandbox::stripe::Error>(())
//! ```

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
