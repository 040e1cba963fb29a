//! Records as they were read from Headrace, and where they differ from what an SDK reads.

use std::collections::{BTreeMap, BTreeSet};

use headrace_model::Timestamp;
use serde_json::{Map, Value, json};

use crate::harness::text;

/// What a record is named by: its collection at the provider, and its id there.
pub(super) type Name = (String, String);

/// A record that was deleted.
pub(super) struct Gone {
    /// What the SDK read of it last.
    pub(super) last: Value,
    /// Whether it may have been deleted before anybody else read it. Then there is no data to keep.
    pub(super) unread: bool,
}

/// The newest version of each record.
#[derive(Default)]
pub(super) struct Copies {
    records: BTreeMap<Name, Value>,
    last_idx: u64,
}

impl Copies {
    /// Takes a record that follows all before it.
    pub(super) fn take(&mut self, record: Value) {
        let idx = record["updated_idx"].as_u64().unwrap();
        assert!(idx > self.last_idx, "{idx} after {}", self.last_idx);
        self.last_idx = idx;
        let collection = text(&record["collection_id"]);
        let collection = collection.strip_prefix("stripe:").unwrap().to_owned();
        let name = (collection, text(&record["upstream_id"]));
        self.records.insert(name, record);
    }

    /// Where the records of a collection differ from these objects, of which there must be no others,
    /// and from what was deleted, which must be tombstones with the data that was there last.
    pub(super) fn differences(
        &self,
        collection: &str,
        objects: &[Value],
        gone: &BTreeMap<Name, Gone>,
    ) -> Vec<String> {
        let mut expected: BTreeMap<&str, (&Value, Option<&Gone>)> = BTreeMap::new();
        for object in objects {
            let again = expected.insert(object["id"].as_str().unwrap(), (object, None));
            assert!(again.is_none(), "the SDK lists it twice: {object}");
        }
        for ((_, id), gone) in gone.iter().filter(|((of, _), _)| of == collection) {
            let again = expected.insert(id, (&gone.last, Some(gone)));
            assert!(again.is_none(), "{id} was deleted and is there");
        }
        let mut differences = Vec::new();
        for ((_, id), record) in self.records.iter().filter(|((of, _), _)| of == collection) {
            let Some((object, gone)) = expected.remove(id.as_str()) else {
                differences.push(format!("{collection} {id} is not there: {record}"));
                continue;
            };
            let unread = gone.is_some_and(|gone| gone.unread) && record["data"].is_null();
            let object = if unread { &Value::Null } else { object };
            differences.extend(difference(record, object, gone.is_some()));
        }
        // Of what was deleted before anybody read it, there need not be anything.
        let missing = expected
            .into_iter()
            .filter(|(_, (_, gone))| gone.is_none_or(|gone| !gone.unread));
        differences.extend(missing.map(|(id, _)| format!("{collection} {id} is missing")));
        differences
    }
}

/// The members in which a record is not as it should be.
fn difference(record: &Value, object: &Value, deleted: bool) -> Option<String> {
    let time = match record["collection_id"].as_str() {
        Some("stripe:invoiceitem") => "date",
        _ => "created",
    };
    let created = object[time].as_i64().map(Timestamp::from_seconds);
    let mut wrong = Vec::new();
    let mut compare = |name: &str, ours: &Value, theirs: &Value| {
        if ours != theirs {
            wrong.push(format!("\n  {name}: {ours}, should be {theirs}"));
        }
    };
    compare("deleted", &record["deleted"], &json!(deleted));
    compare(
        "upstream_created_at",
        &record["upstream_created_at"],
        &json!(created),
    );
    match (&record["data"], object) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let absent = json!("absent");
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let member = |of: &Map<String, Value>| of.get(name).unwrap_or(&absent).clone();
                compare(name, &member(ours), &member(theirs));
            }
        }
        (ours, theirs) => compare("data", ours, theirs),
    }
    let id = &record["upstream_id"];
    (!wrong.is_empty()).then(|| format!("{} {id}{}", record["collection_id"], wrong.concat()))
}
