//! Plain lists: what has no rules of its own.

use serde_json::{Value, json};

use crate::client::Client;

async fn with_coupons() -> Client {
    let client = Client::new().await;
    for (number, kind) in ["once", "forever", "once"].into_iter().enumerate() {
        let id = format!("c{number}");
        let coupon = json!({"id": id, "object": "coupon", "created": 10 + number, "duration": kind, "valid": true});
        client.stripe.put("coupons", coupon);
    }
    client
}

#[tokio::test]
async fn a_plain_list_pages_and_filters_newest_first() {
    let client = with_coupons().await;
    for (query, expected) in [
        ("", vec!["c2", "c1", "c0"]),
        ("?limit=1", vec!["c2"]),
        ("?limit=1&starting_after=c2", vec!["c1"]),
        ("?starting_after=c0", vec![]),
        ("?duration=once&valid=true", vec!["c2", "c0"]),
        ("?duration=all", vec!["c2", "c1", "c0"]),
        ("?created[gte]=11&created[lte]=11", vec!["c1"]),
    ] {
        let ids = client.ids(&format!("/v1/coupons{query}")).await;
        assert_eq!(ids, expected, "{query}");
    }
    let first = client.get("/v1/coupons?limit=2").await.body;
    assert_eq!(first["has_more"], true);
    let lost = client.get("/v1/coupons?starting_after=nope").await;
    assert_eq!(lost.status, 400);
    assert_eq!(lost.body["error"]["code"], "resource_missing");
    assert_eq!(lost.body["error"]["param"], "starting_after");
}

#[tokio::test]
async fn what_is_put_or_taken_is_seen_and_announced_only_when_told() {
    let client = with_coupons().await;
    let coupon = json!({"id": "c1", "object": "coupon", "created": 11, "duration": "forever", "name": "New"});
    client.stripe.put("coupons", coupon.clone());
    assert_eq!(client.get("/v1/coupons/c1").await.body, coupon);
    assert_eq!(client.ids("/v1/coupons").await, ["c2", "c1", "c0"]);
    client.stripe.take("coupons", "c1");
    let gone = client.get("/v1/coupons/c1").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.body["error"]["code"], "resource_missing");
    assert_eq!(client.ids("/v1/events").await, [""; 0]);
    client.stripe.announce("coupon.deleted", coupon.clone());
    let events = client.get("/v1/events").await.body;
    assert_eq!(events["data"][0]["type"], "coupon.deleted");
    assert_eq!(events["data"][0]["data"]["object"], coupon);
}

#[tokio::test]
async fn a_list_below_a_parent_has_what_names_it() {
    let client = Client::new().await;
    for (id, customer) in [("txi_1", "cus_1"), ("txi_2", "cus_2")] {
        let tax_id = json!({"id": id, "object": "tax_id", "customer": customer});
        client.stripe.put("tax_ids", tax_id);
    }
    assert_eq!(client.ids("/v1/customers/cus_2/tax_ids").await, ["txi_2"]);
    assert_eq!(client.ids("/v1/customers/cus_3/tax_ids").await, [""; 0]);
    assert_eq!(
        client.get("/v1/tax_ids/txi_1").await.body["customer"],
        "cus_1"
    );
    let unknown: Value = client.get("/v1/customers/cus_1/cards").await.body;
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Unrecognized request URL"), "{message}");
}
