//! Subscriptions, and the invoices they give rise to.

use serde_json::Value;

use super::{items, owned_id, payment, required, required_reference};
use crate::stripe::collection::Collection;
use crate::stripe::error::Error;
use crate::stripe::objects;
use crate::stripe::params::{self, Params};
use crate::stripe::state::{Cause, State, id_of, number_at, text_at};

/// Subscribing bills the first period at once. Cards pay at once too.
pub(super) fn create_subscription(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let customer = required_reference(state, Collection::Customer, params, "customer")?;
    let sends_invoice = params.get("collection_method") == Some(&"send_invoice".into());
    if sends_invoice {
        required(params, "days_until_due")?;
    }
    let items = items::new_items(state, params)?;

    let id = state.new_id(Collection::Subscription);
    let items = items::insert_all(state, &id, items, cause);
    let mut subscription = objects::subscription(&id, cause.at, id_of(&customer));
    let mut params = params.clone();
    params.remove("items");
    params::merge(&mut subscription, &params);
    if let Some(item) = items.first() {
        subscription["currency"] = item["price"]["currency"].clone();
    }
    subscription["items"] = items::list(state, &id);

    let invoice = bill(state, &customer, &subscription, &items, cause);
    subscription["latest_invoice"] = invoice["id"].clone();
    state.create(Collection::Subscription, &subscription, cause);
    let invoice = open(state, &invoice, cause);
    if !sends_invoice {
        settle(state, &invoice, cause);
    }
    Ok(subscription)
}

pub(super) fn update_subscription(
    state: &mut State,
    old: &Value,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    if old["status"] == "canceled" && params.keys().any(|name| name != "metadata") {
        return Err(Error::StateForbids(
            "A canceled subscription can only update its cancellation_details and metadata."
                .to_owned(),
        ));
    }
    let changes = items::changes(state, old, params)?;
    items::apply(state, id_of(old), changes, cause);
    let mut params = params.clone();
    params.remove("items");
    let mut new = old.clone();
    params::merge(&mut new, &params);
    new["items"] = items::list(state, id_of(old));
    if new["cancel_at_period_end"] != old["cancel_at_period_end"] {
        let ends = new["cancel_at_period_end"] == true;
        let period_end = new["items"]["data"][0]["current_period_end"].clone();
        new["cancel_at"] = if ends { period_end } else { Value::Null };
        new["canceled_at"] = if ends { cause.at.into() } else { Value::Null };
    }
    state.update(Collection::Subscription, old, &new, "updated", cause);
    Ok(new)
}

pub(super) fn cancel_subscription(
    state: &mut State,
    id: &str,
    cause: &Cause,
) -> Result<Value, Error> {
    state.find(Collection::Subscription, id)?;
    cancel_if_live(state, id, cause).ok_or_else(|| Error::ObjectMissing {
        collection: Collection::Subscription,
        id: id.to_owned(),
    })
}

/// Cancels at once; `None` when the subscription is canceled already.
pub(super) fn cancel_if_live(state: &mut State, id: &str, cause: &Cause) -> Option<Value> {
    let mut subscription = state.get(Collection::Subscription, id)?;
    if subscription["status"] == "canceled" {
        return None;
    }
    subscription["status"] = "canceled".into();
    subscription["canceled_at"] = cause.at.into();
    subscription["ended_at"] = cause.at.into();
    subscription["cancellation_details"]["reason"] = "cancellation_requested".into();
    state.replace(Collection::Subscription, &subscription);
    state.announce(Collection::Subscription, "deleted", &subscription, cause);
    Some(subscription)
}

/// A draft without lines.
pub(super) fn create_invoice(
    state: &mut State,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    let customer = required_reference(state, Collection::Customer, params, "customer")?;
    let id = state.new_id(Collection::Invoice);
    let mut invoice = objects::invoice(&id, cause.at, &customer);
    params::merge(&mut invoice, params);
    invoice["lines"] = lines(state, &id);
    state.create(Collection::Invoice, &invoice, cause);
    Ok(invoice)
}

pub(super) fn update_invoice(
    state: &mut State,
    old: &Value,
    params: &Params,
    cause: &Cause,
) -> Result<Value, Error> {
    if old["status"] != "draft" && params.keys().any(|name| name != "metadata") {
        return Err(Error::StateForbids(
            "Finalized invoices can't be updated in this way.".to_owned(),
        ));
    }
    let mut new = old.clone();
    params::merge(&mut new, params);
    state.update(Collection::Invoice, old, &new, "updated", cause);
    Ok(new)
}

pub(super) fn delete_invoice(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let invoice = state.find(Collection::Invoice, id)?;
    if invoice["status"] != "draft" {
        return Err(Error::StateForbids(
            "You can only delete draft invoices.".to_owned(),
        ));
    }
    Ok(state.remove(Collection::Invoice, &invoice, cause))
}

