//! Provider definitions, and the answers of providers: whatever comes is read or refused, and told.

use std::sync::LazyLock;

use headrace_model::Timestamp;
use headrace_model::provider::{Above, Answer, Definition, Listing};

use super::{answers, parts};

macro_rules! stripe {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../providers/stripe/", $name)))),*]
    };
}

/// The built-in definition, its three main files first.
const STRIPE: [(&str, &str); 11] = stripe![
    "provider.toml",
    "collections.toml",
    "fields.toml",
    "collections.billing.toml",
    "collections.connect.toml",
    "collections.finance.toml",
    "collections.services.toml",
    "fields.billing.toml",
    "fields.connect.toml",
    "fields.finance.toml",
    "fields.services.toml"
];

/// Three files, or the first alone beside two of Stripe's: a definition, or problems with a place each.
pub(super) fn definition(data: &[u8]) {
    let Some(texts) = parts::<3>(data).or_else(|| {
        let text = std::str::from_utf8(data).ok()?;
        Some([text, STRIPE[1].1, STRIPE[2].1])
    }) else {
        return;
    };
    let files = [0, 1, 2].map(|at| (STRIPE[at].0, texts[at]));
    match Definition::compile("fuzzed", &files) {
        Ok(definition) => read(&definition, br#"{"data":[{"id":"a"}],"has_more":true}"#),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let file = files.iter().find(|(name, _)| *name == problem.file);
                let (_, text) = file.expect("a problem is in one of the files");
                let lines = text.matches('\n').count() + 1;
                assert!((1..=lines).contains(&problem.line), "{problem}");
                assert!(!problem.message.is_empty(), "{problem}");
            }
        }
    }
}

/// Any answer of a provider.
pub(super) fn page(data: &[u8]) {
    static DEFINITION: LazyLock<Definition> = LazyLock::new(|| {
        Definition::compile("stripe", &STRIPE).expect("the built-in definition holds")
    });
    read(&DEFINITION, data);
}

fn read(definition: &Definition, body: &[u8]) {
    let answer = Answer::without_links(body);
    let header = |name: &str| (name != "Date").then_some("120");
    answers(definition.error(429, header, body));
    answers(definition.is_failure(200, body));
    for collection in &definition.collections {
        answers(collection.parse_one(body));
        answers(collection.get("an/id?", None));
        let Ok(page) = collection.parse_page(&Listing::default(), &answer) else {
            continue;
        };
        for row in &page.records {
            answers(collection.embedded(row));
        }
        if let Some(cursor) = &page.next {
            answers(collection.resume(cursor));
            let listing = Listing {
                parent: Some(Above::of("a/b")),
                created_from: Some(Timestamp::default()),
                created_until: None,
                changed_from: Some(Timestamp::default()),
                cursor: Some(cursor),
                page_size: Some(1),
            };
            answers(collection.list(&listing));
        }
    }
    for feed in &definition.feeds {
        let Ok(page) = feed.parse_page(None, &answer) else {
            continue;
        };
        for event in &page.events {
            answers(definition.route(&feed.name, event));
        }
        answers(feed.list(Timestamp::default(), None, page.next.as_ref()));
    }
}
