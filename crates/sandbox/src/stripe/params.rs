//! The parameters a write takes: which are known, and of what type.

use serde_json::{Map, Value};

use super::collection::Collection;
use super::error::Error;

/// Parameters by name, checked and typed.
pub(crate) type Params = Map<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Update,
}

/// Parameters that steer an operation and leave no trace in the object.
const STEERING: [&str; 4] = [
    "expand",
    "off_session",
    "payment_behavior",
    "proration_behavior",
];

const INTEGERS: [&str; 13] = [
    "amount",
    "balance",
    "billing_cycle_anchor",
    "cancel_at",
    "days_until_due",
    "due_date",
    "interval_count",
    "next_invoice_sequence",
    "quantity",
    "trial_end",
    "trial_period_days",
    "unit_amount",
    "weight",
];

const BOOLEANS: [&str; 9] = [
    "active",
    "auto_advance",
    "cancel_at_period_end",
    "capture",
    "confirm",
    "deleted",
    "enabled",
    "off_session",
    "shippable",
];

/// Refuses unknown parameters and gives the texts of a form their types.
pub(crate) fn check(collection: Collection, write: Write, params: Params) -> Result<Params, Error> {
    let known = known(collection, write);
    params
        .into_iter()
        .filter(|(name, _)| known.contains(&name.as_str()) || !STEERING.contains(&name.as_str()))
        .map(|(name, value)| {
            if !known.contains(&name.as_str()) {
                return Err(Error::ParameterUnknown(name));
            }
            let value = typed(&name, value)?;
            Ok((name, value))
        })
        .collect()
}

/// Lays `params` over `object`: objects merge, everything else replaces, `""` and null unset.
pub(crate) fn merge(object: &mut Value, params: &Params) {
    for (name, value) in params {
        let slot = &mut object[name.as_str()];
        if name == "metadata" {
            merge_metadata(slot, value);
            continue;
        }
        match value {
            Value::Object(fields) if slot.is_object() => merge(slot, fields),
            Value::String(text) if text.is_empty() => *slot = Value::Null,
            _ => *slot = value.clone(),
        }
    }
}

fn merge_metadata(metadata: &mut Value, given: &Value) {
    let Value::Object(given) = given else {
        *metadata = Value::Object(Map::new());
        return;
    };
    let mut merged = metadata.as_object().cloned().unwrap_or_default();
    for (key, value) in given {
        match value {
            Value::Null => merged.remove(key),
            Value::String(text) if text.is_empty() => merged.remove(key),
            Value::String(_) => merged.insert(key.clone(), value.clone()),
            other => merged.insert(key.clone(), Value::String(other.to_string())),
        };
    }
    *metadata = Value::Object(merged);
}

fn typed(name: &str, value: Value) -> Result<Value, Error> {
    match value {
        _ if name == "metadata" => Ok(value),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| Ok((name.clone(), typed(&name, value)?)))
            .collect(),
        Value::Array(elements) => elements
            .into_iter()
            .map(|element| typed(name, element))
            .collect(),
        Value::String(text) if !text.is_empty() && INTEGERS.contains(&name) => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| Error::IntegerInvalid {
                param: name.to_owned(),
                value: text,
            }),
        Value::String(text) if BOOLEANS.contains(&name) => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Error::BooleanInvalid {
                param: name.to_owned(),
                value: text,
            }),
        },
        other => Ok(other),
    }
}

