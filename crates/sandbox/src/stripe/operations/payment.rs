//! Money coming in and going back.

use serde_json::Value;

use super::{referenced, required, required_amount};
use crate::stripe::collection::Collection;
use crate::stripe::error::Error;
use crate::stripe::objects;
use crate::stripe::params::{self, Params};
use crate::stripe::state::{Cause, State, id_of, number_at, text_at};

pub(super) fn create_intent(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    required_amount(params)?;
    required(params, "currency")?;
    referenced(state, Collection::Customer, params, "customer")?;
    let confirms = params.get("confirm") == Some(&Value::Bool(true));
    if confirms {
        required(params, "payment_method")?;
    }
    let mut params = params.clone();
    params.remove("confirm");
    let intent = new_intent(state, &params, cause);
    Ok(if confirms {
        succeed(state, &intent, cause)
    } else {
        intent
    })
}

/// Updates to intents are not announced: there is no `payment_intent.updated`.
pub(super) fn update_intent(
    state: &mut State,
    old: &Value,
    params: &Params,
) -> Result<Value, Error> {
    referenced(state, Collection::Customer, params, "customer")?;
    if !is_open(old) && params.contains_key("amount") {
        return Err(Error::StateForbids(format!(
            "This PaymentIntent's amount could not be updated because it has a status of {}.",
            text_at(old, "status")
        )));
    }
    let mut new = old.clone();
    params::merge(&mut new, params);
    if new["status"] == "requires_payment_method" && new["payment_method"].is_string() {
        new["status"] = "requires_confirmation".into();
    }
    state.replace(Collection::PaymentIntent, &new);
    Ok(new)
}

pub(super) fn confirm(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let intent = state.find(Collection::PaymentIntent, id)?;
    if intent["status"] != "requires_confirmation" {
        return Err(unexpected_state(&intent, "confirm"));
    }
    Ok(succeed(state, &intent, cause))
}

pub(super) fn cancel(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let mut intent = state.find(Collection::PaymentIntent, id)?;
    if !is_open(&intent) {
        return Err(unexpected_state(&intent, "cancel"));
    }
    intent["status"] = "canceled".into();
    intent["canceled_at"] = cause.at.into();
    state.replace(Collection::PaymentIntent, &intent);
    state.announce(Collection::PaymentIntent, "canceled", &intent, cause);
    Ok(intent)
}

/// An intent that is made, confirmed and charged in one go.
pub(super) fn pay_now(
    state: &mut State,
    amount: i64,
    currency: &str,
    customer: &str,
    cause: &Cause,
) {
    let params = Params::from_iter([
        ("amount".to_owned(), amount.into()),
        ("currency".to_owned(), currency.into()),
        ("customer".to_owned(), customer.into()),
        ("payment_method".to_owned(), "pm_card_visa".into()),
    ]);
    let intent = new_intent(state, &params, cause);
    succeed(state, &intent, cause);
}

pub(super) fn create_charge(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let amount = required_amount(params)?;
    let currency = required(params, "currency")?.as_str().unwrap_or_default();
    let customer = referenced(state, Collection::Customer, params, "customer")?;
    if customer.is_none() {
        required(params, "source")?;
    }
    let mut params = params.clone();
    params.remove("source");
    Ok(charge(state, amount, currency, &params, cause))
}

