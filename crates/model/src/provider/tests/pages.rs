//! Answers as records.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::json;

fn page(name: &str, body: &str) -> Result<Page, PageError> {
    stripe()
        .collection(name)
        .unwrap()
        .parse_page(&Listing::default(), &plain(body))
}

#[test]
fn a_page_is_read_whatever_its_spacing() {
    let body = "{\n  \"object\": \"list\",\n  \"data\": [\n    {\n      \"id\": \"cus_2\",\n      \"created\": 1700000001,\n      \"balance\": 9007199254740993\n    },\n    { \"id\": \"cus_1\", \"created\": 1700000000, \"name\": \"a  b\" }\n  ],\n  \"has_more\": true\n}\n";
    let page = page("customer", body).unwrap();
    let rows = &page.records;
    assert_eq!(
        &rows[0].data[..],
        br#"{"id":"cus_2","created":1700000001,"balance":9007199254740993}"#
    );
    assert_eq!(
        &rows[1].data[..],
        br#"{"id":"cus_1","created":1700000000,"name":"a  b"}"#
    );
    assert_eq!(rows[1].upstream_id, "cus_1");
    let created = Some(Timestamp::from_seconds(1_700_000_000));
    assert_eq!(rows[1].created_at, created);
    assert_eq!(rows[1].hash, json::hash(&rows[1].data, &[]));
    assert_eq!(
        page.next,
        Some(PageCursor::After {
            id: "cus_1".to_owned(),
            created
        })
    );
    assert_eq!(page.repaired, 0);
}

