//! What can be done to the objects, and what follows from it.
//!
//! An operation checks everything first: one that is refused changes nothing.

mod billing;
mod catalog;
mod items;
mod payment;

use serde_json::Value;

use super::collection::Collection;
use super::error::Error;
use super::objects;
use super::params::{self, Params, Write};
use super::state::{Cause, State, id_of};

/// `POST /v1/{collection}`
pub(crate) fn create(
    state: &mut State,
    collection: Collection,
    params: Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let params = params::check(collection, Write::Create, params)?;
    match collection {
        Collection::Customer => Ok(create_customer(state, &params, cause)),
        Collection::Product => catalog::create_product(state, &params, cause),
        Collection::Price => catalog::create_price(state, &params, cause),
        Collection::Subscription => billing::create_subscription(state, &params, cause),
        Collection::SubscriptionItem => items::create(state, &params, cause),
        Collection::Invoice => billing::create_invoice(state, &params, cause),
        Collection::PaymentIntent => payment::create_intent(state, &params, cause),
        Collection::Charge => payment::create_charge(state, &params, cause),
        Collection::Refund => payment::create_refund(state, &params, cause),
        Collection::InvoiceLine | Collection::BalanceTransaction | Collection::Event => {
            Err(url_unknown("POST", &format!("/v1/{}", collection.path())))
        }
    }
}

/// `POST /v1/{collection}/{id}`
pub(crate) fn update(
    state: &mut State,
    collection: Collection,
    id: &str,
    params: Params,
    cause: &Cause,
) -> Result<Value, Error> {
    if !is_writable(collection) {
        return Err(url_unknown(
            "POST",
            &format!("/v1/{}/{id}", collection.path()),
        ));
    }
    let old = state.find(collection, id)?;
    let params = params::check(collection, Write::Update, params)?;
    match collection {
        Collection::Product => catalog::update_product(state, &old, &params, cause),
        Collection::Subscription => billing::update_subscription(state, &old, &params, cause),
        Collection::SubscriptionItem => items::update(state, &old, &params, cause),
        Collection::Invoice => billing::update_invoice(state, &old, &params, cause),
        Collection::PaymentIntent => payment::update_intent(state, &old, &params),
        _ => {
            let mut new = old.clone();
            params::merge(&mut new, &params);
            state.update(collection, &old, &new, "updated", cause);
            Ok(new)
        }
    }
}

/// `DELETE /v1/{collection}/{id}`
pub(crate) fn delete(
    state: &mut State,
    collection: Collection,
    id: &str,
    cause: &Cause,
) -> Result<Value, Error> {
    match collection {
        Collection::Customer => {
            let customer = state.find(collection, id)?;
            for subscription in state.table(Collection::Subscription).children(id) {
                billing::cancel_if_live(state, &subscription, cause);
            }
            Ok(state.remove(collection, &customer, cause))
        }
        Collection::Product => catalog::delete_product(state, id, cause),
        Collection::Subscription => billing::cancel_subscription(state, id, cause),
        Collection::SubscriptionItem => items::delete(state, id, cause),
        Collection::Invoice => billing::delete_invoice(state, id, cause),
        Collection::Price
        | Collection::InvoiceLine
        | Collection::PaymentIntent
        | Collection::Charge
        | Collection::Refund
        | Collection::BalanceTransaction
        | Collection::Event => Err(url_unknown(
            "DELETE",
            &format!("/v1/{}/{id}", collection.path()),
        )),
    }
}

/// `POST /v1/{collection}/{id}/{action}`
pub(crate) fn act(
    state: &mut State,
    collection: Collection,
    id: &str,
    action: &str,
    cause: &Cause,
) -> Result<Value, Error> {
    match (collection, action) {
        (Collection::Invoice, "finalize") => billing::finalize(state, id, cause),
        (Collection::Invoice, "pay") => billing::pay(state, id, cause),
        (Collection::Invoice, "void") => billing::void(state, id, cause),
        (Collection::PaymentIntent, "confirm") => payment::confirm(state, id, cause),
        (Collection::PaymentIntent, "cancel") => payment::cancel(state, id, cause),
        _ => Err(url_unknown(
            "POST",
            &format!("/v1/{}/{id}/{action}", collection.path()),
        )),
    }
}

fn create_customer(state: &mut State, params: &Params, cause: &Cause) -> Value {
    let id = state.new_id(Collection::Customer);
    let invoice_prefix = state.rng.id("", 8).to_uppercase();
    let mut customer = objects::customer(&id, cause.at, &invoice_prefix);
    params::merge(&mut customer, params);
    state.create(Collection::Customer, &customer, cause);
    customer
}

fn is_writable(collection: Collection) -> bool {
    !matches!(
        collection,
        Collection::InvoiceLine | Collection::BalanceTransaction | Collection::Event
    )
}

fn url_unknown(method: &str, path: &str) -> Error {
    Error::UrlUnknown {
        method: method.to_owned(),
        path: path.to_owned(),
    }
}

/// The value of a parameter that must be there.
fn required<'a>(params: &'a Params, name: &str) -> Result<&'a Value, Error> {
    match params.get(name) {
        None | Some(Value::Null) => Err(Error::ParameterMissing(name.to_owned())),
        Some(Value::String(text)) if text.is_empty() => {
            Err(Error::ParameterMissing(name.to_owned()))
        }
        Some(value) => Ok(value),
    }
}

/// An amount of money that must be there and be positive.
fn required_amount(params: &Params) -> Result<i64, Error> {
    let amount = required(params, "amount")?.as_i64().unwrap_or(0);
    if amount < 1 {
        let message = "This value must be greater than or equal to 1.".to_owned();
        return Err(Error::ParameterInvalid {
            param: "amount".to_owned(),
            message,
        });
    }
    Ok(amount)
}

/// The object the parameter `name` names, if it is given.
fn referenced(
    state: &State,
    collection: Collection,
    params: &Params,
    name: &str,
) -> Result<Option<Value>, Error> {
    match params.get(name).and_then(Value::as_str) {
        None | Some("") => Ok(None),
        Some(id) => refer(state, collection, id, name).map(Some),
    }
}

fn refer(state: &State, collection: Collection, id: &str, param: &str) -> Result<Value, Error> {
    state
        .get(collection, id)
        .ok_or_else(|| Error::ReferenceMissing {
            collection,
            id: id.to_owned(),
            param: param.to_owned(),
        })
}

/// As [`referenced`], of a parameter that must be there.
fn required_reference(
    state: &State,
    collection: Collection,
    params: &Params,
    name: &str,
) -> Result<Value, Error> {
    required(params, name)?;
    referenced(state, collection, params, name)?
        .ok_or_else(|| Error::ParameterMissing(name.to_owned()))
}

fn owned_id(object: &Value) -> String {
    id_of(object).to_owned()
}
