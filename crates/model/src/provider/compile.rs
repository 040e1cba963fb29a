//! Compiling: from the files' shapes to a definition that holds together.

mod collections;
mod graphql;
mod provider;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Spanned;

use super::Definition;
use super::format::{CollectionFile, FieldsFile, ProviderFile};
use super::problem::{Problem, Source};
use super::syntax::Template;

const PROVIDER: &str = "provider.toml";
const COLLECTIONS: &str = "collections.toml";
const FIELDS: &str = "fields.toml";

type CollectionsFile = BTreeMap<Spanned<String>, CollectionFile>;

pub(super) fn compile(name: &str, files: &[(&str, &str)]) -> Result<Definition, Vec<Problem>> {
    let mut problems = strangers(name, files);
    let provider = Source::of(PROVIDER, files);
    let read: (Option<ProviderFile>, _, _) = (
        keep(provider.read(), &mut problems),
        read_parts::<CollectionsFile>(COLLECTIONS, files, &mut problems),
        read_parts::<FieldsFile>(FIELDS, files, &mut problems),
    );
    let (Some(provider_file), Some(collections), Some(fields)) = read else {
        return Err(problems);
    };
    let mut at = Checker {
        source: provider,
        problems: &mut problems,
    };
    let mut definition = provider::definition(name, &provider_file, &mut at);
    for (source, file) in &collections {
        at.source = *source;
        collections::add_collections(&mut definition, &provider_file, file, &mut at);
    }
    for (source, file) in &fields {
        at.source = *source;
        collections::add_fields(&mut definition.collections, file, &mut at);
    }
    if problems.is_empty() {
        Ok(definition)
    } else {
        Err(problems)
    }
}

/// Reads a file and its parts: `collections.toml`, then such as `collections.billing.toml` by name.
fn read_parts<'a, T: DeserializeOwned>(
    file: &str,
    files: &[(&'a str, &'a str)],
    problems: &mut Vec<Problem>,
) -> Option<Vec<(Source<'a>, T)>> {
    let mut parts: Vec<Source<'_>> = files
        .iter()
        .filter(|(name, _)| is_part_of(file, name))
        .map(|(file, text)| Source { file, text })
        .collect();
    parts.sort_by_key(|part| (part.file != file, part.file));
    let read = parts.into_iter().map(|part| (part, part.read()));
    let read: Vec<_> = read
        .map(|(part, read)| Some((part, keep(read, problems)?)))
        .collect();
    read.into_iter().collect()
}

fn is_part_of(file: &str, name: &str) -> bool {
    let stem = file.trim_end_matches("toml");
    let part = name
        .strip_prefix(stem)
        .and_then(|part| part.strip_suffix(".toml"));
    name == file || part.is_some_and(|part| !part.is_empty() && !part.contains('.'))
}

/// Problems with the definition's name and the names of its files.
fn strangers(name: &str, files: &[(&str, &str)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |file, message| problems.push(Source { file, text: "" }.problem(0..0, message));
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        add(
            PROVIDER,
            "a provider's name has lower-case letters, digits and underscores only",
        );
    }
    for (file, _) in files {
        if *file != PROVIDER && !is_part_of(COLLECTIONS, file) && !is_part_of(FIELDS, file) {
            add(
                file,
                "not a file of a definition: those are provider.toml, collections.toml, fields.toml \
                 and parts of the latter two, such as collections.billing.toml",
            );
        }
    }
    for needed in [PROVIDER, COLLECTIONS] {
        if !files.iter().any(|(file, _)| *file == needed) {
            add(needed, "the file is missing");
        }
    }
    problems
}

fn keep<T>(read: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

/// Collects the problems of one file.
struct Checker<'a> {
    source: Source<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn problem<T>(&mut self, place: &Spanned<T>, message: impl Into<String>) {
        self.problems
            .push(self.source.problem(place.span(), message));
    }

    /// A template that is a path: begins with a slash and has exactly these variables.
    fn path(&mut self, template: &Spanned<Template>, variables: &[&str]) {
        let text = template.get_ref();
        if !text.to_string().starts_with('/') {
            self.problem(
                template,
                "a path begins with `/`; it is put behind the base URL",
            );
        }
        if !text.to_string().chars().all(|c| c.is_ascii_graphic()) {
            self.problem(
                template,
                "a path is written as in a URL: percent-encoded, without spaces",
            );
        }
        for (name, optional) in text.variables() {
            let word = name.split('.').next().unwrap_or_default();
            let is_known =
                variables.contains(&name) || (word == "parent" && variables.contains(&word));
            if optional || !is_known {
                self.problem(template, format!("there is no variable {{{name}}} here"));
            }
        }
        for needed in variables {
            if !text
                .variables()
                .any(|(name, _)| name.split('.').next() == Some(needed))
            {
                self.problem(template, format!("the variable {{{needed}}} is missing"));
            }
        }
    }
}

/// The entries of a table in the order of the file.
fn in_file_order<T>(table: &BTreeMap<Spanned<String>, T>) -> Vec<(&Spanned<String>, &T)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
