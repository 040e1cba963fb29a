//! The request plan: what a definition will ask the provider for, in words.

use std::fmt::Display;
use std::time::Duration;

use super::Definition;
use super::collection::{Collection, Get};
use super::format::{Order, PageNext};
use super::list::{List, Listing, PageCursor};
use crate::Timestamp;

impl Definition {
    /// The plan, line by line: the limits, the checks, the feeds, then each collection.
    pub fn plan(&self) -> Vec<String> {
        let limits = &self.limits;
        let (requests, concurrent) = (limits.requests, limits.concurrent);
        let mut lines = vec![format!("{} ({}) at {}", self.title, self.name, self.base)];
        lines.push(format!(
            "  at most {requests} requests per {}, {concurrent} at once",
            span(limits.per)
        ));
        lines.extend(
            self.checks
                .iter()
                .map(|check| format!("  check   {}", check.request)),
        );
        for feed in &self.feeds {
            let request = feed.list(Timestamp::from_seconds(0) + feed.overlap, None, None);
            lines.push(format!("  feed    {}: {request}", feed.name));
            lines.push(format!(
                "          kept {}, overlap {}",
                span(feed.retention),
                span(feed.overlap)
            ));
        }
        for collection in &self.collections {
            lines.push(String::new());
            lines.extend(self.collection_plan(collection));
        }
        lines
    }

    fn collection_plan(&self, collection: &Collection) -> Vec<String> {
        let mut lines = vec![format!("{} ({})", collection.id, collection.title)];
        let listing = Listing {
            ..Listing::default()
        };
        for (number, list) in collection.lists.iter().enumerate() {
            let order = match list.order {
                Order::NewestFirst => "newest first",
                Order::OldestFirst => "oldest first",
            };
            let first = PageCursor::List { number, at: None };
            let listing = Listing {
                cursor: Some(&first),
                ..listing
            };
            lines.push(format!("  list    {}, {order}", list.in_words(&listing)));
        }
        if let Some(parent) = &collection.parent {
            lines.push(match &parent.embedded {
                Some(path) => format!(
                    "          once for each {} that does not hold all of them at {path}",
                    parent.collection
                ),
                None => format!("          once for each {}", parent.collection),
            });
            if !parent.touched_by.is_empty() {
                lines.push(format!(
                    "          again after {}",
                    joined(&parent.touched_by)
                ));
            }
        }
        if !collection.filters_created() {
            lines.push("          cannot be limited by creation time".to_owned());
        }
        let cursor = PageCursor::After {
            id: "LAST".to_owned(),
            created: Some(Timestamp::from_seconds(0)),
        };
        let is_by_record = |list: &List| matches!(list.next, PageNext::AfterLast { .. });
        if !collection.lists.iter().all(is_by_record) || collection.resume(&cursor).is_none() {
            lines.push("          begins anew when a page cursor is lost".to_owned());
        }
        lines.extend(match &collection.get {
            Some(Get::At(template)) => Some(format!("  get     GET {}", template.in_words())),
            Some(Get::Query { query, .. }) => {
                let mut request = query.in_words();
                request.push("id", "ID");
                Some(format!("  get     {request}"))
            }
            Some(Get::Link(path)) => Some(format!("  get     where the record says at {path}")),
            None => None,
        });
        for nested in &collection.nested {
            lines.push(format!(
                "  nested  {} from GET {}",
                nested.path, nested.list.template
            ));
        }
        lines.extend(changes(collection));
        lines
    }
}

fn changes(collection: &Collection) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(events) = &collection.events {
        let kinds = joined(&events.kinds);
        let mut line = format!("  changes {} events of {kinds}", events.feed);
        if !events.except.is_empty() {
            line.push_str(&format!(" except {}", joined(&events.except)));
        }
        if !events.refetch.is_empty() {
            let touching: Vec<_> = events.refetch.iter().map(|(pattern, _)| pattern).collect();
            line.push_str(&format!("; read again after {}", joined(&touching)));
        }
        lines.push(line);
    }
    if let Some(follow) = &collection.follow {
        let listing = Listing {
            changed_from: Some(Timestamp::from_seconds(0)),
            ..Listing::default()
        };
        lines.push(format!(
            "  changes {} every {}, overlap {}",
            follow.list.in_words(&listing),
            span(follow.every),
            span(follow.overlap)
        ));
    }
    if let Some(relist) = &collection.relist {
        let every = span(relist.every);
        lines.push(match relist.window.map(span) {
            Some(window) => format!("  changes list the last {window} again every {every}"),
            None => format!("  changes list all again every {every}"),
        });
    }
    if lines.is_empty() {
        lines.push("  changes with its parent".to_owned());
    }
    lines
}

/// A span in the greatest unit that says it exactly, as definitions write it.
fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let unit = units
        .into_iter()
        .find(|(_, length)| millis.is_multiple_of(*length));
    let (unit, length) = unit.unwrap_or(("ms", 1));
    format!("{}{unit}", millis / length)
}

fn joined<T: Display>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
