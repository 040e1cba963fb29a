//! Compiling: from the files' shapes to a definition that holds together.

mod collections;
mod provider;

use std::collections::BTreeMap;

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
    let [provider, collections, fields] =
        [PROVIDER, COLLECTIONS, FIELDS].map(|file| Source::of(file, files));
    let read: (
        Option<ProviderFile>,
        Option<CollectionsFile>,
        Option<FieldsFile>,
    ) = (
        keep(provider.read(), &mut problems),
        keep(collections.read(), &mut problems),
        keep(fields.read(), &mut problems),
    );
    let (Some(provider_file), Some(collections_file), Some(fields_file)) = read else {
        return Err(problems);
    };
    let mut at_provider = Checker {
        source: provider,
        problems: &mut problems,
    };
    let mut definition = provider::definition(name, &provider_file, &mut at_provider);
    let mut at_collections = Checker {
        source: collections,
        problems: &mut problems,
    };
    definition.collections = collections::collections(
        &definition,
        &provider_file,
        &collections_file,
        &mut at_collections,
    );
    let mut at_fields = Checker {
        source: fields,
        problems: &mut problems,
    };
    collections::add_fields(&mut definition.collections, &fields_file, &mut at_fields);
    if problems.is_empty() {
        Ok(definition)
    } else {
        Err(problems)
    }
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
        if ![PROVIDER, COLLECTIONS, FIELDS].contains(file) {
            add(
                file,
                "not a file of a definition: those are provider.toml, collections.toml and fields.toml",
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
            if optional || !variables.contains(&name) {
                self.problem(template, format!("there is no variable {{{name}}} here"));
            }
        }
        for needed in variables {
            if !text.variables().any(|(name, _)| name == *needed) {
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
