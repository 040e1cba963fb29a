//! The three small notations of a definition: templates, event patterns and spans.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::json::{self, Path};
use crate::time::parse_span;

/// Text with variables: `/customers/{id}`, `{version}`, or `{account?}` for one that may be absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Variable { name: String, optional: bool },
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push_text(&mut parts, before)?;
            let (name, after) = after.split_once('}').ok_or("`{` without a `}`")?;
            parts.push(variable(name)?);
            rest = after;
        }
        push_text(&mut parts, rest)?;
        Ok(Self { parts })
    }

    /// The variables as (name, whether it may be absent).
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, bool)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { name, optional } => Some((name.as_str(), *optional)),
            Part::Text(_) => None,
        })
    }

    /// The text with the variables put in as `value` writes them; `None` when one has no value.
    pub(super) fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable { name, .. } => out.push_str(&value(name)?),
            }
        }
        Some(out)
    }

    /// The text with the variables' names in capitals in their places.
    pub(super) fn in_words(&self) -> String {
        let filled = self.fill(|name| Some(name.to_uppercase()));
        filled.unwrap_or_default()
    }

    /// The text with the variables put in from a map, as they are.
    pub(super) fn fill_from(&self, values: &BTreeMap<String, String>) -> Option<String> {
        self.fill(|name| values.get(name).cloned())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Variable { name, optional } => {
                    let mark = if *optional { "?" } else { "" };
                    write!(f, "{{{name}{mark}}}")?;
                }
            }
        }
        Ok(())
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), &'static str> {
    if text.contains('}') {
        return Err("`}` without a `{`");
    }
    if text.chars().any(|c| c.is_control()) {
        return Err("a template has no control characters");
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn variable(text: &str) -> Result<Part, &'static str> {
    let optional = text.ends_with('?');
    let name = text.trim_end_matches('?');
    if !is_dotted_name(name) {
        return Err("a variable is a name in braces, such as {id}, {parent.name} or {account?}");
    }
    let name = name.to_owned();
    Ok(Part::Variable { name, optional })
}

/// Whether a text has letters, digits and underscores only, and dots between them.
pub(super) fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(is_name)
}

/// Whether a text has letters, digits and underscores only.
pub(super) fn is_name(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(is_of_name)
}

/// A pattern of event types: dotted segments, of which `*` stands for exactly one and a final `**`
/// for one or more. So `customer.*` does not match `customer.source.updated`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Pattern {
    text: String,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let last = text.split('.').count() - 1;
        let sound = text
            .split('.')
            .enumerate()
            .all(|(n, segment)| match segment {
                "*" => true,
                "**" => n == last,
                other => !other.is_empty() && !other.contains(['*', ' ']),
            });
        if !sound {
            return Err(
                "an event pattern is dotted segments, `*` for any one, a final `**` for any more",
            );
        }
        let text = text.to_owned();
        Ok(Self { text })
    }

    pub(super) fn matches(&self, kind: &str) -> bool {
        let mut kinds = kind.split('.');
        for segment in self.text.split('.') {
            let Some(kind) = kinds.next() else {
                return false;
            };
            match segment {
                "**" => return true,
                "*" => {}
                exact if exact == kind => {}
                _ => return false,
            }
        }
        kinds.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A span of time, written `500ms`, `30s`, `5m`, `4h` or `7d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let span = parse_span(text).filter(|span| !span.is_zero());
        span.map(Self)
            .ok_or("expected a span such as 500ms, 30s, 5m, 4h or 7d")
    }
}

/// Statuses of HTTP answers: one (`429`) or a class (`5xx`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status {
    from: u16,
    to: u16,
}

impl Status {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "expected a status such as 429 or a class such as 5xx";
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().map_err(|_| wrong)?;
            let from = class.checked_mul(100).ok_or(wrong)?;
            let to = from + 99;
            return if (1..=5).contains(&class) {
                Ok(Self { from, to })
            } else {
                Err(wrong)
            };
        }
        let status: u16 = text.parse().map_err(|_| wrong)?;
        let (from, to) = (status, status);
        if (100..=599).contains(&status) {
            Ok(Self { from, to })
        } else {
            Err(wrong)
        }
    }

    pub(super) fn holds(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

/// A path that may have a `*` for any member or element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wildcard(pub(super) Path);

impl Wildcard {
    fn parse(text: &str) -> Result<Self, json::BadPath> {
        Path::parse(text).map(Self)
    }
}

/// Deserialises a notation from its text, so that a mistake is reported at its place in the file.
macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

from_text!(Template, Pattern, Span, Status, Wildcard);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_and_print_back() {
        let template = Template::parse("/a/{id}?b={account?}").unwrap();
        assert_eq!(template.to_string(), "/a/{id}?b={account?}");
        assert_eq!(
            template.variables().collect::<Vec<_>>(),
            [("id", false), ("account", true)]
        );
        let filled = template.fill(|name| (name == "id").then(|| "1".to_owned()));
        assert_eq!(filled, None);
        assert_eq!(
            template.fill(|name| Some(name.to_owned())).unwrap(),
            "/a/id?b=account"
        );
        for bad in ["{", "}", "{}", "{a", "a}", "{a b}", "{?}", "{{a}}", "a\n"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_is_one_segment() {
        let pattern = |text| Pattern::parse(text).unwrap();
        assert!(pattern("customer.*").matches("customer.created"));
        assert!(!pattern("customer.*").matches("customer.source.created"));
        assert!(!pattern("customer.*").matches("customer"));
        assert!(!pattern("customer.*").matches("customers.created"));
        assert!(pattern("customer.**").matches("customer.source.created"));
        assert!(!pattern("customer.**").matches("customer"));
        assert!(pattern("**").matches("a"));
        assert!(!pattern("*.deleted").matches("customer.subscription.deleted"));
        for bad in ["", "a.", "a*", "**.a", "a b", "***"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_class() {
        assert!(Status::parse("5xx").unwrap().holds(503));
        assert!(!Status::parse("5xx").unwrap().holds(429));
        assert!(Status::parse("429").unwrap().holds(429));
        for bad in ["", "xx", "9xx", "42", "abc", "700", "65536xx"] {
            assert!(Status::parse(bad).is_err(), "{bad}");
        }
    }
}
