//! What a start looks through before `SQLite` opens the database, with the knowledge of its format that
//! `SQLite` does not share: it cuts a damaged log off, and does not see how its pages hang together until it
//! comes upon one.
//!
//! [`wal`] goes through all of the log. [`trees`] looks at so many pages of the database ([`trees::PAGES`])
//! as do not delay a start: those of all trees of a small one, and of a large one those that lead to the
//! others. [`page`] has what must hold within one, and [`schema`] where trees begin.
//!
//! It has to end before `SQLite` begins: to close a file takes the locks away that the process has on it.

mod page;
mod schema;
#[cfg(test)]
mod tests;
mod trees;
mod wal;

pub(super) use trees::{Pages, Trees};
pub(super) use wal::read as read_wal;

/// The big-endian number at this place; 0 behind the end.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
