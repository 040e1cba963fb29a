//! Data to start with, and random changes to it. Both are drawn from the sandbox's seed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::collection::Collection;
use super::error::Error;
use super::state::{Cause, EVENT_RETENTION, State, id_of};
use super::{fake, operations};

/// Seconds of the past that seeded objects are spread over.
const SPREAD: i64 = 365 * 24 * 60 * 60;

/// Random changes attempted before one that is sure to succeed is made instead.
const ATTEMPTS: usize = 8;

pub(crate) fn collection(state: &mut State, collection: Collection, count: usize, now: i64) {
    for index in 0..count {
        let cause = cause(index, count, now);
        // A refusal means that the collection takes no writes; it stays as it is.
        drop(add(state, collection, &cause));
    }
}

pub(crate) fn everything(state: &mut State, count: usize, now: i64) {
    for index in 0..count {
        let cause = cause(index, count, now);
        for collection in additions(index) {
            drop(add(state, collection, &cause));
        }
        if index % 50 == 0 {
            drop(add_subscription(state, 12, &cause));
        }
        if index % 20 == 9 {
            drop(remove(state, Collection::Subscription, &cause));
        }
    }
}

/// One random change.
pub(crate) fn mutate(state: &mut State, cause: &Cause) {
    for _ in 0..ATTEMPTS {
        if attempt(state, cause).is_ok() {
            return;
        }
    }
    drop(add(state, Collection::Customer, cause));
}

/// What step `index` of seeding everything adds.
fn additions(index: usize) -> Vec<Collection> {
    let mut additions = vec![Collection::Customer];
    let rhythm = [
        (Collection::Product, 10, 0),
        (Collection::Price, 5, 0),
        (Collection::Subscription, 2, 1),
        (Collection::Invoice, 10, 3),
        (Collection::PaymentIntent, 5, 1),
        (Collection::Charge, 4, 2),
        (Collection::Refund, 10, 7),
    ];
    let due = rhythm
        .into_iter()
        .filter(|(_, every, at)| index % every == *at);
    additions.extend(due.map(|(collection, _, _)| collection));
    additions
}

/// The cause of the seeded object `index` of `count`. What happened when its event would be gone
/// by now writes none.
fn cause(index: usize, count: usize, now: i64) -> Cause {
    let part = |whole: i64| {
        let (index, count) = (index as i128, count.max(1) as i128);
        i64::try_from(i128::from(whole) * index / count).unwrap_or(0)
    };
    let at = now - SPREAD + part(SPREAD);
    Cause {
        at,
        announced: at >= now - EVENT_RETENTION,
        request_id: None,
        idempotency_key: None,
    }
}

fn attempt(state: &mut State, cause: &Cause) -> Result<Value, Error> {
    match state.rng.below(100) {
        0..12 => add(state, Collection::Customer, cause),
        12..15 => add(state, Collection::Product, cause),
        15..18 => add(state, Collection::Price, cause),
        18..24 => add(state, Collection::Subscription, cause),
        24..27 => add(state, Collection::Invoice, cause),
        27..30 => add(state, Collection::PaymentIntent, cause),
        30..34 => add(state, Collection::Charge, cause),
        34..38 => add(state, Collection::Refund, cause),
        38..68 => touch(state, Collection::Customer, cause),
        68..74 => touch(state, Collection::Product, cause),
        74..78 => touch(state, Collection::Price, cause),
        78..82 => touch(state, Collection::Subscription, cause),
        82..86 => change_quantity(state, cause),
        86..88 => touch(state, Collection::Charge, cause),
        88..92 => remove(state, Collection::Customer, cause),
        92..94 => remove(state, Collection::Product, cause),
        94..96 => remove(state, Collection::Subscription, cause),
        96..98 => remove(state, Collection::Invoice, cause),
        98 => act(state, Collection::PaymentIntent, "cancel", cause),
        _ => act(state, Collection::Invoice, "finalize", cause),
    }
}

