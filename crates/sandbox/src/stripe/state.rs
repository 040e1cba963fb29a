//! Everything a Stripe sandbox holds, and the one way it changes: a row and its event together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::error::Error;
use super::objects;
use super::plain::Plain;
use super::table::{Cursor, Page, Table, Window};
use crate::rng::Rng;

/// Seconds an event can be seen for.
pub(crate) const EVENT_RETENTION: i64 = 30 * 24 * 60 * 60;

/// Elements of a nested list shown within its parent.
pub(crate) const NESTED: usize = 10;

#[derive(Debug)]
pub(crate) struct State {
    /// In the order of [`Collection::ALL`], which is that of the declaration.
    tables: [Table; Collection::ALL.len()],
    pub(crate) plain: Plain,
    pub(crate) rng: Rng,
    pub(crate) replies: HashMap<String, Reply>,
    deleted_customers: HashSet<String>,
    /// The account's own object.
    account: Value,
    api_version: String,
    inserted: u64,
}

/// When and why something changes.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    /// Unix seconds: the `created` of what comes into being.
    pub(crate) at: i64,
    /// Whether events are written.
    pub(crate) announced: bool,
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// An answer kept for repetitions of its request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) at: i64,
    /// Method, path and body it answered.
    pub(crate) request: String,
    pub(crate) request_id: String,
    pub(crate) text: Arc<str>,
}

impl State {
    pub(crate) fn new(seed: u64, api_version: &str, now: i64) -> Self {
        let mut rng = Rng::new(seed);
        let account = rng.id("acct_1", 15);
        Self {
            tables: Collection::ALL.map(Table::new),
            plain: Plain::default(),
            rng,
            replies: HashMap::new(),
            deleted_customers: HashSet::new(),
            account: objects::account(&account, now),
            api_version: api_version.to_owned(),
            inserted: 0,
        }
    }

    /// The id of the account.
    pub(crate) fn account(&self) -> &str {
        id_of(&self.account)
    }

    pub(crate) fn account_text(&self) -> String {
        self.account.to_string()
    }

    pub(crate) fn table(&self, collection: Collection) -> &Table {
        &self.tables[collection as usize]
    }

    /// The object with this id, parsed.
    pub(crate) fn get(&self, collection: Collection, id: &str) -> Option<Value> {
        let text = self.table(collection).text(id)?;
        serde_json::from_str(&text).ok()
    }

    pub(crate) fn find(&self, collection: Collection, id: &str) -> Result<Value, Error> {
        self.get(collection, id)
            .ok_or_else(|| missing(collection, id))
    }

    /// The text a retrieval answers at time `now`.
    pub(crate) fn retrieve(
        &self,
        collection: Collection,
        id: &str,
        now: i64,
    ) -> Result<Arc<str>, Error> {
        if collection == Collection::Customer && self.deleted_customers.contains(id) {
            return Ok(stub(collection, id).to_string().into());
        }
        let table = self.table(collection);
        let text = table.text(id).ok_or_else(|| missing(collection, id))?;
        let expired = collection == Collection::Event
            && table
                .key(id)
                .is_some_and(|(created, _)| created < now - EVENT_RETENTION);
        if expired {
            Err(missing(collection, id))
        } else {
            Ok(text)
        }
    }

    pub(crate) fn new_id(&mut self, collection: Collection) -> String {
        let (prefix, length) = collection.id_form();
        self.rng.id(prefix, length)
    }

    /// Stores a new object, which carries its `id` already.
    pub(crate) fn insert(&mut self, collection: Collection, object: &Value, cause: &Cause) {
        let id = id_of(object).to_owned();
        self.inserted += 1;
        let key = (cause.at, self.inserted);
        self.table_mut(collection).insert(&id, key, object);
    }

    /// Stores a new object and announces it.
    pub(crate) fn create(&mut self, collection: Collection, object: &Value, cause: &Cause) {
        self.insert(collection, object, cause);
        self.announce(collection, "created", object, cause);
    }

    /// Replaces an object, unannounced.
    pub(crate) fn replace(&mut self, collection: Collection, object: &Value) {
        let id = id_of(object).to_owned();
        self.table_mut(collection).replace(&id, object);
    }