#[test]
fn the_last_page_has_no_next() {
    let last = page("customer", r#"{"data":[],"has_more":false}"#).unwrap();
    assert!(last.records.is_empty() && last.next.is_none());
}

#[test]
fn what_is_not_a_page_is_an_error_and_never_an_end() {
    for (body, message) in [
        (
            r#"{"error":{"message":"x"}}"#,
            "the answer has no list at data",
        ),
        (
            r#"{"data":{},"has_more":false}"#,
            "the answer has no list at data",
        ),
        (
            r#"{"data":[]}"#,
            "the answer does not say at has_more whether there is more",
        ),
        (
            r#"{"data":[],"has_more":"yes"}"#,
            "the answer does not say at has_more whether there is more",
        ),
        (
            r#"{"data":[],"has_more":true}"#,
            "there is more after the page, but nothing to go on from",
        ),
        (
            r#"{"data":[{"id":"a"},{"object":"customer"}],"has_more":false}"#,
            "item 1 of the answer has nothing usable at id",
        ),
        (
            r#"{"data":[{"id":null}],"has_more":false}"#,
            "item 0 of the answer has nothing usable at id",
        ),
        (
            r#"{"data":[{"id":""}],"has_more":false}"#,
            "item 0 of the answer has nothing usable at id",
        ),
        (r#"{"data":[{"id":"a"}],"has_mo"#, "the answer is not JSON"),
        ("<html>", "the answer is not JSON"),
        ("", "the answer is not JSON"),
    ] {
        assert_eq!(
            page("customer", body).unwrap_err().to_string(),
            message,
            "{body}"
        );
    }
}

#[test]
fn a_bad_byte_does_not_block_a_collection() {
    let stripe = stripe();
    let body = b"{\"data\":[{\"id\":\"cus_1\",\"name\":\"a\xff\xfe\"}],\"has_more\":false}";
    let page = stripe
        .collection("customer")
        .unwrap()
        .parse_page(&Listing::default(), &plain(body))
        .unwrap();
    assert_eq!(page.repaired, 2);
    assert_eq!(
        &page.records[0].data[..],
        "{\"id\":\"cus_1\",\"name\":\"a\u{fffd}\u{fffd}\"}".as_bytes()
    );
}

#[test]
fn volatile_members_do_not_change_the_hash() {
    let rows = page(
        "charge",
        r#"{"data":[{"id":"ch_1","receipt_url":"a"},{"receipt_url":"b","id":"ch_1"},{"id":"ch_1","paid":true}],"has_more":false}"#,
    );
    let rows = rows.unwrap().records;
    assert_eq!(rows[0].hash, rows[1].hash);
    assert_ne!(rows[0].hash, rows[2].hash);
}

#[test]
fn a_read_of_one_tells_present_from_gone() {
    let stripe = stripe();
    let customers = stripe.collection("customer").unwrap();
    let (one, _) = customers
        .parse_one(br#"{ "id": "cus_1", "object": "customer", "deleted": true }"#)
        .unwrap();
    assert_eq!(one, One::Gone);
    let (one, _) = customers
        .parse_one(br#"{ "id": "cus_1", "deleted": false }"#)
        .unwrap();
    assert!(matches!(one, One::Present(row) if row.upstream_id == "cus_1"));
    assert!(customers.parse_one(b"[]").is_err());
}

#[test]
fn children_know_their_parent_and_products_their_change() {
    let items = r#"{"data":[{"id":"si_1","subscription":"sub_1"}],"has_more":false}"#;
    let row = &page("subscription_item", items).unwrap().records[0];
    assert_eq!(row.parent_id.as_deref(), Some("sub_1"));
    let products = r#"{"data":[{"id":"prod_1","created":1,"updated":2}],"has_more":false}"#;
    let row = &page("product", products).unwrap().records[0];
    assert_eq!(row.updated_at, Some(Timestamp::from_seconds(2)));
    assert_eq!(row.parent_id, None);
}

#[test]
fn cut_lists_are_completed_in_place() {
    let stripe = stripe();
    let invoices = stripe.collection("invoice").unwrap();
    let body = br#"{"data":[{"id":"in_1","lines":{"data":[{"id":"il_1"},{"id":"il_2"}],"has_more":true,"url":"/x"},"n":1.0}],"has_more":false}"#;
    let mut row = invoices
        .parse_page(&Listing::default(), &plain(body))
        .unwrap()
        .records
        .remove(0);
    let first = row.truncated[0].clone();
    let request = invoices.part(&first).unwrap();
    assert_eq!(
        request.path_and_query,
        "/invoices/in_1/lines?limit=100&starting_after=il_2"
    );

    let part = invoices
        .parse_part(&first, br#"{"data":[{"id":"il_3"}], "has_more":true}"#)
        .unwrap();
    let mut missing = part.elements;
    let second = part.next.unwrap();
    let request = invoices.part(&second).unwrap();
    assert_eq!(
        request.path_and_query,
        "/invoices/in_1/lines?limit=100&starting_after=il_3"
    );
    let part = invoices
        .parse_part(&second, br#"{"data":[{ "id":"il_4" }],"has_more":false}"#)
        .unwrap();
    assert!(part.next.is_none());
    missing.extend(part.elements);

    let before = row.hash;
    invoices.complete(&mut row, &first.path, &missing).unwrap();
    assert_eq!(
        row.data,
        Bytes::from_static(br#"{"id":"in_1","lines":{"data":[{"id":"il_1"},{"id":"il_2"},{"id":"il_3"},{"id":"il_4"}],"has_more":false,"url":"/x"},"n":1.0}"#)
    );
    assert!(row.truncated.is_empty());
    assert_ne!(row.hash, before);
}

#[test]
fn whole_and_odd_lists_are_not_cut() {
    for lines in [
        r#"{"data":[{"id":"il_1"}],"has_more":false}"#,
        "null",
        "[]",
        r#"{"data":[]}"#,
    ] {
        let body = format!(r#"{{"data":[{{"id":"in_1","lines":{lines}}}],"has_more":false}}"#);
        assert!(
            page("invoice", &body).unwrap().records[0]
                .truncated
                .is_empty(),
            "{lines}"
        );
    }
    // More, but nothing to go on from: from the beginning.
    let body = r#"{"data":[{"id":"in_1","lines":{"data":[],"has_more":true}}],"has_more":false}"#;
    let row = page("invoice", body).unwrap().records.remove(0);
    let stripe = stripe();
    let request = stripe
        .collection("invoice")
        .unwrap()
        .part(&row.truncated[0])
        .unwrap();
    assert_eq!(request.path_and_query, "/invoices/in_1/lines?limit=100");
}

proptest! {
    #[test]
    fn no_answer_panics(at in any::<prop::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 0..4)) {
        let whole = br#"{"data":[{"id":"in_1","created":5,"lines":{"data":[{"id":"il_1"}],"has_more":true}}],"has_more":true,"type":"a"}"#;
        let at = at.index(whole.len());
        let mut body = whole.to_vec();
        body.splice(at..=at, with);
        let stripe = stripe();
        let invoices = stripe.collection("invoice").unwrap();
        if let Ok(mut page) = invoices.parse_page(&Listing::default(), &plain(&body)) {
            for row in &mut page.records {
                for truncated in row.truncated.clone() {
                    prop_assert!(invoices.part(&truncated).is_ok());
                    let one = [Bytes::from_static(b"1")];
                    // Some cannot be completed, and say so.
                    invoices.complete(row, &truncated.path, &one).ok();
                }
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&row.data).is_ok());
            }
        }
        invoices.parse_one(&body).ok();
        stripe.feed("events").unwrap().parse_page(None, &plain(&body)).ok();
        stripe.error(400, |_| None, &body);
    }
}

#[test]
fn a_page_that_leads_to_itself_is_an_error_and_not_read_forever() {
    let stripe = stripe();
    let customers = stripe.collection("customer").unwrap();
    let body = br#"{"data":[{"id":"a","created":1}],"has_more":true}"#;
    let next = customers
        .parse_page(&Listing::default(), &plain(body))
        .unwrap()
        .next;
    let error = customers
        .parse_page(&Listing::at(next.as_ref()), &plain(body))
        .unwrap_err();
    assert_eq!(error, PageError::Stuck);
    let feed = stripe.feed("events").unwrap();
    let body =
        br#"{"data":[{"id":"evt_1","type":"x","created":1,"data":{"object":{}}}],"has_more":true}"#;
    let next = feed.parse_page(None, &plain(body)).unwrap().next;
    let error = feed.parse_page(next.as_ref(), &plain(body)).unwrap_err();
    assert_eq!(error, PageError::Stuck);
}

#[test]
fn children_that_their_parent_holds_need_no_request() {
    let stripe = stripe();
    let items = stripe.collection("subscription_item").unwrap();
    let parent = |more: bool| {
        let body = format!(
            r#"{{"data":[{{"id":"sub_1","items":{{"data":[{{"id":"si_1","subscription":"sub_1"}}],"has_more":{more}}}}}],"has_more":false}}"#
        );
        page("subscription", &body).unwrap().records.remove(0)
    };
    let held = items.embedded(&parent(false)).unwrap().unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].upstream_id, "si_1");
    assert_eq!(held[0].parent_id.as_deref(), Some("sub_1"));
    assert_eq!(
        &held[0].data[..],
        br#"{"id":"si_1","subscription":"sub_1"}"#
    );
    assert!(items.embedded(&parent(true)).is_none(), "some are missing");
    let silent = page(
        "subscription",
        r#"{"data":[{"id":"sub_1"}],"has_more":false}"#,
    );
    let silent = silent.unwrap().records.remove(0);
    assert!(items.embedded(&silent).is_none(), "it holds none at all");
}