pub(super) fn finalize(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let invoice = in_status(state, id, "draft", "finalized")?;
    Ok(open(state, &invoice, cause))
}

/// A draft is finalised on the way.
pub(super) fn pay(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let mut invoice = state.find(Collection::Invoice, id)?;
    if invoice["status"] == "draft" {
        invoice = open(state, &invoice, cause);
    }
    if invoice["status"] != "open" {
        return Err(Error::StateForbids(format!(
            "Invoice is already {}.",
            invoice["status"]
        )));
    }
    Ok(settle(state, &invoice, cause))
}

pub(super) fn void(state: &mut State, id: &str, cause: &Cause) -> Result<Value, Error> {
    let old = in_status(state, id, "open", "voided")?;
    let mut new = old.clone();
    new["status"] = "void".into();
    new["status_transitions"]["voided_at"] = cause.at.into();
    state.update(Collection::Invoice, &old, &new, "updated", cause);
    state.announce(Collection::Invoice, "voided", &new, cause);
    Ok(new)
}

/// A draft with a line for each of the items.
fn bill(
    state: &mut State,
    customer: &Value,
    subscription: &Value,
    items: &[Value],
    cause: &Cause,
) -> Value {
    let id = state.new_id(Collection::Invoice);
    let mut total = 0;
    for item in items.iter().rev() {
        let line_id = state.new_id(Collection::InvoiceLine);
        let line = objects::invoice_line(&line_id, cause.at, &id, item);
        total += number_at(&line, "amount");
        state.create(Collection::InvoiceLine, &line, cause);
    }
    let mut invoice = objects::invoice(&id, cause.at, customer);
    invoice["lines"] = lines(state, &id);
    invoice["billing_reason"] = "subscription_create".into();
    invoice["collection_method"] = subscription["collection_method"].clone();
    invoice["currency"] = subscription["currency"].clone();
    invoice["parent"] = serde_json::json!({
        "quote_details": null,
        "subscription_details": {
            "metadata": subscription["metadata"],
            "subscription": subscription["id"],
        },
        "type": "subscription_details",
    });
    invoice["period_end"] = (cause.at + objects::PERIOD).into();
    let amounts = [
        "amount_due",
        "amount_remaining",
        "subtotal",
        "subtotal_excluding_tax",
        "total",
        "total_excluding_tax",
    ];
    for amount in amounts {
        invoice[amount] = total.into();
    }
    state.create(Collection::Invoice, &invoice, cause);
    invoice
}

/// Finalises a draft.
fn open(state: &mut State, draft: &Value, cause: &Cause) -> Value {
    let mut invoice = draft.clone();
    let (hosted, pdf) = objects::invoice_links(state.account(), id_of(draft));
    invoice["status"] = "open".into();
    invoice["number"] = state.rng.id("", 8).to_uppercase().into();
    invoice["hosted_invoice_url"] = hosted.into();
    invoice["invoice_pdf"] = pdf.into();
    invoice["effective_at"] = cause.at.into();
    invoice["ending_balance"] = 0.into();
    invoice["status_transitions"]["finalized_at"] = cause.at.into();
    state.update(Collection::Invoice, draft, &invoice, "updated", cause);
    state.announce(Collection::Invoice, "finalized", &invoice, cause);
    invoice
}

/// Pays an open invoice by card.
fn settle(state: &mut State, unpaid: &Value, cause: &Cause) -> Value {
    let amount = number_at(unpaid, "amount_due");
    if amount > 0 {
        let (customer, currency) = (text_at(unpaid, "customer"), text_at(unpaid, "currency"));
        payment::pay_now(state, amount, currency, customer, cause);
    }
    let mut invoice = unpaid.clone();
    invoice["status"] = "paid".into();
    invoice["attempted"] = true.into();
    invoice["attempt_count"] = 1.into();
    invoice["amount_paid"] = amount.into();
    invoice["amount_remaining"] = 0.into();
    invoice["status_transitions"]["paid_at"] = cause.at.into();
    state.update(Collection::Invoice, unpaid, &invoice, "updated", cause);
    state.announce(Collection::Invoice, "paid", &invoice, cause);
    state.announce(Collection::Invoice, "payment_succeeded", &invoice, cause);
    invoice
}

fn in_status(state: &State, id: &str, status: &str, participle: &str) -> Result<Value, Error> {
    let invoice = state.find(Collection::Invoice, id)?;
    if invoice["status"] == status {
        Ok(invoice)
    } else {
        let id = owned_id(&invoice);
        Err(Error::StateForbids(format!(
            "Invoice {id} can't be {participle}: it is not {status}."
        )))
    }
}

fn lines(state: &State, invoice: &str) -> Value {
    state.nested_list(
        Collection::InvoiceLine,
        invoice,
        &format!("/v1/invoices/{invoice}/lines"),
    )
}
