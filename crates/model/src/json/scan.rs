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

/// The elements of the array at a path; `None` when there is no array. Cheaper than [`get`] with
/// [`elements`]: the array is walked once.
pub fn elements_at<'a>(json: &'a [u8], path: &Path) -> Option<impl Iterator<Item = &'a [u8]>> {
    let rest = json.get(start(json, path)?..)?;
    (rest.first() == Some(&b'[')).then(|| elements(rest))
}

/// The members of an object as (key, value), both as they are written, the key without its quotes;
/// nothing for any other value.
pub fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Items::new(json, b'{').map(|item| (&json[item.key], &json[item.value]))
}

/// Where the value at a path is.
pub(super) fn locate(json: &[u8], path: &Path) -> Option<Range<usize>> {
    let start = start(json, path)?;
    Some(start..skip(json, start))
}

/// Where the value at a path begins.
fn start(json: &[u8], path: &Path) -> Option<usize> {
    let mut at = 0;
    for segment in path.segments() {
        let inside = json.get(at..)?;
        at += match inside.first()? {
            b'{' => {
                let mut items = Items::new(inside, b'{');
                loop {
                    let (key, value) = items.enter()?;
                    if segment.is_key(&inside[key]) {
                        break value;
                    }
                    items.leave(value)?;
                }
            }
            b'[' => {
                let mut items = Items::new(inside, b'[');
                for _ in 0..segment.index()? {
                    items.next()?;
                }
                items.enter()?.1
            }
            _ => return None,
        };
    }
    Some(at)
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

    /// Moves to the next value: its key, and where it begins.
    fn enter(&self) -> Option<(Range<usize>, usize)> {
        let at = self.at;
        if !self.keyed {
            let there = self.json.get(at).is_some_and(|&byte| byte != b']');
            return there.then_some((at..at, at));
        }
        if self.json.get(at) != Some(&b'"') {
            return None;
        }
        let end = skip(self.json, at);
        let key = at + 1..end.saturating_sub(1).max(at + 1);
        (end < self.json.len()).then_some((key, end + 1))
    }

    /// Moves past the value that begins at `start`; where it ends.
    fn leave(&mut self, start: usize) -> Option<usize> {
        let end = skip(self.json, start);
        // Past the comma; at the end of the container nothing follows that could be an item.
        let more = self.json.get(end) == Some(&b',');
        self.at = if more { end + 1 } else { self.json.len() };
        (end > start).then_some(end)
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (key, start) = self.enter()?;
        let value = start..self.leave(start)?;
        Some(Item { key, value })
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
    let mut end = at;
    while let Some(word) = bytes.get(end..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return end - at + (special.trailing_zeros() / 8) as usize;
        }
        end += 8;
    }
    let plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    while bytes.get(end).is_some_and(plain) {
        end += 1;
    }
    end - at
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
