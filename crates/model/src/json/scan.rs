//! Walking over compact JSON: past a value, into an object, along an array.

use std::ops::Range;

use super::path::Path;

/// The value at a path, as it is written; `None` when there is none.
pub fn get<'a>(json: &'a [u8], path: &Path) -> Option<&'a [u8]> {
    json.get(locate(json, path)?)
}

/// The elements of an array, as they are written; nothing for any other value.
pub fn elements(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    Items::new(json, b'[').map(|item| &json[item.value])
}

/// The members of an object as (key, value), both as they are written, the key without its quotes;
/// nothing for any other value.
pub fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Items::new(json, b'{').map(|item| (&json[item.key], &json[item.value]))
}

/// Where the value at a path is.
pub(super) fn locate(json: &[u8], path: &Path) -> Option<Range<usize>> {
    let mut found = 0..json.len();
    for segment in path.segments() {
        let base = found.start;
        let inside = &json[found];
        let item = match inside.first() {
            Some(b'{') => {
                Items::new(inside, b'{').find(|item| segment.is_key(&inside[item.key.clone()]))?
            }
            Some(b'[') => Items::new(inside, b'[').nth(segment.index()?)?,
            _ => return None,
        };
        found = base + item.value.start..base + item.value.end;
    }
    Some(found)
}

/// One element or member, as offsets. An element's key is empty.
pub(super) struct Item {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Iterates the elements of an array or the members of an object.
pub(super) struct Items<'a> {
    json: &'a [u8],
    at: usize,
    keyed: bool,
}

impl<'a> Items<'a> {
    /// The items of the container that begins with `open` (`{` or `[`).
    pub(super) fn new(json: &'a [u8], open: u8) -> Self {
        let at = if json.first() == Some(&open) {
            1
        } else {
            json.len()
        };
        let keyed = open == b'{';
        Self { json, at, keyed }
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let mut key = self.at..self.at;
        let mut start = self.at;
        if self.keyed {
            if self.json.get(start) != Some(&b'"') {
                return None;
            }
            let end = skip(self.json, start);
            key = start + 1..end.saturating_sub(1).max(start + 1);
            start = end + 1;
        }
        let end = skip(self.json, start);
        if end <= start {
            return None;
        }
        // Past the comma; at the end of the container nothing follows that could be an item.
        self.at = if self.json.get(end) == Some(&b',') {
            end + 1
        } else {
            self.json.len()
        };
        Some(Item {
            key,
            value: start..end,
        })
    }
}

/// The offset just past the value that begins at `at`; never beyond the end of the bytes.
pub(super) fn skip(json: &[u8], at: usize) -> usize {
    match json.get(at) {
        Some(b'"') => skip_string(json, at),
        Some(b'{' | b'[') => skip_container(json, at),
        _ => skip_scalar(json, at),
    }
}

fn skip_container(json: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = skip_string(json, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn skip_string(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at += plain_run(json, at);
        match json.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return json.len(),
        }
    }
}

fn skip_scalar(json: &[u8], at: usize) -> usize {
    let Some(rest) = json.get(at..) else {
        return json.len();
    };
    let length = rest
        .iter()
        .position(|byte| matches!(byte, b',' | b'}' | b']'));
    length.map_or(json.len(), |length| at + length)
}

/// How many bytes from `at` on are plain: neither a quote nor a backslash nor a control character.
pub(super) fn plain_run(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return length + (special.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let plain = tail
        .iter()
        .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
    length + plain.unwrap_or(tail.len())
}

/// Marks the high bit of each special byte. The lowest mark is exact; a borrow may add false ones
/// above it only.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let quotes = zero_bytes(word ^ (ONES * u64::from(b'"')));
    let backslashes = zero_bytes(word ^ (ONES * u64::from(b'\\')));
    let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    quotes | backslashes | controls
}
