//! The items of a subscription. A change to them is a change to the subscription.

use serde_json::Value;

use super::{owned_id, refer, referenced, required, required_reference};
use crate::stripe::collection::Collection;
use crate::stripe::error::Error;
use crate::stripe::objects;
use crate::stripe::params::{self, Params};
use crate::stripe::state::{Cause, State, id_of, number_at, text_at};

/// A checked wish for an item: its price, its quantity, its metadata.
pub(super) struct NewItem {
    price: Value,
    quantity: i64,
    metadata: Option<Value>,
}

/// A checked change to the items of a subscription.
pub(super) enum Change {
    Add(NewItem),
    Update { old: Value, new: Value },
    Remove(Value),
}

pub(super) fn create(state: &mut State, params: &Params, cause: &Cause) -> Result<Value, Error> {
    let subscription = required_reference(state, Collection::Subscription, params, "subscription")?;
    refuse_canceled(&subscription)?;
    let item = new_item(state, params, "price")?;
    let item = insert(state, id_of(&subscription), item, cause);
    refresh(state, &subscription, cause);
    Ok(item)
}

pub(super) fn update(
    state: &mut State,
    old: &Value,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let new = changed(state, old, params, "price")?;
    let subscription = state.find(Collection::Subscription, text_at(old, "subscription"))?;
    refuse_canceled(&subscription)?;
    if new != *old {
        state.replace(Collection::SubscriptionItem, &new);
        refresh(state, &subscription, cause);
    }
    Ok(new)
}

pub(super) fn delete(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let item = state.find(Collection::SubscriptionItem, id)?;
    let subscription = state.find(Collection::Subscription, text_at(&item, "subscription"))?;
    let siblings = state
        .table(Collection::SubscriptionItem)
        .children(id_of(&subscription));
    refuse_canceled(&subscription)?;
    if siblings.len() == 1 {
        return Err(last_item());
    }
    let stub = state.remove(Collection::SubscriptionItem, &item, cause);
    refresh(state, &subscription, cause);
    Ok(stub)
}

/// Checks the `items` a subscription is to start with.
pub(super) fn new_items(state: &State, params: &Params) -> Result<Vec<NewItem>, Error> {
    let wishes = required(params, "items")?
        .as_array()
        .cloned()
        .unwrap_or_default();
    if wishes.is_empty() {
        return Err(Error::ParameterMissing("items".to_owned()));
    }
    wishes
        .iter()
        .enumerate()
        .map(|(index, wish)| {
            let wish = wish.as_object().cloned().unwrap_or_default();
            new_item(state, &wish, &format!("items[{index}][price]"))
        })
        .collect()
}

/// Stores the items so that the first comes first in lists, which are newest first.
pub(super) fn insert_all(
    state: &mut State,
    subscription: &str,
    items: Vec<NewItem>,
    cause: &Cause,
) -> Vec<Value> {
    let backwards = items.into_iter().rev();
    let mut stored: Vec<Value> = backwards
        .map(|item| insert(state, subscription, item, cause))
        .collect();
    stored.reverse();
    stored
}

/// Checks the `items` of an update to `subscription`.
pub(super) fn changes(
    state: &State,
    subscription: &Value,
    params: &Params,
) -> Result<Vec<Change>, Error> {
    let wishes = params
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut changes = Vec::new();
    let mut left = state
        .table(Collection::SubscriptionItem)
        .children(id_of(subscription))
        .len();
    for (index, wish) in wishes.iter().enumerate() {
        let wish = wish.as_object().cloned().unwrap_or_default();
        let price_param = format!("items[{index}][price]");
        let Some(id) = wish.get("id").and_then(Value::as_str) else {
            changes.push(Change::Add(new_item(state, &wish, &price_param)?));
            left += 1;
            continue;
        };
        let id_param = format!("items[{index}][id]");
        let old = refer(state, Collection::SubscriptionItem, id, &id_param)?;
        if wish.get("deleted") == Some(&Value::Bool(true)) {
            changes.push(Change::Remove(old));
            left = left.saturating_sub(1);
        } else {
            let new = changed(state, &old, &wish, &price_param)?;
            changes.push(Change::Update { old, new });
        }
    }
    if left == 0 {
        Err(last_item())
    } else {
        Ok(changes)
    }
}

