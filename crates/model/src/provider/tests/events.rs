//! Events: what each means for which collection.

use super::*;
use crate::Timestamp;

const VERSION: &str = "2026-10-28.endive";

fn event(kind: &str, version: &str, object: &str) -> Event {
    let body = format!(
        r#"{{ "id": "evt_1", "object": "event", "api_version": "{version}", "created": 1700000000,
             "data": {{ "object": {object} }}, "type": "{kind}" }}"#
    );
    stripe()
        .feed("events")
        .unwrap()
        .parse_event(body.as_bytes())
        .unwrap()
}

/// The actions for all collections but `event`, which takes every one, as `collection: action`.
fn routed(kind: &str, version: &str, object: &str) -> Vec<String> {
    let stripe = stripe();
    let routed = stripe.route("events", &event(kind, version, object));
    let others = routed
        .iter()
        .filter(|routed| routed.collection.name != "event")
        .map(|routed| {
            let action = match &routed.action {
                Action::Upsert(row) => format!("upsert {}", row.upstream_id),
                Action::Gone(id) => format!("gone {id}"),
                Action::Refetch(id) => format!("refetch {id}"),
                Action::Relist { parent_id } => format!("relist {parent_id}"),
                Action::Unusable => "unusable".to_owned(),
            };
            format!("{}: {action}", routed.collection.name)
        });
    others.collect()
}

