//! What happens at the account, by way of Stripe's SDK.
//!
//! The reader may look in between any two of these calls. So an object that changes without an event
//! has one afterwards, in the same function, unless the function says that it has none.

use serde_json::{Value, json};

use super::account::Account;
use crate::harness::text;

fn card(number: &str) -> Value {
    json!({"object": "card", "number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123"})
}

/// Changes of which an event tells.
pub(super) async fn announced(account: &mut Account) {
    let customers = account.sdk.list("customer").await;
    let id = |at: usize| text(&customers[at]["id"]);
    let new =
        json!({"name": "Näw", "email": "new@example.com", "source": card("4242424242424242")});
    let new = account.sdk.create("customer", new).await;

    // Twice within a second, most of the time: the events do not tell which of them was the last.
    for name in ["Grace", "Grace Hopper"] {
        let params = json!({"name": name, "metadata": {"row": "", "rank": "RDML"}});
        account.sdk.update("customer", &id(11), params).await;
    }
    let path = format!("/v1/customers/{}/sources", id(13));
    let source = json!({"source": card("5555555555554444")});
    account.sdk.post(&path, source).await;
    for at in [1, 7, 103] {
        account.delete("customer", &id(at)).await;
    }
    account.create_briefly(json!({"name": "Brief"})).await;
    // Whose card is declined is refused, and is a customer nevertheless.
    let declined = json!({"name": "Declined", "source": card("4000000000000002")});
    let declined = json!({"cmd": "create", "collection": "customer", "params": declined});
    let refused = account.sdk.ask(declined).await.unwrap_err();
    assert_eq!(refused["code"], "card_declined", "{refused}");

    let plan = json!({"id": "plan_new", "product": {"name": "Of the plan"}, "amount": 5, "currency": "eur", "interval": "year"});
    account.sdk.create("plan", plan).await;
    let product = json!({"name": "New product", "metadata": {"Größe": "\u{1f4a7}"}});
    account.sdk.create("product", product).await;
    let payouts = account.sdk.list("payout").await;
    let id = text(&payouts[0]["id"]);
    let noted = json!({"metadata": {"noted": "yes"}});
    account.sdk.update("payout", &id, noted).await;
    let payment = json!({
        "amount": 4_321,
        "currency": "eur",
        "customer": new["id"],
        "payment_method": new["default_source"],
        "confirm": true,
    });
    let payment = account.sdk.create("payment_intent", payment).await;
    assert_eq!(payment["status"], "succeeded");
}

/// Subscriptions that begin and end, and their invoices. The customers that show them have no event.
pub(super) async fn of_subscriptions(account: &mut Account) {
    let customers = account.sdk.list("customer").await;
    let subscriber = customers
        .iter()
        .find(|customer| customer["name"] == "Näw")
        .expect("the new customer");
    let items = json!([{"plan": "plan_1", "quantity": 3}]);
    let params = json!({"customer": subscriber["id"], "items": items});
    let begun = account.sdk.create("subscription", params).await;
    assert_eq!(begun["status"], "active");

    let subscriptions = account.sdk.list("subscription").await;
    let (paying, ending) = (&subscriptions[2], &subscriptions[5]);
    let item = json!({"customer": paying["customer"], "amount": 777, "currency": "eur"});
    account.sdk.create("invoiceitem", item).await;
    let invoice = json!({"customer": paying["customer"], "subscription": paying["id"]});
    let invoice = account.sdk.create("invoice", invoice).await;
    assert_eq!(invoice["status"], "draft");
    let id = text(&invoice["id"]);
    account
        .sdk
        .post(&format!("/v1/invoices/{id}/pay"), json!({}))
        .await;
    let paid = account.sdk.retrieve("invoice", &id).await;
    assert_eq!(paid["status"], "paid");
    // The first of them shows its new invoice; that change has no event, its end has.
    for subscription in [paying, ending] {
        let id = text(&subscription["id"]);
        account.sdk.delete("subscription", &id).await;
    }
}

/// Changes without any event.
pub(super) async fn unannounced(account: &mut Account) {
    let products = account.sdk.list("product").await;
    let renamed = json!({"name": "Renamed", "active": false});
    account
        .sdk
        .update("product", &text(&products[0]["id"]), renamed)
        .await;
    // The newest has no plan: localstripe cannot show a plan whose product is gone.
    let deleted = text(&products.last().unwrap()["id"]);
    account.delete("product", &deleted).await;
    account.delete("coupon", "coupon_3").await;
    let rates = account.sdk.list("tax_rate").await;
    let renamed = json!({"display_name": "Mehrwertsteuer"});
    let rate = text(&rates[0]["id"]);
    account.sdk.update("tax_rate", &rate, renamed).await;
    let setups = account.sdk.list("setup_intent").await;
    let path = format!("/v1/setup_intents/{}/cancel", text(&setups[0]["id"]));
    account.sdk.post(&path, json!({})).await;

    let customers = account.sdk.list("customer").await;
    let customer = &customers[3]["id"];
    let charge = json!({"customer": customer, "amount": 9_900, "currency": "eur"});
    let charge = account.sdk.create("charge", charge).await;
    let refund = json!({"charge": charge["id"], "amount": 900});
    account.sdk.create("refund", refund).await;

    let payments = account.sdk.list("payment_intent").await;
    let open = payments
        .iter()
        .find(|payment| payment["status"] == "requires_payment_method")
        .expect("a payment that nobody made");
    let path = format!("/v1/payment_intents/{}/cancel", text(&open["id"]));
    account.sdk.post(&path, json!({})).await;
    let payment = json!({"customer": customer, "amount": 1, "currency": "eur"});
    account.sdk.create("payment_intent", payment).await;
}
