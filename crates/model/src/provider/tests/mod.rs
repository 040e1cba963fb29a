//! The built-in Stripe definition, and mistakes in small ones.

mod compile;
mod events;
mod failures;
mod pages;
mod requests;

use super::*;

pub(super) const FILES: [(&str, &str); 3] = [
    (
        "provider.toml",
        include_str!("../../../../../providers/stripe/provider.toml"),
    ),
    (
        "collections.toml",
        include_str!("../../../../../providers/stripe/collections.toml"),
    ),
    (
        "fields.toml",
        include_str!("../../../../../providers/stripe/fields.toml"),
    ),
];

pub(super) fn stripe() -> Definition {
    Definition::compile("stripe", &FILES).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

pub(super) fn fields(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