#[test]
fn the_routing_matrix() {
    let same = VERSION;
    let old = "2020-08-27";
    for (kind, version, object, expected) in [
        (
            "customer.updated",
            same,
            r#"{"id":"cus_1","object":"customer"}"#,
            vec![
                "customer: upsert cus_1",
                "customer_balance_transaction: relist cus_1",
            ],
        ),
        (
            "customer.updated",
            old,
            r#"{"id":"cus_1","object":"customer"}"#,
            vec![
                "customer: refetch cus_1",
                "customer_balance_transaction: relist cus_1",
            ],
        ),
        (
            "customer.deleted",
            old,
            r#"{"id":"cus_1","object":"customer"}"#,
            vec!["customer: gone cus_1"],
        ),
        (
            "customer.source.updated",
            same,
            r#"{"id":"card_1","object":"card","customer":"cus_1"}"#,
            vec!["customer: refetch cus_1"],
        ),
        (
            "customer.source.updated",
            same,
            r#"{"id":"src_1","object":"source","customer":null}"#,
            vec![],
        ),
        (
            "customer.tax_id.created",
            same,
            r#"{"id":"txi_1","object":"tax_id"}"#,
            vec!["tax_id: upsert txi_1"],
        ),
        (
            "customer.tax_id.deleted",
            same,
            r#"{"id":"txi_1","object":"tax_id"}"#,
            vec!["tax_id: gone txi_1"],
        ),
        (
            "application_fee.refund.updated",
            same,
            r#"{"id":"fr_1","object":"fee_refund","fee":"fee_1"}"#,
            vec!["application_fee: refetch fee_1"],
        ),
        (
            "transfer.reversed",
            same,
            r#"{"id":"tr_1","object":"transfer","reversals":{"data":[],"has_more":false}}"#,
            vec!["transfer: upsert tr_1", "transfer_reversal: relist tr_1"],
        ),
        (
            "checkout.session.completed",
            same,
            r#"{"id":"cs_1","object":"checkout.session"}"#,
            vec!["checkout.session: upsert cs_1"],
        ),
        (
            "issuing_card.updated",
            same,
            r#"{"id":"ic_1","object":"issuing.card"}"#,
            vec!["issuing.card: upsert ic_1"],
        ),
        (
            "customer.discount.created",
            same,
            r#"{"id":"di_1","object":"discount","customer":"cus_1","subscription":"sub_1"}"#,
            vec!["customer: refetch cus_1", "subscription: refetch sub_1"],
        ),
        (
            "customer.subscription.updated",
            same,
            r#"{"id":"sub_1","object":"subscription","items":{"data":[],"has_more":false}}"#,
            vec![
                "subscription: upsert sub_1",
                "subscription_item: relist sub_1",
            ],
        ),
        (
            "customer.subscription.updated",
            same,
            r#"{"id":"sub_1","object":"subscription","items":{"data":[{"id":"si_1"}],"has_more":true}}"#,
            vec![
                "subscription: refetch sub_1",
                "subscription_item: relist sub_1",
            ],
        ),
        (
            "customer.subscription.deleted",
            same,
            r#"{"id":"sub_1","object":"subscription","status":"canceled"}"#,
            vec![
                "subscription: upsert sub_1",
                "subscription_item: relist sub_1",
            ],
        ),
        ("invoice.upcoming", same, r#"{"object":"invoice"}"#, vec![]),
        (
            "invoice.paid",
            same,
            r#"{"object":"invoice"}"#,
            vec!["invoice: unusable"],
        ),
        (
            "invoice.deleted",
            same,
            r#"{"id":"in_1","object":"invoice"}"#,
            vec!["invoice: gone in_1"],
        ),
        (
            "invoiceitem.created",
            same,
            r#"{"id":"ii_1","object":"invoiceitem","invoice":"in_1"}"#,
            vec!["invoice: refetch in_1", "invoiceitem: upsert ii_1"],
        ),
        (
            "charge.refunded",
            same,
            r#"{"id":"ch_1","object":"charge"}"#,
            vec!["charge: upsert ch_1"],
        ),
        (
            "charge.dispute.created",
            same,
            r#"{"id":"dp_1","object":"dispute","charge":"ch_1"}"#,
            vec!["charge: refetch ch_1", "dispute: upsert dp_1"],
        ),
        (
            "charge.refund.updated",
            same,
            r#"{"id":"re_1","object":"refund","charge":"ch_1"}"#,
            vec!["refund: upsert re_1"],
        ),
        (
            "refund.failed",
            same,
            r#"{"id":"re_1","object":"refund","charge":"ch_1"}"#,
            vec!["charge: refetch ch_1", "refund: upsert re_1"],
        ),
        (
            "payment_intent.succeeded",
            same,
            r#"{"id":"pi_1","object":"payment_intent"}"#,
            vec!["payment_intent: upsert pi_1"],
        ),
        (
            "price.deleted",
            same,
            r#"{"id":"price_1","object":"price"}"#,
            vec!["price: gone price_1"],
        ),
        (
            "product.updated",
            same,
            r#"{"id":"prod_1","object":"plan"}"#,
            vec![],
        ),
        (
            "account.updated",
            same,
            r#"{"id":"acct_1","object":"account"}"#,
            vec![],
        ),
    ] {
        assert_eq!(
            routed(kind, version, object),
            expected,
            "{kind} {version} {object}"
        );
    }
}

#[test]
fn an_event_without_a_version_is_not_trusted() {
    let body = br#"{"id":"evt_1","api_version":null,"created":1,"type":"price.created","data":{"object":{"id":"price_1","object":"price"}}}"#;
    let stripe = stripe();
    let event = stripe.feed("events").unwrap().parse_event(body).unwrap();
    assert_eq!(event.api_version, None);
    let routed = stripe.route("events", &event);
    assert_eq!(routed[0].action, Action::Refetch("price_1".to_owned()));
}

#[test]
fn the_event_itself_is_a_record_in_any_version() {
    let stripe = stripe();
    let event = event("account.updated", "2020-08-27", "{}");
    let routed = stripe.route("events", &event);
    assert_eq!(routed.len(), 1);
    assert_eq!(routed[0].collection.name, "event");
    let Action::Upsert(row) = &routed[0].action else {
        panic!("{:?}", routed[0].action);
    };
    assert_eq!(row.upstream_id, "evt_1");
    assert_eq!(row.data, event.data);
    assert!(stripe.route("another feed", &event).is_empty());
}

#[test]
fn a_page_of_events() {
    let stripe = stripe();
    let feed = stripe.feed("events").unwrap();
    let body = br#"{"data": [ {"id":"evt_2","created":5,"type":"a.b","data":{"object":{"id":1 }}} ], "has_more": true}"#;
    let page = feed.parse_page(None, &plain(body)).unwrap();
    let event = &page.events[0];
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("evt_2", "a.b"));
    assert_eq!(event.at, Timestamp::from_seconds(5));
    assert_eq!(&event.object[..], br#"{"id":1}"#);
    let next = feed.list(Timestamp::from_seconds(600), None, page.next.as_ref());
    assert_eq!(
        next.path_and_query,
        "/events?limit=100&created%5Bgte%5D=300&starting_after=evt_2"
    );

    for (event, lacks) in [
        (r#"{"created":5,"type":"a","data":{"object":{}}}"#, "id"),
        (
            r#"{"id":"e","created":"soon","type":"a","data":{"object":{}}}"#,
            "created",
        ),
        (r#"{"id":"e","created":5,"data":{"object":{}}}"#, "type"),
        (
            r#"{"id":"e","created":5,"type":"a","data":{"object":7}}"#,
            "data.object",
        ),
    ] {
        let body = format!(r#"{{"data":[{event}],"has_more":false}}"#);
        let path = json::Path::parse(lacks).unwrap();
        assert_eq!(
            feed.parse_page(None, &plain(&body)).unwrap_err(),
            PageError::Lacks { index: 0, path },
            "{event}"
        );
    }
}

use crate::json;
