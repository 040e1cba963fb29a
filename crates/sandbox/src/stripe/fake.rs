//! Made-up values for seeded objects.

use serde_json::{Value, json};

use crate::rng::Rng;

const FIRST: [&str; 12] = [
    "Ada",
    "Alan",
    "Barbara",
    "Dennis",
    "Edsger",
    "Frances",
    "Grace",
    "John",
    "Katherine",
    "Ken",
    "Margaret",
    "Radia",
];

const LAST: [&str; 12] = [
    "Allen", "Dijkstra", "Hamilton", "Hopper", "Johnson", "Liskov", "Lovelace", "McCarthy",
    "Perlman", "Ritchie", "Thompson", "Turing",
];

const CITIES: [(&str, &str, &str, &str); 6] = [
    ("Berlin", "BE", "DE", "de"),
    ("Lyon", "ARA", "FR", "fr"),
    ("Osaka", "27", "JP", "ja"),
    ("Portland", "OR", "US", "en"),
    ("Sevilla", "AN", "ES", "es"),
    ("Torino", "TO", "IT", "it"),
];

const STREETS: [&str; 5] = [
    "Canal Street",
    "Mill Lane",
    "River Road",
    "Sluice Way",
    "Weir Street",
];

const PLANS: [&str; 6] = [
    "Basic",
    "Business",
    "Enterprise",
    "Premium",
    "Starter",
    "Team",
];

const WORDS: [&str; 8] = [
    "amber", "basin", "current", "delta", "eddy", "flume", "gauge", "harbor",
];

/// Parameters of a customer with most fields filled in; about 1 kB as an object.
pub(crate) fn customer(rng: &mut Rng) -> Value {
    let (first, last) = (rng.one_of(&FIRST), rng.one_of(&LAST));
    let name = format!("{first} {last}");
    let (city, state, country, locale) = CITIES[rng.below(CITIES.len())];
    let address = json!({
        "city": city,
        "country": country,
        "line1": format!("{} {}", rng.between(1, 400), rng.one_of(&STREETS)),
        "line2": null,
        "postal_code": rng.between(10_000, 99_999).to_string(),
        "state": state,
    });
    let phone = format!("+1555{:07}", rng.below(10_000_000));
    let mailbox = format!("{}.{}.{}", first, last, rng.below(1_000_000)).to_lowercase();
    json!({
        "address": address,
        "description": format!("{} customer of {city}", rng.one_of(&PLANS)),
        "email": format!("{mailbox}@example.com"),
        "metadata": {
            "account_manager": rng.one_of(&FIRST),
            "segment": rng.one_of(&WORDS),
            "external_id": rng.below(1_000_000_000).to_string(),
        },
        "name": name,
        "phone": phone,
        "preferred_locales": [locale],
        "shipping": { "address": address, "carrier": null, "name": name, "phone": phone, "tracking_number": null },
    })
}

pub(crate) fn product(rng: &mut Rng) -> Value {
    let name = format!("{} {}", rng.one_of(&WORDS), rng.one_of(&PLANS));
    json!({
        "name": name,
        "description": format!("The {name} plan"),
        "metadata": { "tier": rng.one_of(&PLANS) },
        "unit_label": "seat",
    })
}

pub(crate) fn price(rng: &mut Rng, product: &str) -> Value {
    json!({
        "currency": "usd",
        "nickname": rng.one_of(&PLANS),
        "product": product,
        "recurring": { "interval": rng.one_of(&["month", "year"]) },
        "unit_amount": rng.between(5, 500) * 100,
    })
}

pub(crate) fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.below(WORDS.len())]
}

pub(crate) fn sentence(rng: &mut Rng) -> String {
    format!("{} {} {}", word(rng), word(rng), rng.below(1_000_000))
}
