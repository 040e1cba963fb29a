//! JSON as bytes: a provider's tokens are found, compared and spliced without parsing them into a tree.
//!
//! [`compact()`] is the gate: it accepts exactly the valid documents and answers the same tokens
//! without the whitespace between them. Every other function takes such compact bytes. Given anything
//! else they answer something of no meaning, but they never panic, never loop and never overflow the
//! stack, however deep the nesting.
//!
//! Where an object has a member twice, [`get`] takes the first; nothing is dropped.

mod compact;
mod hash;
mod path;
mod scan;
mod splice;
mod text;

pub use compact::{Invalid, compact};
pub use hash::{MAX_VOLATILE, hash};
pub use path::{BadPath, Path};
pub use scan::{elements, elements_at, get, members};
pub use splice::{array, remove, replace};
pub use text::{text, token_text};

#[cfg(test)]
mod tests;
