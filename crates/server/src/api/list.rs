//! Lists: `{"data": […], "next_cursor": …}`, and the filters that many share.

use headrace_engine::Stored;
use headrace_model::config::Metadata;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;

/// A list, or a part of one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The objects, oldest first.
    pub data: Vec<T>,
    /// Pass it as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// How much of a list, and from where.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

impl Part {
    /// The limit, checked: 1 to 1000, 100 unless given.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or(100) {
            limit @ 1..=1_000 => Ok(limit),
            _ => Err(ApiError::invalid("limit", "must be between 1 and 1000")),
        }
    }

    /// Cuts the part out of objects that are in the order of their ids.
    pub(super) fn of<T, O>(
        self,
        objects: Vec<Stored<T>>,
        out: impl Fn(Stored<T>) -> O,
    ) -> Result<List<O>, ApiError> {
        let limit = self.limit()?;
        let after = self
            .cursor
            .map(|cursor| headrace_model::ids::parse_uuid(&cursor).ok_or_else(no_cursor));
        let after = after.transpose()?;
        let mut rest = objects
            .into_iter()
            .filter(|object| after.is_none_or(|after| object.id > after));
        let part: Vec<Stored<T>> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let next_cursor = part.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(List {
            data: part.into_iter().map(out).collect(),
            next_cursor,
        })
    }
}

/// What was passed as a cursor is none.
pub(super) fn no_cursor() -> ApiError {
    ApiError::invalid("cursor", "must be the next_cursor of an earlier answer")
}

/// A `metadata` filter: a JSON object that the object's metadata must contain.
pub(super) fn metadata_filter(text: Option<&str>) -> Result<Option<Metadata>, ApiError> {
    let wrong = |_| {
        ApiError::invalid(
            "metadata",
            r#"must be a JSON object, such as {"plan":"pro"}"#,
        )
    };
    text.map(|text| serde_json::from_str(text).map_err(wrong))
        .transpose()
}

/// Whether `whole` contains `part`: objects by their members, everything else by equality.
pub(super) fn contains(whole: &Metadata, part: &Metadata) -> bool {
    part.iter()
        .all(|(key, wanted)| match (whole.get(key), wanted) {
            (Some(serde_json::Value::Object(have)), serde_json::Value::Object(want)) => {
                contains(have, want)
            }
            (have, wanted) => have == Some(wanted),
        })
}

/// One value or several, as query strings and filters write them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One value; `"*"` for any.
    One(String),
    /// Any of these.
    Many(Vec<String>),
}

/// An `updated_idx` as text; one that no stream can reach is none.
pub(super) fn read_idx(text: &str) -> Option<u64> {
    text.parse().ok().filter(|idx| *idx <= i64::MAX as u64)
}
