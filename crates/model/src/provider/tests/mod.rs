//! The built-in Stripe definition, and mistakes in small ones.

mod compile;
mod events;
mod failures;
mod follow;
mod graphql;
mod links;
mod pages;
mod requests;

use super::*;

macro_rules! part {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../../providers/stripe/", $name)),
        )
    };
}

/// What is enough of it to be compiled, and broken in tests.
pub(super) const FILES: [(&str, &str); 3] = [
    part!("provider.toml"),
    part!("collections.toml"),
    part!("fields.toml"),
];

/// The rest of the definition.
pub(super) const PARTS: [(&str, &str); 8] = [
    part!("collections.billing.toml"),
    part!("collections.connect.toml"),
    part!("collections.finance.toml"),
    part!("collections.services.toml"),
    part!("fields.billing.toml"),
    part!("fields.connect.toml"),
    part!("fields.finance.toml"),
    part!("fields.services.toml"),
];

pub(super) fn stripe() -> Definition {
    let files = [&FILES[..], &PARTS].concat();
    Definition::compile("stripe", &files).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// An answer that is a body alone.
pub(super) fn plain<T: AsRef<[u8]> + ?Sized>(body: &T) -> Answer<'_> {
    Answer::without_links(body.as_ref())
}

pub(super) fn fields(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A provider of two files.
pub(super) fn small(provider: &str, collections: &str) -> Result<Definition, Vec<Problem>> {
    let files = [
        ("provider.toml", provider),
        ("collections.toml", collections),
    ];
    Definition::compile("shelf", &files)
}
