//! Entries as bytes: one step of one consumer each.
//!
//! ```text
//! marker 4 · length of the step 4 · generation 8 · synced 8 · before 8 · checksum 8 · step
//! ```
//!
//! Numbers are little-endian. The marker is of the file's salt: no worker's words hold it, which would make
//! a start look for entries in them. The checksum is over everything else, the entry's place in its file and
//! the file's salt, so that nothing that is left over from before, and no worker's words, are taken for
//! an entry of now.

use std::sync::Arc;

use headrace_model::delivery::{Change, Outstanding, Phase};
use headrace_model::{RecordId, Timestamp};
use xxhash_rust::xxh3::Xxh3;

use super::header::Salt;

const MARKER: usize = 4;
const HEAD: usize = 40;
const CHECKSUM: std::ops::Range<usize> = 32..40;
const NO_TEXT: u32 = u32::MAX;

/// What is written around a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Envelope {
    /// Which filling of the file it belongs to.
    pub(super) generation: u64,
    /// How much of the file was known to survive a power cut when it was written.
    pub(super) synced: u64,
    /// How long the generation before became; it was synced before anything of this one.
    pub(super) before: u64,
}

/// What a step changed: the consumer by number, how many steps were before, the position after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plain {
    pub(crate) no: i64,
    pub(crate) seq: i64,
    pub(crate) position: u64,
    /// In order; of the kinds that [`is_plain`] takes.
    pub(crate) changes: Vec<Change>,
}

/// An entry that was read.
pub(super) struct Entry {
    pub(super) at: u64,
    pub(super) size: usize,
    pub(super) envelope: Envelope,
    pub(super) step: Plain,
}

/// Whether the journal can hold the change. The others are rare.
pub(crate) fn is_plain(change: &Change) -> bool {
    matches!(
        change,
        Change::Position(_)
            | Change::Put(..)
            | Change::Remove(_)
            | Change::Hold(..)
            | Change::Unhold(_)
    )
}

