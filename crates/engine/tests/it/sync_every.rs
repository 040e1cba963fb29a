//! Every collection that the definition has and the sandbox shows as a plain list: read, followed, listed again, and looked
//! through for what was deleted. What Stripe really does, others judge.

use std::collections::BTreeMap;

use bytes::Bytes;
use headrace_engine::providers::Providers;
use headrace_engine::sync::{Activity, Reread};
use headrace_model::Timestamp;
use headrace_model::provider::{Above, Action, Collection, Definition, Event, Listing};
use headrace_sandbox::stripe::{self, StripeOptions};
use serde_json::{Value, json};

use crate::sync_harness::Rig;

/// What its path in the sandbox is, and its objects.
struct Plain {
    collection: Collection,
    path: String,
    parent: Option<String>,
}

/// Members by which children name their parents.
const PARENTS: [&str; 8] = [
    "setup_intent",
    "payment_record",
    "customer",
    "fee",
    "transfer",
    "card",
    "financial_account",
    "value_list",
];

impl Plain {
    fn of(collection: &Collection, customer: &str) -> Self {
        let parent = collection.parent.as_ref();
        let parent = parent.map(|parent| match parent.collection.as_str() {
            "customer" => customer.to_owned(),
            other => id(other, 1),
        });
        let listing = Listing {
            parent: parent.as_deref().map(Above::of),
            ..Listing::default()
        };
        let request = collection.list(&listing).unwrap().path_and_query;
        let path = request.split('?').next().unwrap().trim_start_matches('/');
        let below = parent
            .as_ref()
            .and_then(|id| path.split_once(&format!("/{id}/")));
        let path = below.map_or(path, |(_, path)| path).to_owned();
        Self {
            collection: collection.clone(),
            path,
            parent,
        }
    }

    fn object(&self, number: i64, note: &str) -> Value {
        let name = self.collection.name.as_str();
        let created = headrace_engine::clock::Clock::now(&headrace_engine::clock::SystemClock);
        let created = created.as_seconds() - number;
        let mut object = json!({"id": id(name, number), "object": name, "created": created,
            "date": created, "status": "active", "type": "performance", "note": note});
        for member in PARENTS.iter().filter(|_| self.parent.is_some()) {
            object[member] = json!(self.parent);
        }
        object
    }

    /// The type of an event that shows a record of this collection.
    fn event(&self, definition: &Definition, verb: &str) -> Option<String> {
        let name = &self.collection.name;
        let object = Bytes::from(self.object(1, "").to_string());
        let issued = name.replace("issuing.", "issuing_");
        let starts = ["", "customer.", "charge.", "sigma."].map(|start| format!("{start}{issued}"));
        let kinds = starts.map(|start| format!("{start}.{verb}"));
        kinds.into_iter().find(|kind| {
            let event = Event {
                id: "evt_1".to_owned(),
                at: Timestamp::from_seconds(1),
                kind: kind.clone(),
                object: object.clone(),
                api_version: definition.version.clone(),
                data: object.clone(),
            };
            let routed = definition.route("events", &event);
            let mut own = routed
                .iter()
                .filter(|routed| routed.collection.name == *name);
            own.any(|routed| matches!(routed.action, Action::Upsert(_) | Action::Gone(_)))
        })
    }
}

fn id(collection: &str, number: i64) -> String {
    format!("{collection}-{number}")
}

fn definition() -> Definition {
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    providers.get("stripe").unwrap().definition.clone()
}

/// What the stream holds of each record: its note, or nothing where it is deleted.
async fn notes(rig: &Rig) -> BTreeMap<String, Option<String>> {
    let rows = rig.rows().await.into_iter();
    let notes = rows.filter(|row| row.upstream_id.contains('-')).map(|row| {
        let data: Value = serde_json::from_slice(&row.data).unwrap();
        let note = data["note"].as_str().unwrap().to_owned();
        (row.upstream_id, (!row.deleted).then_some(note))
    });
    notes.collect()
}