fn known(collection: Collection, write: Write) -> &'static [&'static str] {
    match (collection, write) {
        (Collection::Customer, _) => &[
            "address",
            "balance",
            "business_name",
            "description",
            "email",
            "individual_name",
            "invoice_prefix",
            "invoice_settings",
            "metadata",
            "name",
            "next_invoice_sequence",
            "phone",
            "preferred_locales",
            "shipping",
            "tax_exempt",
        ],
        (Collection::Product, _) => &[
            "active",
            "default_price",
            "description",
            "images",
            "marketing_features",
            "metadata",
            "name",
            "package_dimensions",
            "shippable",
            "statement_descriptor",
            "tax_code",
            "type",
            "unit_label",
            "url",
        ],
        (Collection::Price, Write::Create) => &[
            "active",
            "currency",
            "lookup_key",
            "metadata",
            "nickname",
            "product",
            "recurring",
            "tax_behavior",
            "unit_amount",
        ],
        (Collection::Price, Write::Update) => &[
            "active",
            "lookup_key",
            "metadata",
            "nickname",
            "tax_behavior",
        ],
        (Collection::Subscription, Write::Create) => &[
            "cancel_at_period_end",
            "collection_method",
            "currency",
            "customer",
            "days_until_due",
            "default_payment_method",
            "description",
            "items",
            "metadata",
        ],
        (Collection::Subscription, Write::Update) => &[
            "cancel_at_period_end",
            "collection_method",
            "days_until_due",
            "default_payment_method",
            "description",
            "items",
            "metadata",
        ],
        (Collection::SubscriptionItem, Write::Create) => {
            &["metadata", "price", "quantity", "subscription"]
        }
        (Collection::SubscriptionItem, Write::Update) => &["metadata", "price", "quantity"],
        (Collection::Invoice, Write::Create) => &[
            "auto_advance",
            "collection_method",
            "currency",
            "customer",
            "default_payment_method",
            "description",
            "due_date",
            "footer",
            "metadata",
            "statement_descriptor",
        ],
        (Collection::Invoice, Write::Update) => &[
            "auto_advance",
            "collection_method",
            "default_payment_method",
            "description",
            "due_date",
            "footer",
            "metadata",
            "statement_descriptor",
        ],
        (Collection::Charge, Write::Create) => &[
            "amount",
            "currency",
            "customer",
            "description",
            "metadata",
            "receipt_email",
            "shipping",
            "source",
            "transfer_group",
        ],
        (Collection::Charge, Write::Update) => &[
            "description",
            "metadata",
            "receipt_email",
            "shipping",
            "transfer_group",
        ],
        (Collection::PaymentIntent, Write::Create) => &[
            "amount",
            "confirm",
            "currency",
            "customer",
            "description",
            "metadata",
            "payment_method",
            "payment_method_types",
            "receipt_email",
            "shipping",
            "statement_descriptor",
            "transfer_group",
        ],
        (Collection::PaymentIntent, Write::Update) => &[
            "amount",
            "currency",
            "customer",
            "description",
            "metadata",
            "payment_method",
            "payment_method_types",
            "receipt_email",
            "shipping",
            "statement_descriptor",
            "transfer_group",
        ],
        (Collection::Refund, Write::Create) => {
            &["amount", "charge", "metadata", "payment_intent", "reason"]
        }
        (Collection::Refund, Write::Update) => &["metadata"],
        (Collection::InvoiceLine | Collection::BalanceTransaction | Collection::Event, _) => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Params, Write, check, merge};
    use crate::stripe::{Collection, Error};

    fn object(value: Value) -> Params {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn texts_become_numbers_and_booleans() {
        let params = object(json!({
            "items": [{"price": "p", "quantity": "3"}],
            "cancel_at_period_end": "true",
            "metadata": {"quantity": "3"},
            "payment_behavior": "allow_incomplete",
        }));
        let params = check(Collection::Subscription, Write::Create, params).unwrap();
        assert_eq!(
            Value::Object(params),
            json!({
                "items": [{"price": "p", "quantity": 3}],
                "cancel_at_period_end": true,
                "metadata": {"quantity": "3"},
            })
        );
    }

    #[test]
    fn unknown_and_ill_typed_parameters_are_refused() {
        let unknown = check(
            Collection::Customer,
            Write::Update,
            object(json!({"nmae": "x"})),
        );
        assert_eq!(unknown, Err(Error::ParameterUnknown("nmae".into())));
        let invalid = check(
            Collection::Customer,
            Write::Update,
            object(json!({"balance": "x"})),
        );
        let (param, value) = ("balance".into(), "x".into());
        assert_eq!(invalid, Err(Error::IntegerInvalid { param, value }));
    }

    #[test]
    fn empty_texts_unset() {
        let mut customer = json!({
            "name": "Ada",
            "address": {"city": "Berlin", "country": "DE"},
            "metadata": {"a": "1", "b": "2"},
        });
        let params = object(json!({
            "name": "",
            "address": {"city": "Bonn"},
            "metadata": {"a": "", "c": "3"},
        }));
        merge(&mut customer, &params);
        assert_eq!(
            customer,
            json!({
                "name": null,
                "address": {"city": "Bonn", "country": "DE"},
                "metadata": {"b": "2", "c": "3"},
            })
        );
    }
}