/// Writes an entry that will be at this place of its file.
pub(super) fn write(salt: Salt, at: u64, envelope: Envelope, step: &Plain) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + 32 + step.changes.len() * 40);
    out.resize(HEAD, 0);
    for number in [
        step.no.cast_unsigned(),
        step.seq.cast_unsigned(),
        step.position,
    ] {
        out.extend(number.to_le_bytes());
    }
    for change in &step.changes {
        write_change(change, &mut out);
    }
    let length = u32::try_from(out.len() - HEAD).unwrap_or(u32::MAX);
    out[..MARKER].copy_from_slice(&marker(salt));
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..16].copy_from_slice(&envelope.generation.to_le_bytes());
    out[16..24].copy_from_slice(&envelope.synced.to_le_bytes());
    out[24..32].copy_from_slice(&envelope.before.to_le_bytes());
    let checksum = checksum(salt, at, &out);
    out[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The entry at this place, if there is a whole one.
pub(super) fn read(salt: Salt, file: &[u8], at: usize) -> Option<Entry> {
    let rest = file.get(at..)?;
    let mut head = rest.get(4..HEAD)?;
    let length = u32::from_le_bytes(take(&mut head)?) as usize;
    let mut number = || Some(u64::from_le_bytes(take(&mut head)?));
    let envelope = Envelope {
        generation: number()?,
        synced: number()?,
        before: number()?,
    };
    let expected = number()?;
    let size = HEAD.checked_add(length)?;
    let bytes = rest.get(..size)?;
    if bytes[..MARKER] != marker(salt) || checksum(salt, at as u64, bytes) != expected {
        return None;
    }
    Some(Entry {
        at: at as u64,
        size,
        envelope,
        step: read_step(&bytes[HEAD..])?,
    })
}

/// The next place after `at` where an entry may begin.
pub(super) fn next_marker(salt: Salt, file: &[u8], at: usize) -> Option<usize> {
    let from = at + 1;
    let rest = file.get(from..)?;
    let marker = marker(salt);
    let found = rest.windows(MARKER).position(|four| four == marker);
    found.map(|found| from + found)
}

fn marker(salt: Salt) -> [u8; MARKER] {
    let [marker @ .., _, _, _, _] = salt.0.to_le_bytes();
    marker
}

fn checksum(salt: Salt, at: u64, entry: &[u8]) -> u64 {
    let mut hash = Xxh3::with_seed(salt.0 ^ at);
    hash.update(&entry[..CHECKSUM.start]);
    hash.update(&entry[CHECKSUM.end..]);
    hash.digest()
}

fn write_change(change: &Change, out: &mut Vec<u8>) {
    let mut begin = |tag: u8, number: u64| {
        out.push(tag);
        out.extend(number.to_le_bytes());
    };
    match change {
        Change::Position(position) => begin(0, *position),
        Change::Remove(idx) => begin(1, *idx),
        Change::Unhold(idx) => begin(2, *idx),
        Change::Hold(idx, record) => {
            begin(3, *idx);
            out.extend(record.to_bytes());
        }
        Change::Put(idx, entry) => {
            let (tag, at) = match entry.phase {
                Phase::Leased { until, .. } => (4, until),
                Phase::Expired(at) => (5, at),
                Phase::Nacked(due) => (6, due),
            };
            begin(tag, *idx);
            out.extend(entry.record.to_bytes());
            out.extend(entry.generation.to_le_bytes());
            out.extend(entry.attempts.to_le_bytes());
            out.extend(at.as_micros().to_le_bytes());
            match &entry.last_error {
                None => out.extend(NO_TEXT.to_le_bytes()),
                Some(error) => {
                    let length = u32::try_from(error.len()).unwrap_or(0);
                    out.extend(length.to_le_bytes());
                    out.extend(&error.as_bytes()[..length as usize]);
                }
            }
        }
        Change::Generation(_)
        | Change::Clear
        | Change::Redriving(_)
        | Change::Dead(_)
        | Change::Undead(_) => debug_assert!(false, "{change:?} is not for the journal"),
    }
}

fn read_step(mut bytes: &[u8]) -> Option<Plain> {
    let bytes = &mut bytes;
    let mut step = Plain {
        no: i64::from_le_bytes(take(bytes)?),
        seq: i64::from_le_bytes(take(bytes)?),
        position: u64::from_le_bytes(take(bytes)?),
        changes: Vec::new(),
    };
    while !bytes.is_empty() {
        step.changes.push(read_change(bytes)?);
    }
    Some(step)
}

fn read_change(bytes: &mut &[u8]) -> Option<Change> {
    let [tag] = take(bytes)?;
    let number = u64::from_le_bytes(take(bytes)?);
    Some(match tag {
        0 => Change::Position(number),
        1 => Change::Remove(number),
        2 => Change::Unhold(number),
        3 => Change::Hold(number, RecordId::from_bytes(take(bytes)?)),
        4..=6 => {
            let record = RecordId::from_bytes(take(bytes)?);
            let generation = u32::from_le_bytes(take(bytes)?);
            let attempts = u32::from_le_bytes(take(bytes)?);
            let at = Timestamp::from_micros(i64::from_le_bytes(take(bytes)?));
            let phase = match tag {
                4 => Phase::Leased {
                    until: at,
                    gone: false,
                },
                5 => Phase::Expired(at),
                _ => Phase::Nacked(at),
            };
            let entry = Outstanding {
                record,
                generation,
                attempts,
                phase,
                last_error: read_text(bytes)?,
            };
            Change::Put(number, entry)
        }
        _ => return None,
    })
}

#[expect(clippy::option_option, reason = "no text, or none that can be read")]
fn read_text(bytes: &mut &[u8]) -> Option<Option<Arc<str>>> {
    let length = u32::from_le_bytes(take(bytes)?);
    if length == NO_TEXT {
        return Some(None);
    }
    let (text, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(Some(std::str::from_utf8(text).ok()?.into()))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_looks_for_no_entries_in_words() {
        let words = b"HRj2\0\0\0\x01HRj2\x7f\0\0\0".repeat(1_000);
        let salts = [0x1234_5678_9abc_def0, u64::MAX, 0x8000_0000_80ff_fe00].map(Salt);
        for salt in salts {
            assert_eq!(next_marker(salt, &words, 0), None, "{:x}", salt.0);
            let mut file = words.clone();
            file.extend(marker(salt));
            assert_eq!(next_marker(salt, &file, 0), Some(words.len()));
        }
    }
}
