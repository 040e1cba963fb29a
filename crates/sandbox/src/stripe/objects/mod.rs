//! Objects as the API shows them when only the required parameters were given.

mod account;
mod billing;
mod catalog;
mod customer;
mod payment;

pub(crate) use account::{account, balance};
pub(crate) use billing::{
    PERIOD, invoice, invoice_line, invoice_links, subscription, subscription_item,
};
pub(crate) use catalog::{price, product};
pub(crate) use customer::customer;
pub(crate) use payment::{balance_transaction, charge, payment_intent, refund};
