//! What a file begins with: the format, and the salt of its entries.
//!
//! ```text
//! format 8 · salt 8 · checksum 8
//! ```
//!
//! Entries hold words of workers, and old ones stay in a file behind the newer. Nobody but the journal
//! knows the salt, which is in the checksum of each entry and another one after each start: so no
//! words are ever taken for an entry. It is in these files only, and in no backup.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

const FORMAT: [u8; 8] = *b"HRjournl";
const CHECKSUM: usize = 16;
/// Where entries begin.
pub(super) const LENGTH: u64 = 24;
/// What files without a header began with.
const BEFORE: &[u8] = b"HRj1";

/// Tells entries from whatever else may be in a file.
#[derive(Clone, Copy)]
pub(super) struct Salt(pub(super) u64);

/// How a file begins.
pub(super) enum Beginning {
    /// Its entries have this salt.
    Salted(Salt),
    /// It is new, or a power cut took its header: nothing was appended before that was durable.
    Empty,
    /// Entries may be there, and no header.
    Damaged,
    /// A version that knew no salt wrote it.
    Old,
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// Empties a file and begins it anew, durably: nothing of before is taken for something of now.
pub(super) fn begin(file: &File, salt: Salt) -> std::io::Result<()> {
    let mut header = [FORMAT, salt.0.to_le_bytes()].concat();
    header.extend(xxh3_64(&header).to_le_bytes());
    file.set_len(0)?;
    file.write_all_at(&header, 0)?;
    file.sync_all()
}

pub(super) fn read(file: &[u8]) -> Beginning {
    if file.starts_with(BEFORE) {
        return Beginning::Old;
    }
    let number = |at: usize| {
        let bytes = file.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u64::from_le_bytes(*bytes))
    };
    let checked = file.get(..CHECKSUM).map(xxh3_64);
    match number(FORMAT.len()) {
        Some(salt) if file.starts_with(&FORMAT) && number(CHECKSUM) == checked => {
            Beginning::Salted(Salt(salt))
        }
        _ if file.len() as u64 <= LENGTH => Beginning::Empty,
        _ => Beginning::Damaged,
    }
}
