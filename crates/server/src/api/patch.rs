//! A patched field that may be set to `null`: absent, `null` and a value are three things.

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, with = "…")]` on an `Option<Option<T>>`: absent is `None`, `null` `Some(None)`.
pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
