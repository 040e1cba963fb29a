//! The account at the provider, and what tells the stream and it apart.

use std::collections::HashMap;

use headrace_sandbox::stripe::{Collection, Stripe};
use serde_json::Value;

use super::ledger::Record;

/// The collections whose every change is told by the provider's feed.
pub(crate) const FOLLOWED: [(&str, Collection); 7] = [
    ("customer", Collection::Customer),
    ("invoice", Collection::Invoice),
    ("product", Collection::Product),
    ("price", Collection::Price),
    ("subscription", Collection::Subscription),
    ("charge", Collection::Charge),
    ("refund", Collection::Refund),
];

/// What tells the stream and the account apart.
pub(crate) fn differences<'a>(
    stripe: &Stripe,
    records: impl Iterator<Item = &'a Record>,
) -> Vec<String> {
    let mut account = HashMap::new();
    for (name, collection) in FOLLOWED {
        for object in stripe.list_all(collection) {
            let id = object["id"].as_str().unwrap().to_owned();
            account.insert((format!("stripe:{name}"), id), object);
        }
    }
    let mut differences = Vec::new();
    for record in records {
        let key = (record.collection_id.clone(), record.upstream_id.clone());
        match (account.remove(&key), record.deleted) {
            (None, true) => {}
            (None, false) => differences.push(format!("{key:?} is gone from the account")),
            (Some(_), true) => differences.push(format!("{key:?} is not gone from the account")),
            (Some(object), false) => {
                let data: Value = serde_json::from_str(record.data.get()).unwrap();
                if without_lists(data) != without_lists(object) {
                    differences.push(format!("{key:?} differs"));
                }
            }
        }
    }
    differences.extend(account.into_keys().map(|key| format!("{key:?} is missing")));
    differences
}

/// The object without the lists inside it: the sync completes them, the account cuts them off.
fn without_lists(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| value.get("object").is_none_or(|kind| kind != "list"));
    }
    object
}
