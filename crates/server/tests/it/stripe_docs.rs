//! `docs/stripe.md` lists what the definition declares.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace_engine::Providers;
use headrace_model::provider::Collection;

#[test]
fn every_collection_has_its_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/stripe.md");
    let document = std::fs::read_to_string(path).unwrap();
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    let collections = &providers.get("stripe").unwrap().definition.collections;
    // What listing again costs is in a table of three columns.
    let is_row = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() == 3;
    assert_eq!(document.lines().filter(is_row).count(), collections.len());
    for collection in collections {
        let row = row(collection);
        let has = document.lines().any(|line| line == row);
        assert!(has, "docs/stripe.md lacks the row\n{row}");
    }
}

fn row(collection: &Collection) -> String {
    let mut changes = Vec::new();
    if collection.events.is_some() {
        changes.push("events".to_owned());
    }
    if let Some(parent) = &collection.parent {
        changes.push(format!("below `{}`", parent.collection));
    }
    if let Some(relist) = collection.relist {
        let window = relist
            .window
            .map(|window| format!(" of the last {}", span(window)));
        changes.push(format!(
            "every {}{}",
            span(relist.every),
            window.unwrap_or_default()
        ));
    }
    let (name, title) = (&collection.name, &collection.title);
    let changes = changes.join(", ");
    let judges = match collection.judged_by.as_slice() {
        [] => "unverified".to_owned(),
        judges => judges.join(", "),
    };
    format!("| `{name}` | {title} | {changes} | {judges} |")
}

fn span(span: Duration) -> String {
    let hours = span.as_secs() / 3_600;
    match hours % 24 {
        0 => format!("{}d", hours / 24),
        _ => format!("{hours}h"),
    }
}
