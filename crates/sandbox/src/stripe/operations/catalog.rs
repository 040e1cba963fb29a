//! Products and prices.

use serde_json::{Value, json};

use super::{referenced, required, required_reference};
use crate::stripe::collection::Collection;
use crate::stripe::error::Error;
use crate::stripe::objects;
use crate::stripe::params::{self, Params};
use crate::stripe::state::{Cause, State};

pub(super) fn create_product(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    required(params, "name")?;
    let id = state.new_id(Collection::Product);
    let mut product = objects::product(&id, cause.at);
    params::merge(&mut product, params);
    state.create(Collection::Product, &product, cause);
    Ok(product)
}

pub(super) fn update_product(
    state: &mut State,
    old: &Value,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    referenced(state, Collection::Price, params, "default_price")?;
    let mut new = old.clone();
    params::merge(&mut new, params);
    if new != *old {
        new["updated"] = cause.at.into();
    }
    state.update(Collection::Product, old, &new, "updated", cause);
    Ok(new)
}

pub(super) fn delete_product(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let product = state.find(Collection::Product, id)?;
    if !state.table(Collection::Price).children(id).is_empty() {
        return Err(Error::StateForbids(
            "This product cannot be deleted because it has one or more user-created prices."
                .to_owned(),
        ));
    }
    Ok(state.remove(Collection::Product, &product, cause))
}

pub(super) fn create_price(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    required(params, "currency")?;
    required_reference(state, Collection::Product, params, "product")?;
    let mut recurring = None;
    if let Some(given) = params.get("recurring") {
        if given["interval"].is_null() {
            return Err(Error::ParameterMissing("recurring[interval]".to_owned()));
        }
        recurring = Some(json!({
            "interval": given["interval"],
            "interval_count": given["interval_count"].as_i64().unwrap_or(1),
            "meter": null,
            "trial_period_days": null,
            "usage_type": "licensed",
        }));
    }
    let id = state.new_id(Collection::Price);
    let mut price = objects::price(&id, cause.at);
    params::merge(&mut price, params);
    price["unit_amount_decimal"] = match price["unit_amount"].as_i64() {
        Some(amount) => amount.to_string().into(),
        None => Value::Null,
    };
    if let Some(recurring) = recurring {
        price["recurring"] = recurring;
        price["type"] = "recurring".into();
    }
    state.create(Collection::Price, &price, cause);
    Ok(price)
}
