//! The account that owns everything.

use serde_json::{Value, json};

pub(crate) fn account(id: &str, created: i64) -> Value {
    json!({
        "id": id,
        "object": "account",
        "business_profile": { "name": "Headrace Sandbox", "url": null },
        "business_type": "company",
        "capabilities": { "card_payments": "active", "transfers": "active" },
        "charges_enabled": true,
        "country": "US",
        "created": created,
        "default_currency": "usd",
        "details_submitted": true,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": true,
        "settings": { "dashboard": { "display_name": "Headrace Sandbox", "timezone": "Etc/UTC" } },
        "type": "standard",
    })
}

/// The account's balance. The sandbox moves no money: it is read for its mode.
pub(crate) fn balance() -> Value {
    let nothing = json!([{ "amount": 0, "currency": "usd", "source_types": { "card": 0 } }]);
    json!({ "object": "balance", "available": nothing, "livemode": false, "pending": nothing })
}
