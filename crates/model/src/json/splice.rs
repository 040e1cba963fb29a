//! Changing a document by splicing token text: everything that is not touched stays as it is written.

use super::path::Path;
use super::scan::{Items, locate};

/// The document with the value at `path` replaced by `token`; `None` when there is no such value.
pub fn replace(json: &[u8], path: &Path, token: &[u8]) -> Option<Vec<u8>> {
    let place = locate(json, path)?;
    let mut out = Vec::with_capacity(json.len() - place.len() + token.len());
    out.extend_from_slice(&json[..place.start]);
    out.extend_from_slice(token);
    out.extend_from_slice(&json[place.end..]);
    Some(out)
}

/// The document without the members at `paths`. Paths that lead nowhere change nothing.
pub fn remove(json: &[u8], paths: &[Path]) -> Vec<u8> {
    let mut out = json.to_vec();
    for path in paths {
        if let Some(without) = remove_one(&out, path) {
            out = without;
        }
    }
    out
}

/// An array of these elements.
pub fn array<T: AsRef<[u8]>>(elements: &[T]) -> Vec<u8> {
    let length: usize = elements
        .iter()
        .map(|element| element.as_ref().len() + 1)
        .sum();
    let mut out = Vec::with_capacity(length + 2);
    out.push(b'[');
    join(elements.iter().map(AsRef::as_ref), &mut out);
    out.push(b']');
    out
}

fn remove_one(json: &[u8], path: &Path) -> Option<Vec<u8>> {
    let (parent, last) = path.split_last()?;
    let object = &json[locate(json, &parent)?];
    if object.first() != Some(&b'{') {
        return None;
    }
    let kept = Items::new(object, b'{').filter(|item| !last.is_key(&object[item.key.clone()]));
    let mut token = Vec::with_capacity(object.len());
    token.push(b'{');
    join(
        kept.map(|item| &object[item.key.start - 1..item.value.end]),
        &mut token,
    );
    token.push(b'}');
    replace(json, &parent, &token)
}

fn join<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (n, part) in parts.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(part);
    }
}
