//! Creating, updating, deleting, and doing so once.

use reqwest::Method;

use crate::client::{Client, START, answer};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn customers_are_created_updated_and_deleted() {
    let client = Client::new().await;
    let form = [
        ("name", "Ada"),
        ("address[city]", "Berlin"),
        ("metadata[tier]", "1"),
    ];
    let id = client.create("/v1/customers", &form).await;
    let path = format!("/v1/customers/{id}");
    let customer = client.get(&path).await.body;
    assert_eq!(customer["address"]["city"], "Berlin");
    assert_eq!(customer["metadata"]["tier"], "1");
    assert_eq!(customer["created"], START);
    assert_eq!((id.len(), customer["email"].is_null()), (18, true));

    let updated = client
        .post(&path, &[("name", ""), ("metadata[seat]", "2")])
        .await
        .body;
    assert!(updated["name"].is_null());
    assert_eq!(
        updated["metadata"],
        serde_json::json!({"tier": "1", "seat": "2"})
    );

    let stub = serde_json::json!({"id": id, "object": "customer", "deleted": true});
    assert_eq!(client.delete(&path).await.body, stub);
    assert_eq!(client.get(&path).await.body, stub);
    assert_eq!(
        client.delete(&path).await.refusal(),
        (404, "resource_missing", "id")
    );
    assert!(client.ids("/v1/customers").await.is_empty());
}

#[tokio::test]
async fn a_deleted_customer_loses_its_subscriptions() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[]).await;
    let price = client.price().await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    let subscription = client.create("/v1/subscriptions", &form).await;

    client.delete(&format!("/v1/customers/{customer}")).await;
    let subscription = client
        .get(&format!("/v1/subscriptions/{subscription}"))
        .await;
    assert_eq!(subscription.body["status"], "canceled");
    let events =
        client.get("/v1/events?types[]=customer.deleted&types[]=customer.subscription.deleted");
    assert_eq!(events.await.ids().len(), 2);
}

#[tokio::test]
async fn other_deleted_objects_are_missing() {
    let client = Client::new().await;
    let product = client.create("/v1/products", &[("name", "Water")]).await;
    let path = format!("/v1/products/{product}");
    assert_eq!(client.delete(&path).await.body["deleted"], true);
    assert_eq!(
        client.get(&path).await.refusal(),
        (404, "resource_missing", "id")
    );

    let customer = client.create("/v1/customers", &[]).await;
    let form = [("customer", customer.as_str())];
    let invoice = client.create("/v1/invoices", &form).await;
    let other = client.create("/v1/invoices", &form).await;
    assert_eq!(
        client.delete(&format!("/v1/invoices/{invoice}")).await.body["deleted"],
        true
    );
    let finalized = client
        .post(&format!("/v1/invoices/{other}/finalize"), &[])
        .await;
    assert_eq!(finalized.body["status"], "open");
    assert_eq!(
        client.delete(&format!("/v1/invoices/{other}")).await.status,
        400
    );
    assert_eq!(client.delete("/v1/charges/ch_1").await.status, 404);
}

#[tokio::test]
async fn refunds_return_charges() {
    let client = Client::new().await;
    let form = [
        ("amount", "1000"),
        ("currency", "usd"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
    ];
    let intent = client.post("/v1/payment_intents", &form).await.body;
    assert_eq!(intent["status"], "succeeded");
    let charge = intent["latest_charge"].as_str().unwrap();
    let refund = client
        .create("/v1/refunds", &[("charge", charge), ("amount", "400")])
        .await;
    let charge_now = client.get(&format!("/v1/charges/{charge}")).await.body;
    assert_eq!(
        (&charge_now["amount_refunded"], &charge_now["refunded"]),
        (&400.into(), &false.into())
    );
    let excess = client
        .post("/v1/refunds", &[("charge", charge), ("amount", "601")])
        .await;
    assert_eq!(excess.refusal(), (400, "", "amount"));

    let booked = client
        .get(&format!("/v1/balance_transactions?source={refund}"))
        .await;
    assert_eq!(booked.body["data"][0]["amount"], -400);
    let types: Vec<_> = client.get("/v1/events").await.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "charge.refunded",
        "refund.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_intent.created",
    ];
    assert_eq!(types, expected);
}

#[tokio::test]
async fn ids_expand_into_objects() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[("name", "Ada")]).await;
    let price = client.price().await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("expand[]", "customer"),
    ];
    let subscription = client.post("/v1/subscriptions", &form).await.body;
    assert_eq!(subscription["customer"]["name"], "Ada");

    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.body["customer"], customer);
    let nested = client
        .get(&format!("{path}?expand[]=latest_invoice.customer"))
        .await;
    assert_eq!(nested.body["latest_invoice"]["customer"]["id"], customer);
    let listed = client
        .get("/v1/subscriptions?expand[]=data.items.data.price.product")
        .await;
    let item = &listed.body["data"][0]["items"]["data"][0];
    assert_eq!(item["price"]["product"]["name"], "Water");
    let refused = client.get("/v1/subscriptions?expand[]=data.status").await;
    assert_eq!(refused.refusal(), (400, "", "expand"));
}

#[tokio::test]
async fn malformed_writes_are_refused_and_change_nothing() {
    let client = Client::new().await;
    let check = async |path: &str, form: &[(&str, &str)], expected: (u16, &str, &str)| {
        assert_eq!(client.post(path, form).await.refusal(), expected, "{path}");
    };
    check(
        "/v1/customers",
        &[("nmae", "x")],
        (400, "parameter_unknown", "nmae"),
    )
    .await;
    check(
        "/v1/customers",
        &[("balance", "x")],
        (400, "parameter_invalid_integer", "balance"),
    )
    .await;
    check("/v1/products", &[], (400, "parameter_missing", "name")).await;
    let form = [("customer", "cus_0"), ("items[0][price]", "p")];
    check(
        "/v1/subscriptions",
        &form,
        (400, "resource_missing", "customer"),
    )
    .await;
    check("/v1/events", &[], (404, "", "")).await;
    check("/v1/customers/cus_0", &[], (404, "resource_missing", "id")).await;
    let json = client
        .request(Method::POST, "/v1/customers")
        .json(&serde_json::json!({"name": "x"}));
    assert_eq!(answer(json).await.status, 400);
    assert!(client.ids("/v1/customers").await.is_empty());
    assert!(client.ids("/v1/events").await.is_empty());
}

#[tokio::test]
async fn an_idempotency_key_acts_once_for_a_day() {
    let client = Client::new().await;
    let post = async |name: &str| {
        let request = client
            .request(Method::POST, "/v1/customers")
            .form(&[("name", name)]);
        answer(request.header("idempotency-key", "key-1")).await
    };
    let first = post("Ada").await;
    assert_eq!(first.header("idempotent-replayed"), "");
    client.set_clock(START + DAY - 1);
    let second = post("Ada").await;
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(
        second.header("original-request"),
        first.header("request-id")
    );
    assert_eq!(client.ids("/v1/customers").await.len(), 1);

    let other = post("Alan").await;
    assert_eq!(other.status, 400);
    assert_eq!(other.body["error"]["type"], "idempotency_error");

    client.set_clock(START + DAY);
    assert_ne!(post("Ada").await.body["id"], first.body["id"]);
}
