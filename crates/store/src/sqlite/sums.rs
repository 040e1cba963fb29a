//! Checksums of the log's entries. `SQLite` notices where the order of its pages is damaged, and not where
//! a bit of their content is: nobody is to be given a record that is not what was stored.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::corrupt;
use super::streams::split_row_id;

/// What the checksum of an entry is of.
pub(super) struct Entry<'a> {
    pub(super) record: [u8; 16],
    pub(super) lane: u32,
    pub(super) deleted: bool,
    pub(super) upstream_id: &'a [u8],
    /// The times at the provider, if told, and those of the stream.
    pub(super) times: [Option<i64>; 4],
    pub(super) data: &'a [u8],
}

impl Entry<'_> {
    pub(super) fn sum(&self) -> i64 {
        let lane = u64::from(self.lane) << 1 | u64::from(self.deleted);
        let mut seed = xxh3_64_with_seed(&self.record, lane);
        for time in self.times {
            // No time is so early.
            let time = time.unwrap_or(i64::MIN);
            seed = xxh3_64_with_seed(&time.to_le_bytes(), seed);
        }
        seed = xxh3_64_with_seed(self.upstream_id, seed);
        xxh3_64_with_seed(self.data, seed).cast_signed()
    }

    /// Refuses what is not what was stored at this place of the log. What an earlier version stored has
    /// no checksum.
    pub(super) fn verify(&self, id: i64, stored: Option<i64>) -> rusqlite::Result<()> {
        if stored.is_none_or(|stored| stored == self.sum()) {
            return Ok(());
        }
        let (stream, idx) = split_row_id(id);
        let words = format!("entry {idx} of the log of stream {stream} is not what was stored");
        Err(corrupt(words))
    }
}