pub(super) fn apply(state: &mut State, subscription: &str, changes: Vec<Change>, cause: &Cause) {
    for change in changes {
        match change {
            Change::Add(item) => drop(insert(state, subscription, item, cause)),
            Change::Update { old, new } => {
                state.update(Collection::SubscriptionItem, &old, &new, "updated", cause);
            }
            Change::Remove(item) => {
                drop(state.remove(Collection::SubscriptionItem, &item, cause));
            }
        }
    }
}

/// The `items` list as a subscription shows it.
pub(super) fn list(state: &State, subscription: &str) -> Value {
    let url = format!("/v1/subscription_items?subscription={subscription}");
    state.nested_list(Collection::SubscriptionItem, subscription, &url)
}

fn new_item(state: &State, wish: &Params, price_param: &str) -> Result<NewItem, Error> {
    let price = wish
        .get("price")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if price.is_empty() {
        return Err(Error::ParameterMissing(price_param.to_owned()));
    }
    Ok(NewItem {
        price: recurring_price(state, price, price_param)?,
        quantity: wish.get("quantity").and_then(Value::as_i64).unwrap_or(1),
        metadata: wish.get("metadata").cloned(),
    })
}

fn recurring_price(state: &State, id: &str, param: &str) -> Result<Value, Error> {
    let price = refer(state, Collection::Price, id, param)?;
    if price["type"] != "recurring" {
        let message = "The price specified is set to `type=one_time` but this field only accepts \
                       prices with `type=recurring`."
            .to_owned();
        return Err(Error::ParameterInvalid {
            param: param.to_owned(),
            message,
        });
    }
    Ok(price)
}

/// `old` as `wish` would have it.
fn changed(state: &State, old: &Value, wish: &Params, price_param: &str) -> Result<Value, Error> {
    referenced(state, Collection::Price, wish, "price")?;
    let price = match wish.get("price").and_then(Value::as_str) {
        Some(id) => recurring_price(state, id, price_param)?,
        None => old["price"].clone(),
    };
    let quantity = match wish.get("quantity").and_then(Value::as_i64) {
        Some(quantity) => quantity,
        None => number_at(old, "quantity"),
    };
    let mut new = old.clone();
    let shape = objects::subscription_item(
        id_of(old),
        number_at(old, "created"),
        text_at(old, "subscription"),
        &price,
        quantity,
    );
    for field in ["plan", "price", "quantity"] {
        new[field] = shape[field].clone();
    }
    if let Some(metadata) = wish.get("metadata") {
        params::merge(
            &mut new,
            &Params::from_iter([("metadata".to_owned(), metadata.clone())]),
        );
    }
    Ok(new)
}

fn insert(state: &mut State, subscription: &str, item: NewItem, cause: &Cause) -> Value {
    let id = state.new_id(Collection::SubscriptionItem);
    let mut object =
        objects::subscription_item(&id, cause.at, subscription, &item.price, item.quantity);
    if let Some(metadata) = item.metadata {
        object["metadata"] = metadata;
    }
    state.create(Collection::SubscriptionItem, &object, cause);
    object
}

/// Shows the items as they now are in their subscription. A change to one that is not shown is a change
/// to the subscription all the same.
fn refresh(state: &mut State, subscription: &Value, cause: &Cause) {
    let mut new = subscription.clone();
    new["items"] = list(state, &owned_id(subscription));
    if new == *subscription {
        return state.announce(Collection::Subscription, "updated", &new, cause);
    }
    state.update(
        Collection::Subscription,
        subscription,
        &new,
        "updated",
        cause,
    );
}

fn refuse_canceled(subscription: &Value) -> Result<(), Error> {
    if subscription["status"] == "canceled" {
        let message = format!("The subscription {} is canceled.", id_of(subscription));
        return Err(Error::StateForbids(message));
    }
    Ok(())
}

fn last_item() -> Error {
    Error::StateForbids("A subscription must have at least one active plan.".to_owned())
}
