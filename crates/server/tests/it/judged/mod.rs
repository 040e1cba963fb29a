//! Syncs, judged by programs that nobody here wrote. Here Stripe's: it reads localstripe, and every record
//! must equal what Stripe's own SDK reads there. Other judges and providers are in the modules below.
//!
//! `testing/README.md` tells how both are run, and where localstripe differs from Stripe.

mod account;
mod changes;
mod claims;
mod copies;
mod emulated;
mod github;
mod linear;
mod openapi;
mod programs;
mod synced;

pub(crate) use programs::interpreter;

use std::time::Duration;

use serde_json::json;

use account::Account;
use copies::Copies;

use crate::harness::text;

/// No condition is waited for longer: the programs are slow, and other tests run beside them.
const PATIENCE: Duration = Duration::from_secs(180);

/// More than a page of them, and four pages of events.
const CUSTOMERS: usize = 105;

/// All that a definition reads and localstripe can serve. It has no prices, and lists payment methods for a customer only.
const SERVED: [&str; 16] = [
    "customer",
    "product",
    "subscription",
    "subscription_item",
    "invoice",
    "charge",
    "payment_intent",
    "refund",
    "balance_transaction",
    "plan",
    "coupon",
    "tax_rate",
    "invoiceitem",
    "setup_intent",
    "payout",
    "event",
];

#[tokio::test]
async fn every_record_equals_what_stripes_own_client_reads() {
    claims::are_exactly("stripe", "localstripe", &SERVED);
    let mut account = Account::with(CUSTOMERS, &SERVED).await;
    account.first_reading().await;
    account.matches(&SERVED).await;
    let mut delivered = Copies::default();
    account.consume(&mut delivered).await;
    account.compare(&delivered, &SERVED).await;

    changes::announced(&mut account).await;
    account.check().await;
    let told = [
        "customer",
        "product",
        "plan",
        "payment_intent",
        "payout",
        "event",
    ];
    account.matches(&told).await;

    changes::of_subscriptions(&mut account).await;
    account.check().await;
    let told = [
        "subscription",
        "subscription_item",
        "invoice",
        "payment_intent",
        "event",
    ];
    account.matches(&told).await;
    account.consume(&mut delivered).await;

    changes::unannounced(&mut account).await;
    // localstripe has no events of these changes, nor of what changed with them: a customer shows its
    // subscriptions, those and their invoices the product's name, and a payment makes charges and
    // balance transactions. So everything but the events themselves is read again.
    for collection in SERVED.into_iter().filter(|served| *served != "event") {
        account.backfill(collection, json!({})).await;
    }
    account.matches(&SERVED).await;
    account.consume(&mut delivered).await;
    account.compare(&delivered, &SERVED).await;
    assert_eq!(
        account.gone.len(),
        6,
        "four customers, a product and a coupon"
    );
}

#[tokio::test]
async fn what_happens_during_the_first_reading_is_not_lost() {
    let mut account = Account::with(CUSTOMERS, &SERVED).await;
    changes::announced(&mut account).await;
    account.first_reading().await;
    account.check().await;
    account
        .matches(&["customer", "product", "payment_intent", "event"])
        .await;
}

#[tokio::test]
async fn what_the_account_does_not_serve_is_told_and_stops_nothing_else() {
    let collections = ["price", "customer", "product"];
    let mut account = Account::with(10, &collections).await;
    account.matches(&["customer", "product"]).await;
    let path = format!("/v1/syncs/{}", account.sync);
    account
        .server
        .until(|| async {
            let sync = account.server.get(&path).await;
            let status = |at: usize| sync["collections"][at]["status"].clone();
            [status(0), status(1), status(2)] == ["failed", "live", "live"]
        })
        .await;
    let sync = account.server.get(&path).await;
    let error = text(&sync["collections"][0]["error"]);
    assert!(error.contains("Prices") && error.contains("404"), "{error}");
    let notes = sync["health"]["notes"].as_array().unwrap();
    assert!(notes.contains(&json!(error)), "{notes:?}");
    assert_eq!(sync["health"]["status"], "error");
    // It has no accounts either, so the key cannot be told from another account's.
    let credential = text(&sync["credential_id"]);
    let path = format!("/v1/credentials/{credential}");
    let health = account.server.get(&path).await["health"].clone();
    let note = text(&health["notes"][0]);
    assert!(note.contains("unverified"), "{health}");
    assert!(sync["initial_backfill_completed_at"].is_null());
    assert!(sync["collections"][1]["error"].is_null());
}
