//! Dotted paths into JSON: `data.object`, `items.data.0.price`.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::text::unescape;

/// A dotted path. Each segment is the key of a member or the index of an element. `*` stands for any of
/// them and is for the paths that [`super::hash()`] leaves out; elsewhere it finds nothing but a member
/// of that name, and it is refused where a path is deserialised. Keys that contain a dot cannot be reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Path {
    segments: Vec<Segment>,
}

/// The text is not a dotted path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a dotted path such as data.object")]
pub struct BadPath;

impl Path {
    /// Reads a dotted path.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        let segments: Vec<Segment> = text.split('.').map(Segment::new).collect();
        let sound = segments.iter().all(Segment::is_sound);
        if sound {
            Ok(Self { segments })
        } else {
            Err(BadPath)
        }
    }

    /// The path of the whole value.
    pub fn top() -> Self {
        let segments = Vec::new();
        Self { segments }
    }

    /// The path of a member or element below this one.
    pub fn join(&self, below: &Self) -> Self {
        let segments = self
            .segments
            .iter()
            .chain(&below.segments)
            .cloned()
            .collect();
        Self { segments }
    }

    /// Whether the path has a `*`.
    pub fn has_wildcard(&self) -> bool {
        self.segments.iter().any(Segment::is_wildcard)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The path without its last segment, and that segment. `None` for the whole value.
    pub(super) fn split_last(&self) -> Option<(Self, &Segment)> {
        let (last, before) = self.segments.split_last()?;
        let segments = before.to_vec();
        Some((Self { segments }, last))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.segments.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            f.write_str(&segment.text)?;
        }
        if self.segments.is_empty() {
            f.write_str("its top")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path = Self::parse(&text).map_err(serde::de::Error::custom)?;
        if path.has_wildcard() {
            return Err(serde::de::Error::custom(
                "a path that is to find one value has no `*`",
            ));
        }
        Ok(path)
    }
}

/// One step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Segment {
    text: String,
    index: Option<usize>,
}

impl Segment {
    fn new(text: &str) -> Self {
        let index = text.parse().ok();
        let text = text.to_owned();
        Self { text, index }
    }

    fn is_sound(&self) -> bool {
        let allowed =
            |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '{' | '}' | '[' | ']');
        !self.text.is_empty() && self.text.chars().all(allowed)
    }

    /// Whether this is the key, given as it is written between its quotes.
    pub(super) fn is_key(&self, raw: &[u8]) -> bool {
        if raw.contains(&b'\\') {
            return unescape(raw) == self.text;
        }
        raw == self.text.as_bytes()
    }

    pub(super) fn index(&self) -> Option<usize> {
        self.index
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.text == "*"
    }
}
