//! What is wrong with a definition, and where.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in a definition, at the place where it is to be corrected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file's name, such as `collections.toml`.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The dotted key, such as `customer.list`; empty when the mistake has none.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// One file of a definition, and where its keys are.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// The file with this name. One that is not there is empty.
    pub(super) fn of(file: &'a str, files: &[(&str, &'a str)]) -> Self {
        let found = files.iter().find(|(name, _)| *name == file);
        let text = found.map_or("", |(_, text)| text);
        Self { file, text }
    }

    /// Reads the file; the first thing that does not fit its shape is the problem.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Problem> {
        toml::from_str(self.text)
            .map_err(|error| self.problem(error.span().unwrap_or(0..0), error.message()))
    }

    /// The problem with what is written at `span`.
    pub(super) fn problem(self, span: Range<usize>, message: impl Into<String>) -> Problem {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = before.filter(|&&byte| byte == b'\n').count() + 1;
        Problem {
            file: self.file.to_owned(),
            line,
            key: self.key_at(&span),
            message: message.into(),
        }
    }

    fn key_at(self, span: &Range<usize>) -> String {
        let (table, _) = DeTable::parse_recoverable(self.text);
        let mut closest = None;
        find_in_table(table.get_ref(), span, &mut Vec::new(), &mut closest);
        closest.map(|(_, key)| key).unwrap_or_default()
    }
}

/// The key whose name or value holds the span most closely, with the length of that place.
type Closest = Option<(usize, String)>;

fn find_in_table(
    table: &DeTable<'_>,
    span: &Range<usize>,
    above: &mut Vec<String>,
    closest: &mut Closest,
) {
    for (key, value) in table {
        above.push(key.get_ref().to_string());
        offer(key.span(), span, above, closest);
        find_in_value(value, span, above, closest);
        above.pop();
    }
}

fn find_in_value(
    value: &Spanned<DeValue<'_>>,
    span: &Range<usize>,
    above: &mut Vec<String>,
    closest: &mut Closest,
) {
    offer(value.span(), span, above, closest);
    match value.get_ref() {
        DeValue::Table(table) => find_in_table(table, span, above, closest),
        DeValue::Array(items) => items
            .iter()
            .for_each(|item| find_in_value(item, span, above, closest)),
        _ => {}
    }
}

fn offer(place: Range<usize>, span: &Range<usize>, key: &[String], closest: &mut Closest) {
    let holds = place.start <= span.start && span.end <= place.end && span.end > 0;
    if holds
        && closest
            .as_ref()
            .is_none_or(|(length, _)| place.len() <= *length)
    {
        *closest = Some((place.len(), key.join(".")));
    }
}
