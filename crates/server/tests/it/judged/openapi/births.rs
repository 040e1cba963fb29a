//! That nothing is waited for that no event tells: where a collection lives on events alone, the document has an event
//! of a record's beginning and one of what becomes of it.

use std::collections::BTreeSet;

use headrace_model::provider::{Action, Collection, Definition};

use super::complete::happened;
use super::document::Document;
use super::stripe;

/// The events that tell of a beginning under another name. A charge begins with how it went.
const BEGINNINGS: [&str; 4] = [
    "charge.failed",
    "charge.pending",
    "charge.succeeded",
    "review.opened",
];

/// The collections whose records have one event only, and why that is enough.
const ENDED: [(&str, &str); 1] = [(
    "scheduled_query_run",
    "the event is of a run that has ended, and nothing changes it any more",
)];

#[test]
fn where_nothing_is_listed_again_events_tell_of_the_beginning_and_of_changes() {
    let (document, stripe) = (Document::read(), stripe());
    let mut missing = Vec::new();
    let mut used = BTreeSet::new();
    let on_events = stripe
        .collections
        .iter()
        .filter(|collection| collection.events.is_some() && collection.relist.is_none())
        .filter(|collection| collection.name != "event");
    for collection in on_events {
        let own = own_events(&document, &stripe, collection);
        let (births, changes): (Vec<_>, Vec<_>) = own.into_iter().partition(|event| {
            used.extend(BEGINNINGS.into_iter().find(|begins| begins == event));
            event.ends_with(".created") || BEGINNINGS.contains(event)
        });
        let name = collection.name.as_str();
        let ended = ENDED.iter().find(|(ended, _)| *ended == name);
        used.extend(
            ended
                .filter(|_| changes.is_empty())
                .map(|(ended, _)| *ended),
        );
        if births.is_empty() {
            missing.push(format!("{name}: no event of its beginning"));
        }
        if changes.is_empty() && ended.is_none() {
            missing.push(format!("{name}: no event of its changes"));
        }
    }
    assert!(missing.is_empty(), "list them again: {missing:#?}");
    assert_eq!(
        used.len(),
        BEGINNINGS.len() + ENDED.len(),
        "exceptions without need: only {used:?} are used"
    );
}

/// The document's events whose object is taken for a record of the collection.
fn own_events<'d>(
    document: &'d Document,
    stripe: &Definition,
    collection: &Collection,
) -> Vec<&'d str> {
    let is_own = |event: &&str| {
        let happened = happened(stripe, event, &collection.name);
        let routed = stripe.route("events", &happened);
        routed.iter().any(|routed| {
            routed.collection.name == collection.name
                && !matches!(routed.action, Action::Refetch(_))
        })
    };
    document.events().into_iter().filter(is_own).collect()
}
