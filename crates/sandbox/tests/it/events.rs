//! The record of changes.

use reqwest::Method;
use serde_json::json;

use crate::client::{Client, START, answer};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn every_change_to_a_customer_is_recorded() {
    let client = Client::new().await;
    let id = client
        .create("/v1/customers", &[("name", "Ada"), ("metadata[a]", "1")])
        .await;
    let path = format!("/v1/customers/{id}");
    let request = client
        .request(Method::POST, &path)
        .form(&[("name", "Alan"), ("metadata[b]", "2")]);
    let updated = answer(request.header("idempotency-key", "key-1")).await;
    client.delete(&path).await;

    let events = client.get("/v1/events?type=customer.*").await.body["data"].clone();
    let kind = |index: usize| events[index]["type"].as_str().unwrap();
    assert_eq!(
        [kind(2), kind(1), kind(0)],
        ["customer.created", "customer.updated", "customer.deleted"]
    );
    assert_eq!(events[2]["data"]["object"]["name"], "Ada");
    assert!(events[2]["data"].get("previous_attributes").is_none());
    let update = &events[1];
    assert_eq!(update["data"]["object"], updated.body);
    assert_eq!(
        update["data"]["previous_attributes"],
        json!({"name": "Ada", "metadata": {"b": null}})
    );
    assert_eq!(
        update["request"],
        json!({"id": updated.header("request-id"), "idempotency_key": "key-1"})
    );
    assert_eq!(
        (&update["object"], &update["created"]),
        (&"event".into(), &START.into())
    );
    assert_eq!(update["api_version"], "2026-10-28.endive");
    assert_eq!(events[0]["data"]["object"]["id"], id);

    let one = format!("/v1/events/{}", update["id"].as_str().unwrap());
    assert_eq!(client.get(&one).await.body, *update);
}

#[tokio::test]
async fn an_update_without_a_change_is_not_recorded() {
    let client = Client::new().await;
    let id = client.create("/v1/customers", &[("name", "Ada")]).await;
    client
        .post(&format!("/v1/customers/{id}"), &[("name", "Ada")])
        .await;
    assert_eq!(client.ids("/v1/events").await.len(), 1);
}

#[tokio::test]
async fn subscribing_bills_and_charges() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[]).await;
    let price = client.price().await;
    let last = client.ids("/v1/events").await.remove(0);
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    client.create("/v1/subscriptions", &form).await;

    let events = client
        .get(&format!("/v1/events?limit=100&ending_before={last}"))
        .await;
    let mut types: Vec<_> = events.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    types.sort_unstable();
    let expected = [
        "charge.succeeded",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice.updated",
        "invoice.updated",
        "payment_intent.created",
        "payment_intent.succeeded",
    ];
    assert_eq!(types, expected);
}

#[tokio::test]
async fn events_are_selected_by_type_and_time() {
    let client = Client::new().await;
    client.create("/v1/customers", &[]).await;
    client.set_clock(START + 5);
    client.create("/v1/products", &[("name", "Water")]).await;
    let count = async |filter: &str| client.ids(&format!("/v1/events?{filter}")).await.len();
    assert_eq!(count("type=customer.created").await, 1);
    assert_eq!(
        count("types[]=customer.created&types[]=product.created").await,
        2
    );
    assert_eq!(count("types[0]=product.created").await, 1);
    assert_eq!(count("types[]=customer").await, 0);
    assert_eq!(count("created[gte]=1700000005").await, 1);
    assert_eq!(
        count("created[gte]=1700000000&delivery_success=true").await,
        2
    );
}

#[tokio::test]
async fn events_are_gone_after_thirty_days() {
    let client = Client::new().await;
    client.create("/v1/customers", &[]).await;
    let event = client.ids("/v1/events").await.remove(0);
    client.set_clock(START + 30 * DAY);
    assert_eq!(client.ids("/v1/events").await, std::slice::from_ref(&event));

    client.set_clock(START + 30 * DAY + 1);
    assert!(client.ids("/v1/events").await.is_empty());
    assert_eq!(client.get(&format!("/v1/events/{event}")).await.status, 404);
    let after = client
        .get(&format!("/v1/events?starting_after={event}"))
        .await;
    assert_eq!(after.refusal(), (400, "resource_missing", "starting_after"));
}
