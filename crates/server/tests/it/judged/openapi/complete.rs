//! That nothing is missing of what the document has: lists, events, and the types of fields.

use std::collections::BTreeSet;

use bytes::Bytes;
use headrace_model::Timestamp;
use headrace_model::provider::{Above, Action, Collection, Definition, Event, Listing};
use serde_json::json;

use super::document::Document;
use super::{answer, lists, parent, path, stripe};

/// The collections that the document is too old for: nobody judges them.
pub(super) const NEWER: [&str; 5] = [
    "three_d_secure.authentication",
    "payment_record",
    "tax.location",
    "product_catalog.trial_offer",
    "billing.feedback_option",
];

/// The collections that are in the document, but not their events.
const WITH_NEWER_EVENTS: [&str; 2] = ["billing.meter", "billing.credit_balance_transaction"];

/// The lists that no collection reads, and why.
const NOT_LISTED: [(&str, &[&str]); 8] = [
    (
        "the same records are in a list that is read",
        &[
            "/v1/balance/history",
            "/v1/charges/{charge}/refunds",
            "/v1/customers/{customer}/payment_methods",
            "/v1/customers/{customer}/subscriptions",
            "/v1/linked_accounts",
        ],
    ),
    (
        "one is read by its parent's id and its own, and may be deleted or has events of its own",
        &[
            "/v1/accounts/{account}/people",
            "/v1/accounts/{account}/persons",
            "/v1/customers/{customer}/cash_balance_transactions",
            "/v1/products/{product}/features",
        ],
    ),
    (
        "they are parts of a record that do not name it",
        &[
            "/v1/checkout/sessions/{session}/line_items",
            "/v1/payment_intents/{intent}/amount_details_line_items",
            "/v1/payment_links/{payment_link}/line_items",
            "/v1/quotes/{quote}/computed_upfront_line_items",
            "/v1/quotes/{quote}/line_items",
        ],
    ),
    (
        "what they are below is in no list",
        &[
            "/v1/credit_notes/preview/lines",
            "/v1/sources/{source}/source_transactions",
            "/v1/tax/calculations/{calculation}/line_items",
            "/v1/tax/transactions/{transaction}/line_items",
        ],
    ),
    (
        "it is refused for some of what it is below, or needs more than that",
        &[
            "/v1/apps/secrets",
            "/v1/billing/meters/{id}/event_summaries",
            "/v1/entitlements/active_entitlements",
            "/v1/financial_connections/accounts/{account}/owners",
            "/v1/financial_connections/transactions",
            "/v1/linked_accounts/{account}/owners",
        ],
    ),
    (
        "payment methods have taken their place, and they are of several kinds",
        &[
            "/v1/customers/{customer}/bank_accounts",
            "/v1/customers/{customer}/cards",
            "/v1/customers/{customer}/sources",
        ],
    ),
    (
        "they are the account's own, without events; those of customers are read",
        &["/v1/tax_ids"],
    ),
    ("deprecated", &["/v1/exchange_rates"]),
];

#[test]
fn every_list_of_stripes_openapi_is_read_or_left_out_for_a_reason() {
    let (document, stripe) = (Document::read(), stripe());
    let known = document.lists();
    let (mut read, mut newer) = (BTreeSet::new(), Vec::new());
    for collection in &stripe.collections {
        for first in lists(collection) {
            let listing = Listing {
                parent: parent(collection).map(Above::of),
                cursor: first.as_ref(),
                ..Listing::default()
            };
            let request = collection.list(&listing).unwrap();
            match known.iter().find(|known| fits(known, path(&request))) {
                Some(list) => drop(read.insert(*list)),
                None => newer.push(collection.name.as_str()),
            }
        }
        let nested = ["lines", "external_accounts"];
        let inside =
            nested.map(|name| json!({"data": [{"id": "a"}], "has_more": true, "object": name}));
        let [lines, external_accounts] = inside;
        let record = json!({"id": "id_1", "lines": lines, "external_accounts": external_accounts});
        let page = json!({"data": [record], "has_more": false}).to_string();
        let page = collection
            .parse_page(&Listing::default(), &answer(&page))
            .unwrap();
        for cut in &page.records[0].truncated {
            let request = collection.part(cut).unwrap();
            let list = known.iter().find(|known| fits(known, path(&request)));
            read.insert(*list.unwrap());
        }
    }
    assert_eq!(newer, NEWER, "the document has no list of these");
    let left_out: BTreeSet<&str> = NOT_LISTED
        .iter()
        .flat_map(|(_, paths)| *paths)
        .copied()
        .collect();
    let known: BTreeSet<&str> = known.into_iter().collect();
    let missing: Vec<_> = known
        .iter()
        .filter(|list| !read.contains(*list) && !left_out.contains(*list))
        .collect();
    assert!(
        missing.is_empty(),
        "neither read nor left out: {missing:#?}"
    );
    let gone: Vec<_> = left_out
        .iter()
        .filter(|list| read.contains(*list) || !known.contains(*list))
        .collect();
    assert!(gone.is_empty(), "read, or not there at all: {gone:#?}");
}

