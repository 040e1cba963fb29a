//! The use cases of Headrace: syncing providers into streams, handing streams to consumers, and the
//! configuration of both. Knows neither HTTP routes nor SQL.

pub mod clock;
pub mod keys;
pub mod outbound;
pub mod providers;
pub mod sync;

pub use clock::{Clock, SystemClock};
