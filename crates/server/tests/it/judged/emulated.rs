//! The sync judged by emulate, another imitation of Stripe by others. It lists as Stripe does, newest first and by creation
//! time, has prices and checkout sessions, and tells what is gone in Stripe's words. It has no events: what changes is found
//! by reading again.

use serde_json::{Value, json};

use super::account::Account;
use super::claims;
use super::copies::Copies;
use super::programs::{Imitation, Sdk};
use crate::harness::text;

/// All that a definition reads and emulate can serve. Its list of payment methods is always empty.
const SERVED: [&str; 6] = [
    "customer",
    "product",
    "price",
    "payment_intent",
    "charge",
    "checkout.session",
];

/// More than a page.
const CUSTOMERS: usize = 103;

#[tokio::test]
async fn every_record_at_emulate_equals_what_stripes_own_client_reads() {
    claims::are_exactly("stripe", "emulate", &SERVED);
    let imitation = Imitation::emulate("stripe").await;
    let mut sdk = Sdk::of(&imitation);
    seed(&mut sdk).await;
    let mut account = Account::of(imitation, sdk, &SERVED).await;
    account.first_reading().await;
    account.matches(&SERVED).await;
    let mut delivered = Copies::default();
    account.consume(&mut delivered).await;
    account.compare(&delivered, &SERVED).await;

    change(&mut account).await;
    for collection in SERVED {
        account.backfill(collection, json!({})).await;
    }
    account.matches(&SERVED).await;
    account.consume(&mut delivered).await;
    account.compare(&delivered, &SERVED).await;
    assert_eq!(account.gone.len(), 2, "two customers");
}

async fn seed(sdk: &mut Sdk) {
    for number in 0..CUSTOMERS {
        let email = format!("customer-{number}@example.com");
        let customer = json!({"name": "Zoë \u{1f469}\u{200d}\u{1f680}", "email": email, "metadata": {"row": number}});
        sdk.create("customer", customer).await;
    }
    let customers = sdk.list("customer").await;
    for (number, customer) in customers.iter().take(12).enumerate() {
        let product = json!({"name": format!("Product {number}")});
        let product = sdk.create("product", product).await;
        let price =
            json!({"product": product["id"], "currency": "eur", "unit_amount": 100 + number});
        let price = sdk.create("price", price).await;
        let customer = &customer["id"];
        let items = json!([{"price": price["id"], "quantity": number + 1}]);
        let session = json!({"mode": "payment", "customer": customer, "line_items": items});
        sdk.create("checkout.session", session).await;
        let payment = json!({"amount": 1_000 + number, "currency": "eur", "customer": customer});
        let payment = sdk.create("payment_intent", payment).await;
        if number % 3 == 0 {
            act(sdk, "payment_intents", &payment, "confirm").await;
        }
    }
}

/// Changes of every kind that it offers.
async fn change(account: &mut Account) {
    let customers = account.sdk.list("customer").await;
    let renamed = json!({"name": "Grace", "metadata": {"rank": "RDML"}});
    let id = text(&customers[5]["id"]);
    account.sdk.update("customer", &id, renamed).await;
    for at in [0, 102] {
        let id = text(&customers[at]["id"]);
        account.delete("customer", &id).await;
    }
    let sdk = &mut account.sdk;
    sdk.create("customer", json!({"name": "New"})).await;
    sdk.create("product", json!({"name": "New"})).await;
    let payments = sdk.list("payment_intent").await;
    let mut open = payments
        .iter()
        .filter(|payment| payment["status"] == "requires_payment_method");
    for action in ["confirm", "cancel"] {
        act(sdk, "payment_intents", open.next().unwrap(), action).await;
    }
    let described = json!({"description": "changed without an event"});
    let id = text(&open.next().unwrap()["id"]);
    sdk.update("payment_intent", &id, described).await;
    let sessions = sdk.list("checkout.session").await;
    act(sdk, "checkout/sessions", &sessions[3], "expire").await;
}

async fn act(sdk: &mut Sdk, path: &str, object: &Value, action: &str) {
    let path = format!("/v1/{path}/{}/{action}", text(&object["id"]));
    sdk.post(&path, json!({})).await;
}