/// Waits until the stream has exactly these notes.
async fn until(rig: &Rig, what: &str, wanted: &BTreeMap<String, Option<String>>) {
    rig.until_stream(what, |rows| {
        let mut left = wanted.len();
        for row in rows {
            let note = wanted.get(&row.upstream_id);
            let has = |note: &Option<String>| match note {
                Some(note) => !row.deleted && has_note(&row.data, note),
                None => row.deleted,
            };
            left -= usize::from(note.is_some_and(has));
        }
        left == 0
    })
    .await;
    assert_eq!(notes(rig).await, *wanted);
}

fn has_note(data: &[u8], note: &str) -> bool {
    let data: Value = serde_json::from_slice(data).unwrap();
    data["note"] == note
}

#[tokio::test]
async fn every_collection_is_read_followed_listed_again_and_looked_through() {
    let definition = definition();
    let imitated = stripe::Collection::ALL.map(stripe::Collection::object);
    let plain = definition.collections.iter();
    let plain: Vec<&Collection> = plain
        .filter(|c| !imitated.contains(&c.name.as_str()))
        .collect();
    let names: Vec<&str> = plain.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), definition.collections.len() - 11);
    let mut rig = Rig::new(StripeOptions::default(), &names).await;
    rig.settings.page_size = Some(1);
    rig.stripe.seed(stripe::Collection::Customer, 1);
    let customer = rig.stripe.list_all(stripe::Collection::Customer)[0].clone();
    let customer = customer["id"].as_str().unwrap();
    let plain: Vec<Plain> = plain.iter().map(|c| Plain::of(c, customer)).collect();
    let mut wanted = BTreeMap::new();
    let mut put = |rig: &Rig, plain: &Plain, number: i64, note: &str| {
        let object = plain.object(number, note);
        rig.stripe.put(&plain.path, object.clone());
        let name = plain.collection.name.as_str();
        wanted.insert(id(name, number), Some(note.to_owned()));
        (object, wanted.clone())
    };
    let mut all = BTreeMap::new();
    for plain in &plain {
        for number in [3, 2, 1] {
            (_, all) = put(&rig, plain, number, "first");
        }
    }
    rig.start().await;
    until(&rig, "all is read", &all).await;
    rig.until_read().await;

    // Of some that have events, one tells of a change.
    let mut told = 0;
    for plain in &plain {
        if let Some(kind) = plain.event(&definition, "updated") {
            let (object, now) = put(&rig, plain, 2, "told");
            rig.stripe.announce(&kind, object);
            all = now;
            told += 1;
        }
    }
    let with_events = plain
        .iter()
        .filter(|plain| plain.collection.events.is_some());
    assert_eq!(told, with_events.count());
    until(&rig, "what was told has come", &all).await;

    // Those that are listed again find what nobody told.
    rig.stop().await;
    rig.clock.leap(8 * 86_400);
    for plain in plain
        .iter()
        .filter(|plain| plain.collection.relist.is_some())
    {
        (_, all) = put(&rig, plain, 3, "found");
    }
    let supervisor = rig.start().await;
    let immutable = id("forwarding.request", 3);
    assert!(all.contains_key(&immutable));
    until(&rig, "what is listed again has come", &all).await;

    // What can be read by its id is known to be gone.
    for plain in &plain {
        let collection = &plain.collection;
        rig.stripe.take(&plain.path, &id(&collection.name, 3));
        if collection.reads_by_id() && !collection.immutable {
            all.insert(id(&collection.name, 3), None);
        }
        let reread = Reread::All {
            confirm_deletes: true,
        };
        let reread = supervisor.backfill(rig.sync, &collection.id, reread);
        reread.await.unwrap();
    }
    until(&rig, "what is gone is deleted", &all).await;
    rig.until("nothing is amiss", |status| {
        let is_live = |c: &headrace_engine::sync::CollectionStatus| c.status == Activity::Live;
        status.collections.iter().all(is_live)
    })
    .await;
    rig.stop().await;
}
