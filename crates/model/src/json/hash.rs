//! The canonical content hash: what tells a change from the same content written differently.

use xxhash_rust::xxh3::xxh3_128;

use super::path::Path;
use super::scan::skip;

/// How many volatile paths are heeded.
pub const MAX_VOLATILE: usize = 64;

/// Containers nested deeper than this are hashed as they are written: the stack stays bounded, and no
/// real record comes near.
const MAX_DEPTH: usize = 128;

/// The 128-bit hash of compact JSON. The order of members does not matter; numbers, strings and keys
/// count as they are written; the members and elements at the `volatile` paths (the first
/// [`MAX_VOLATILE`] of them) do not count.
pub fn hash(json: &[u8], volatile: &[Path]) -> u128 {
    let mut hasher = Hasher {
        json,
        at: 0,
        volatile,
    };
    let live = match volatile.len() {
        0 => 0,
        n => u64::MAX >> (MAX_VOLATILE - n.min(MAX_VOLATILE)),
    };
    hasher.value(0, live)
}

struct Hasher<'a> {
    json: &'a [u8],
    at: usize,
    volatile: &'a [Path],
}

impl Hasher<'_> {
    /// Hashes the value at `self.at` and moves past it. `live` has a bit for each volatile path that
    /// leads here.
    fn value(&mut self, depth: usize, live: u64) -> u128 {
        match self.json.get(self.at) {
            Some(b'{') if depth < MAX_DEPTH => self.object(depth, live),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth, live),
            _ => {
                let start = self.at;
                self.at = skip(self.json, start);
                self.written(start)
            }
        }
    }

    /// The sum of the members' hashes, so that their order does not matter.
    fn object(&mut self, depth: usize, live: u64) -> u128 {
        let mut sum = 0_u128;
        self.at += 1;
        while self.json.get(self.at) == Some(&b'"') {
            let start = self.at;
            let key_end = skip(self.json, start);
            let key = self
                .json
                .get(start + 1..key_end.saturating_sub(1))
                .unwrap_or_default();
            self.at = (key_end + 1).min(self.json.len());
            match self.step(Step::Member(key), depth, live) {
                None => self.at = skip(self.json, self.at),
                Some(live) => sum = sum.wrapping_add(self.member(start, key_end, depth, live)),
            }
            if !self.take(b',') {
                break;
            }
        }
        self.take(b'}');
        pair(u128::from(b'{'), sum)
    }

    fn member(&mut self, start: usize, key_end: usize, depth: usize, live: u64) -> u128 {
        if matches!(self.json.get(self.at), Some(b'{' | b'[')) {
            let key = xxh3_128(&self.json[start..key_end]);
            return pair(key, self.value(depth + 1, live));
        }
        self.at = skip(self.json, self.at);
        self.written(start)
    }

    fn array(&mut self, depth: usize, live: u64) -> u128 {
        let mut chain = u128::from(b'[');
        self.at += 1;
        let mut index = 0;
        while self.json.get(self.at).is_some_and(|&byte| byte != b']') {
            match self.step(Step::Element(index), depth, live) {
                None => self.at = skip(self.json, self.at),
                Some(live) => chain = pair(chain, self.value(depth + 1, live)),
            }
            index += 1;
            if !self.take(b',') {
                break;
            }
        }
        self.take(b']');
        chain
    }

    /// The volatile paths that lead on through a step; `None` when one of them ends there.
    fn step(&self, step: Step<'_>, depth: usize, live: u64) -> Option<u64> {
        let mut on = 0;
        let mut left = live;
        while left != 0 {
            let n = left.trailing_zeros();
            left &= left - 1;
            let segments = self.volatile.get(n as usize)?.segments();
            if segments
                .get(depth)
                .is_some_and(|segment| step.fits(segment))
            {
                if depth + 1 == segments.len() {
                    return None;
                }
                on |= 1 << n;
            }
        }
        Some(on)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.json.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    /// The hash of what is written from `start` to here.
    fn written(&self, start: usize) -> u128 {
        xxh3_128(self.json.get(start..self.at).unwrap_or_default())
    }
}

enum Step<'a> {
    Member(&'a [u8]),
    Element(usize),
}

impl Step<'_> {
    fn fits(&self, segment: &super::path::Segment) -> bool {
        segment.is_wildcard()
            || match self {
                Self::Member(key) => segment.is_key(key),
                Self::Element(index) => segment.index() == Some(*index),
            }
    }
}

fn pair(first: u128, second: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&first.to_le_bytes());
    bytes[16..].copy_from_slice(&second.to_le_bytes());
    xxh3_128(&bytes)
}