fn add(state: &mut State, collection: Collection, cause: &Cause) -> Result<Value, Error> {
    let params = match collection {
        Collection::Customer => fake::customer(&mut state.rng),
        Collection::Product => fake::product(&mut state.rng),
        Collection::Price => {
            let product = some(state, Collection::Product, cause)?;
            fake::price(&mut state.rng, &product)
        }
        Collection::Subscription => {
            let items = 1 + state.rng.below(3);
            return add_subscription(state, items, cause);
        }
        Collection::SubscriptionItem => json!({
            "subscription": &*some(state, Collection::Subscription, cause)?,
            "price": &*some(state, Collection::Price, cause)?,
            "quantity": state.rng.between(1, 20),
        }),
        Collection::Invoice => json!({
            "customer": &*some(state, Collection::Customer, cause)?,
            "description": fake::sentence(&mut state.rng),
        }),
        Collection::PaymentIntent | Collection::Charge => json!({
            "customer": &*some(state, Collection::Customer, cause)?,
            "amount": state.rng.between(1, 1000) * 100,
            "currency": "usd",
            "description": fake::sentence(&mut state.rng),
        }),
        Collection::Refund => {
            let charge = some(state, Collection::Charge, cause)?;
            json!({ "charge": &*charge, "amount": state.rng.between(1, 100) })
        }
        Collection::InvoiceLine | Collection::BalanceTransaction | Collection::Event => json!({}),
    };
    create(state, collection, params, cause)
}

fn add_subscription(state: &mut State, items: usize, cause: &Cause) -> Result<Value, Error> {
    let customer = some(state, Collection::Customer, cause)?;
    let mut wishes = Vec::with_capacity(items);
    for _ in 0..items {
        let price = some(state, Collection::Price, cause)?;
        wishes.push(json!({ "price": &*price, "quantity": state.rng.between(1, 20) }));
    }
    let params = json!({
        "customer": &*customer,
        "items": wishes,
        "metadata": { "segment": fake::word(&mut state.rng) },
    });
    create(state, Collection::Subscription, params, cause)
}

/// Changes a detail of a random object.
fn touch(state: &mut State, collection: Collection, cause: &Cause) -> Result<Value, Error> {
    let id = some(state, collection, cause)?;
    let text = fake::sentence(&mut state.rng);
    let params = match (collection, state.rng.below(3)) {
        (Collection::Customer, 0) => json!({ "name": text }),
        (Collection::Customer | Collection::Product | Collection::Charge, 1) => {
            json!({ "description": text })
        }
        (Collection::Price, 0) => json!({ "nickname": text }),
        _ => json!({ "metadata": { "note": text } }),
    };
    update(state, collection, &id, params, cause)
}

fn change_quantity(state: &mut State, cause: &Cause) -> Result<Value, Error> {
    let item = some(state, Collection::SubscriptionItem, cause)?;
    let params = json!({ "quantity": state.rng.between(1, 20) });
    update(state, Collection::SubscriptionItem, &item, params, cause)
}

fn remove(state: &mut State, collection: Collection, cause: &Cause) -> Result<Value, Error> {
    let id = some(state, collection, cause)?;
    operations::delete(state, collection, &id, cause)
}

fn act(
    state: &mut State,
    collection: Collection,
    action: &str,
    cause: &Cause,
) -> Result<Value, Error> {
    let id = some(state, collection, cause)?;
    operations::act(state, collection, &id, action, cause)
}

/// The id of a random object, which is added if there is none.
fn some(state: &mut State, collection: Collection, cause: &Cause) -> Result<Arc<str>, Error> {
    let count = state.table(collection).len();
    let index = state.rng.below(count);
    match state.table(collection).id_at(index) {
        Some(id) => Ok(id),
        None => add(state, collection, cause).map(|object| id_of(&object).into()),
    }
}

fn create(
    state: &mut State,
    collection: Collection,
    params: Value,
    cause: &Cause,
) -> Result<Value, Error> {
    operations::create(state, collection, super::into_params(params)?, cause)
}

fn update(
    state: &mut State,
    collection: Collection,
    id: &str,
    params: Value,
    cause: &Cause,
) -> Result<Value, Error> {
    operations::update(state, collection, id, super::into_params(params)?, cause)
}
