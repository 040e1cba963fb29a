//! Plain lists: objects without rules of their own, for the many collections that differ in nothing but their address.
//!
//! A list is at a path such as `checkout/sessions`, and an object of it at `checkout/sessions/{id}`. Below a parent the list is
//! found by its last segment: `customers/{parent}/tax_ids` has what is in `tax_ids` and names that parent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Error;
use super::state::{id_of, number_at};

const DEFAULT_LIMIT: usize = 10;

/// The lists by path, each newest first.
#[derive(Debug, Default)]
pub(crate) struct Plain(BTreeMap<String, Vec<Value>>);

impl Plain {
    /// Puts an object in place of the one with its id, or in front of all.
    pub(crate) fn put(&mut self, path: &str, object: Value) {
        let list = self.0.entry(path.to_owned()).or_default();
        match list.iter_mut().find(|known| id_of(known) == id_of(&object)) {
            Some(known) => *known = object,
            None => list.insert(0, object),
        }
    }

    pub(crate) fn remove(&mut self, path: &str, id: &str) {
        if let Some(list) = self.0.get_mut(path) {
            list.retain(|object| id_of(object) != id);
        }
    }

    /// What is at a path: a list, a list below a parent, or an object. `None` where there is nothing of this kind.
    pub(crate) fn get(
        &self,
        path: &str,
        pairs: &[(String, String)],
    ) -> Option<Result<Value, Error>> {
        if let Some(list) = self.0.get(path) {
            return Some(page(path, list.iter(), pairs));
        }
        let (above, last) = path.rsplit_once('/')?;
        if let Some(list) = self.0.get(above) {
            let found = list.iter().find(|object| id_of(object) == last);
            let missing = || missing(last, "id", 404);
            return Some(found.cloned().ok_or_else(missing));
        }
        let (list, (_, parent)) = (self.0.get(last)?, above.rsplit_once('/')?);
        let names = |object: &&Value| {
            let mut members = object.as_object().into_iter().flatten();
            members.any(|(name, value)| name != "id" && value == parent)
        };
        Some(page(path, list.iter().filter(names), pairs))
    }
}

fn page<'a>(
    path: &str,
    objects: impl Iterator<Item = &'a Value>,
    pairs: &[(String, String)],
) -> Result<Value, Error> {
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let mut rows: Vec<&Value> = objects.collect();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => limit = value.parse().unwrap_or(DEFAULT_LIMIT),
            "starting_after" => after = Some(value),
            "created[gte]" => rows.retain(|row| created(row) >= seconds(value)),
            "created[lte]" => rows.retain(|row| created(row) <= seconds(value)),
            // What a filter is for is left to the objects: they have a member of its name.
            _ if value == "all" => {}
            _ => rows.retain(|row| shown(&row[name.as_str()]) == *value),
        }
    }
    if let Some(after) = after {
        let at = rows.iter().position(|row| id_of(row) == *after);
        let at = at.ok_or_else(|| missing(after, "starting_after", 400))?;
        rows.drain(..=at);
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let url = format!("/v1/{path}");
    Ok(json!({"object": "list", "url": url, "has_more": has_more, "data": rows}))
}

fn created(object: &Value) -> i64 {
    number_at(object, "created").max(number_at(object, "date"))
}

fn seconds(text: &str) -> i64 {
    text.parse().unwrap_or_default()
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn missing(id: &str, param: &'static str, status: u16) -> Error {
    let id = id.to_owned();
    Error::PlainMissing { id, param, status }
}