pub(super) fn create_refund(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let charge = refunded_charge(state, params)?;
    let left = number_at(&charge, "amount") - number_at(&charge, "amount_refunded");
    if left == 0 {
        let message = format!("Charge {} has already been refunded.", id_of(&charge));
        return Err(Error::StateForbids(message));
    }
    let amount = match params.get("amount") {
        Some(_) => required_amount(params)?,
        None => left,
    };
    if amount > left {
        let message = format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        );
        return Err(Error::ParameterInvalid {
            param: "amount".to_owned(),
            message,
        });
    }

    let id = state.new_id(Collection::Refund);
    let mut refund = objects::refund(&id, cause.at, amount, &charge);
    for name in ["metadata", "reason"] {
        if let Some(value) = params.get(name) {
            refund[name] = value.clone();
        }
    }
    refund["balance_transaction"] = move_balance(state, -amount, &refund, cause);
    state.create(Collection::Refund, &refund, cause);

    let mut after = charge.clone();
    after["amount_refunded"] = (number_at(&charge, "amount_refunded") + amount).into();
    after["refunded"] = (amount == left).into();
    state.replace(Collection::Charge, &after);
    state.announce(Collection::Charge, "refunded", &after, cause);
    Ok(refund)
}

fn refunded_charge(state: &State, params: &Params) -> Result<Value, Error> {
    if let Some(charge) = referenced(state, Collection::Charge, params, "charge")? {
        return Ok(charge);
    }
    let intent = referenced(state, Collection::PaymentIntent, params, "payment_intent")?
        .ok_or_else(|| Error::ParameterMissing("charge".to_owned()))?;
    state
        .get(Collection::Charge, text_at(&intent, "latest_charge"))
        .ok_or_else(|| {
            let id = id_of(&intent);
            Error::StateForbids(format!(
                "This PaymentIntent ({id}) does not have a successful charge."
            ))
        })
}

fn new_intent(state: &mut State, params: &Params, cause: &Cause) -> Value {
    let id = state.new_id(Collection::PaymentIntent);
    let secret = state.rng.id("", 25);
    let mut intent = objects::payment_intent(&id, cause.at, &secret);
    params::merge(&mut intent, params);
    if intent["payment_method"].is_string() {
        intent["status"] = "requires_confirmation".into();
    }
    state.create(Collection::PaymentIntent, &intent, cause);
    intent
}

/// Charges a confirmed intent.
fn succeed(state: &mut State, confirmed: &Value, cause: &Cause) -> Value {
    let mut params = Params::new();
    for name in [
        "customer",
        "description",
        "metadata",
        "payment_method",
        "receipt_email",
    ] {
        params.insert(name.to_owned(), confirmed[name].clone());
    }
    params.insert("payment_intent".to_owned(), confirmed["id"].clone());
    let amount = number_at(confirmed, "amount");
    let charge = charge(
        state,
        amount,
        text_at(confirmed, "currency"),
        &params,
        cause,
    );
    let mut intent = confirmed.clone();
    intent["status"] = "succeeded".into();
    intent["amount_received"] = amount.into();
    intent["latest_charge"] = charge["id"].clone();
    state.replace(Collection::PaymentIntent, &intent);
    state.announce(Collection::PaymentIntent, "succeeded", &intent, cause);
    intent
}

fn charge(state: &mut State, amount: i64, currency: &str, params: &Params, cause: &Cause) -> Value {
    let id = state.new_id(Collection::Charge);
    let mut charge = objects::charge(&id, cause.at, amount, currency);
    params::merge(&mut charge, params);
    charge["balance_transaction"] = move_balance(state, amount, &charge, cause);
    state.insert(Collection::Charge, &charge, cause);
    state.announce(Collection::Charge, "succeeded", &charge, cause);
    charge
}

/// Books `amount` for `source`. Answers the id of the balance transaction.
fn move_balance(state: &mut State, amount: i64, source: &Value, cause: &Cause) -> Value {
    let id = state.new_id(Collection::BalanceTransaction);
    let transaction = objects::balance_transaction(&id, cause.at, amount, source);
    state.create(Collection::BalanceTransaction, &transaction, cause);
    id.into()
}

fn is_open(intent: &Value) -> bool {
    text_at(intent, "status").starts_with("requires_")
}

fn unexpected_state(intent: &Value, verb: &str) -> Error {
    Error::StateForbids(format!(
        "You cannot {verb} this PaymentIntent because it has a status of {}.",
        text_at(intent, "status")
    ))
}
