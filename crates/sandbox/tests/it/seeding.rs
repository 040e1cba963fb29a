//! Data the sandbox makes up.

use std::collections::HashMap;

use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
use serde_json::Value;

use crate::client::START;

fn sandbox(seed: u64) -> Stripe {
    Stripe::new(StripeOptions {
        seed,
        clock: std::sync::Arc::new(|| START),
        ..Default::default()
    })
}

fn everything(stripe: &Stripe) -> Vec<Vec<Value>> {
    Collection::ALL
        .into_iter()
        .map(|collection| stripe.list_all(collection))
        .collect()
}

#[test]
fn one_seed_makes_one_history() {
    let (one, two, other) = (sandbox(1), sandbox(1), sandbox(2));
    for stripe in [&one, &two, &other] {
        stripe.seed_all(60);
        stripe.mutate_randomly(200);
    }
    assert_eq!(everything(&one), everything(&two));
    assert_ne!(everything(&one), everything(&other));
}

#[test]
fn everything_is_seeded_and_linked() {
    let stripe = sandbox(1);
    stripe.seed_all(100);
    for collection in Collection::ALL {
        assert_ne!(stripe.count(collection), 0, "{collection:?}");
    }
    assert_eq!(stripe.count(Collection::Customer), 100);
    for charge in stripe.list_all(Collection::Charge) {
        let booked = charge["balance_transaction"].as_str().unwrap();
        let booked = stripe.get(Collection::BalanceTransaction, booked).unwrap();
        assert_eq!(booked["source"], charge["id"]);
        let customer = charge["customer"].as_str().unwrap();
        assert_eq!(
            stripe.get(Collection::Customer, customer).unwrap()["object"],
            "customer"
        );
    }
    let long = |list: &str, object: &Value| object[list]["has_more"] == true;
    assert!(
        stripe
            .list_all(Collection::Subscription)
            .iter()
            .any(|s| long("items", s))
    );
    assert!(
        stripe
            .list_all(Collection::Invoice)
            .iter()
            .any(|i| long("lines", i))
    );

    let created: Vec<i64> = stripe
        .list_all(Collection::Customer)
        .iter()
        .map(|customer| customer["created"].as_i64().unwrap())
        .collect();
    assert!(created.is_sorted_by(|newer, older| newer >= older));
    assert!(created[0] < START && created[99] < START - 300 * 24 * 60 * 60);
}

#[test]
fn a_seeded_customer_weighs_about_a_kilobyte() {
    let stripe = sandbox(1);
    stripe.seed(Collection::Customer, 20);
    for customer in stripe.list_all(Collection::Customer) {
        assert!((800..1400).contains(&customer.to_string().len()));
    }
}

/// Replaying the events over the state before them gives the state after them.
#[test]
fn events_tell_of_every_random_change() {
    let stripe = sandbox(3);
    stripe.seed_all(80);
    let told = [
        Collection::Customer,
        Collection::Product,
        Collection::Price,
        Collection::Subscription,
        Collection::Invoice,
        Collection::PaymentIntent,
        Collection::Charge,
        Collection::Refund,
    ];
    let state = || -> HashMap<String, Value> {
        let objects = told
            .iter()
            .flat_map(|collection| stripe.list_all(*collection));
        objects
            .map(|object| (object["id"].as_str().unwrap().to_owned(), object))
            .collect()
    };
    let mut replayed = state();
    let known = stripe.count(Collection::Event);
    stripe.mutate_randomly(500);

    let events = stripe.list_all(Collection::Event);
    let new = events.len() - known;
    assert!(new >= 500, "{new} events");
    for event in events[..new].iter().rev() {
        let object = &event["data"]["object"];
        let id = object["id"].as_str().unwrap().to_owned();
        let canceled = object["object"] == "subscription";
        if event["type"].as_str().unwrap().ends_with(".deleted") && !canceled {
            replayed.remove(&id);
        } else {
            replayed.insert(id, object.clone());
        }
    }
    let now = state();
    assert_eq!(replayed.len(), now.len());
    for (id, object) in now {
        assert_eq!(replayed[&id], object, "{id}");
    }
}