    /// Replaces `old` by `new` and announces the difference, if there is one, as `verb`.
    pub(crate) fn update(
        &mut self,
        collection: Collection,
        old: &Value,
        new: &Value,
        verb: &str,
        cause: &Cause,
    ) {
        let Some(previous) = previous_attributes(old, new) else {
            return;
        };
        self.replace(collection, new);
        if let Some(prefix) = collection.event_prefix() {
            let kind = format!("{prefix}.{verb}");
            self.write_event(
                &kind,
                json!({ "object": new, "previous_attributes": previous }),
                cause,
            );
        }
    }

    /// Removes an object and announces that. Answers the stub the API answers.
    pub(crate) fn remove(&mut self, collection: Collection, old: &Value, cause: &Cause) -> Value {
        let id = id_of(old);
        self.table_mut(collection).remove(id);
        if collection == Collection::Customer {
            self.deleted_customers.insert(id.to_owned());
        }
        self.announce(collection, "deleted", old, cause);
        stub(collection, id)
    }

    /// Writes an event that shows `object` as it is.
    pub(crate) fn announce(
        &mut self,
        collection: Collection,
        verb: &str,
        object: &Value,
        cause: &Cause,
    ) {
        if let Some(prefix) = collection.event_prefix() {
            self.write_event(
                &format!("{prefix}.{verb}"),
                json!({ "object": object }),
                cause,
            );
        }
    }

    /// The list of the children of `parent`, cut to what is shown within it.
    pub(crate) fn nested_list(&self, collection: Collection, parent: &str, url: &str) -> Value {
        let window = Window {
            cursor: Cursor::Newest,
            limit: NESTED,
            created: (i64::MIN, i64::MAX),
            parent: Some(parent),
        };
        let table = self.table(collection);
        let Page { rows, has_more } = table.page(&window, |_| true);
        let data: Vec<Value> = rows
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect();
        json!({
            "object": "list",
            "url": url,
            "has_more": has_more,
            "total_count": table.children(parent).len(),
            "data": data,
        })
    }

    pub(crate) fn write_event(&mut self, kind: &str, data: Value, cause: &Cause) {
        if !cause.announced {
            return;
        }
        let event = json!({
            "id": self.new_id(Collection::Event),
            "object": "event",
            "api_version": self.api_version,
            "created": cause.at,
            "data": data,
            "livemode": false,
            "pending_webhooks": 0,
            "request": { "id": cause.request_id, "idempotency_key": cause.idempotency_key },
            "type": kind,
        });
        self.insert(Collection::Event, &event, cause);
    }

    fn table_mut(&mut self, collection: Collection) -> &mut Table {
        &mut self.tables[collection as usize]
    }
}

/// The id of an object; empty when it has none.
pub(crate) fn id_of(object: &Value) -> &str {
    text_at(object, "id")
}

/// A text field of an object; empty when it is absent or null.
pub(crate) fn text_at<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// A numeric field of an object; 0 when it is absent or null.
pub(crate) fn number_at(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or(0)
}

fn missing(collection: Collection, id: &str) -> Error {
    Error::ObjectMissing {
        collection,
        id: id.to_owned(),
    }
}

fn stub(collection: Collection, id: &str) -> Value {
    json!({ "id": id, "object": collection.object(), "deleted": true })
}

/// The old values of what differs, to the depth where it differs; `None` when nothing does.
fn previous_attributes(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| old.clone());
    };
    let mut previous = Map::new();
    for (name, value) in new {
        let before = old.get(name).unwrap_or(&Value::Null);
        if let Some(before) = previous_attributes(before, value) {
            previous.insert(name.clone(), before);
        }
    }
    for (name, before) in old {
        if !new.contains_key(name) {
            previous.insert(name.clone(), before.clone());
        }
    }
    (!previous.is_empty()).then_some(Value::Object(previous))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::previous_attributes;

    #[test]
    fn previous_attributes_hold_what_changed_only() {
        let old =
            json!({"name": "Ada", "metadata": {"a": "1", "b": "2"}, "tags": ["x"], "n": null});
        let new = json!({"name": "Ada", "metadata": {"a": "1", "c": "3"}, "tags": ["y"], "n": 1});
        assert_eq!(
            previous_attributes(&old, &new),
            Some(json!({"metadata": {"b": "2", "c": null}, "tags": ["x"], "n": null}))
        );
        assert_eq!(previous_attributes(&old, &old), None);
    }
}
