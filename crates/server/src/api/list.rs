//! Lists: `{"data": […], "next_cursor": …}`, and the filters that many share.

use headrace_engine::Stored;
use headrace_model::config::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::either::TextOr;
use super::error::ApiError;
use super::metadata;

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

    /// Cuts the part out of things that are in the order of their names.
    pub(super) fn of_named<O>(
        self,
        mut things: Vec<O>,
        name: impl Fn(&O) -> &str,
    ) -> Result<List<O>, ApiError> {
        let limit = self.limit()?;
        things.sort_by(|one, two| name(one).cmp(name(two)));
        if let Some(after) = &self.cursor {
            things.retain(|thing| name(thing) > after.as_str());
        }
        let more = things.len() > limit;
        things.truncate(limit);
        let next_cursor = things
            .last()
            .filter(|_| more)
            .map(|last| name(last).to_owned());
        Ok(List {
            data: things,
            next_cursor,
        })
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
    let read = |text| metadata::read(text).map_err(|reason| ApiError::invalid("metadata", reason));
    text.map(read).transpose()
}

/// Whether `whole` contains `part`: objects by their members, lists by their elements in any order,
/// numbers by their value, everything else by equality.
pub(super) fn contains(whole: &Metadata, part: &Metadata) -> bool {
    part.iter().all(|(key, want)| {
        let have = whole.get(key);
        have.is_some_and(|have| has(have, want))
    })
}

fn has(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => contains(have, want),
        (Value::Array(have), Value::Array(want)) => want
            .iter()
            .all(|want| have.iter().any(|have| has(have, want))),
        (Value::Number(have), Value::Number(want)) => {
            let is_float = have.is_f64() || want.is_f64();
            have == want || (is_float && have.as_f64() == want.as_f64())
        }
        (have, want) => have == want,
    }
}

/// One value or several, as query strings and filters write them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, from = "TextOr<Vec<String>>")]
pub(crate) enum OneOrMany {
    /// One value; `"*"` for any.
    One(String),
    /// Any of these.
    Many(Vec<String>),
}

impl From<TextOr<Vec<String>>> for OneOrMany {
    fn from(given: TextOr<Vec<String>>) -> Self {
        match given {
            TextOr::Text(one) => Self::One(one),
            TextOr::Other(many) => Self::Many(many),
        }
    }
}

/// How much of a list, as a query says it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PartParams {
    /// At most so many, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

impl From<PartParams> for Part {
    fn from(PartParams { limit, cursor }: PartParams) -> Self {
        Self { limit, cursor }
    }
}

/// An `updated_idx` as text; one that no stream can reach is none.
pub(super) fn read_idx(text: &str) -> Option<u64> {
    text.parse().ok().filter(|idx| *idx <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_contained_by_members_elements_and_values() {
        let whole =
            json!({"plan": {"name": "pro", "seats": 5}, "tags": ["a", {"b": 1, "c": 2}], "n": 42});
        let holds = |part: Value| has(&whole, &part);
        for part in [
            json!({}),
            json!({"plan": {"seats": 5.0}}),
            json!({"tags": ["a"]}),
            json!({"tags": [{"b": 1.0}, "a"]}),
            json!({"n": 42.0}),
        ] {
            assert!(holds(part.clone()), "{part}");
        }
        for part in [
            json!({"plan": "pro"}),
            json!({"tags": ["b"]}),
            json!({"tags": "a"}),
            json!({"n": "42"}),
            json!({"none": null}),
        ] {
            assert!(!holds(part.clone()), "{part}");
        }
        let large = json!({"n": 9_007_199_254_740_993_u64});
        assert!(!has(&large, &json!({"n": 9_007_199_254_740_992_u64})));
    }
}