fn fits(known: &str, path: &str) -> bool {
    let known: Vec<&str> = known.trim_start_matches("/v1").split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    let is_same = |(known, path): (&&str, &&str)| known == path || known.starts_with('{');
    known.len() == path.len() && known.iter().zip(&path).all(is_same)
}

/// The beginnings of events that no collection hears, because their objects are in no list that is read.
const NOT_HEARD: [&str; 15] = [
    "account.",
    "balance",
    "billing.alert.triggered",
    "billing_portal.session.",
    "capability.",
    "cash_balance.",
    "customer_cash_balance_transaction.",
    "entitlements.active_entitlement_summary.",
    "invoice.upcoming",
    "mandate.",
    "person.",
    "reporting.report_type.",
    "reserve.",
    "source.",
    "tax.settings.",
];

#[test]
fn every_event_of_stripes_openapi_is_heard_or_left_out() {
    let (document, stripe) = (Document::read(), stripe());
    let mut deaf: BTreeSet<&str> = stripe
        .collections
        .iter()
        .filter(|collection| collection.events.is_some())
        .map(|collection| collection.name.as_str())
        .collect();
    deaf.remove("event");
    let newer = ["three_d_secure.authentication"].iter();
    for name in newer.chain(&WITH_NEWER_EVENTS) {
        assert!(deaf.remove(name), "{name} has no events");
    }
    let mut left_out: BTreeSet<&str> = NOT_HEARD.into();
    let names = stripe.collections.iter().map(|c| c.name.as_str());
    let kinds: Vec<&str> = names.chain(["of no collection"]).collect();
    for event in document.events() {
        let mut is_heard = false;
        for kind in &kinds {
            for routed in stripe.route("events", &happened(&stripe, event, kind)) {
                let by = routed.collection.name.as_str();
                is_heard |= by != "event";
                let is_own = by == *kind && !matches!(routed.action, Action::Refetch(_));
                if is_own {
                    deaf.remove(by);
                }
            }
        }
        let reason = NOT_HEARD.iter().find(|start| event.starts_with(**start));
        assert_ne!(is_heard, reason.is_some(), "{event}: {reason:?}");
        reason.map(|reason| left_out.remove(reason));
    }
    assert!(deaf.is_empty(), "there is no event of {deaf:?}");
    assert!(
        left_out.is_empty(),
        "there are no such events: {left_out:?}"
    );
}

/// An event of an object of this kind, which names all kinds of objects that it may change.
pub(super) fn happened(stripe: &Definition, kind: &str, object: &str) -> Event {
    let object = json!({
        "id": "id_1",
        "object": object,
        "customer": "cus_1",
        "fee": "fee_1",
    });
    Event {
        id: "evt_1".to_owned(),
        at: Timestamp::from_seconds(1),
        kind: kind.to_owned(),
        object: Bytes::from(object.to_string()),
        api_version: stripe.version.clone(),
        data: Bytes::from_static(b"{\"id\":\"evt_1\"}"),
    }
}

/// What the document does not have: it is older than the version that is read, or leaves out what is not for new users.
const UNKNOWN_FIELDS: [&str; 5] = [
    "product.type",
    "subscription_item.plan",
    "refund.customer",
    "refund.customer_account",
    "refund.payment_method",
];

#[test]
fn declared_fields_have_the_types_that_stripes_openapi_gives() {
    let document = Document::read();
    let mut wrong = Vec::new();
    let stripe = stripe();
    let is_known = |collection: &&Collection| !NEWER.contains(&collection.name.as_str());
    for collection in stripe.collections.iter().filter(is_known) {
        let name = &collection.name;
        let properties = &document.object(name)["properties"];
        for field in &collection.fields {
            let (own, declared) = (&field.name, field.kind.name());
            let schema = &properties[own];
            let path = format!("{name}.{own}");
            if UNKNOWN_FIELDS.contains(&path.as_str()) {
                assert!(schema.is_null(), "{path} is known");
            } else if schema.is_null() {
                wrong.push(format!("{path}: unknown"));
            } else if document.kind(schema) != declared && path != "subscription_item.created" {
                wrong.push(format!(
                    "{name}.{own}: {declared}, not {}",
                    document.kind(schema)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
