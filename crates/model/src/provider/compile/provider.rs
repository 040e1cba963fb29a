//! What all collections share: `provider.toml`.

use std::sync::Arc;

use toml::Spanned;

use super::super::credential::{Auth, CredentialField, CredentialKind};
use super::super::feed::Feed;
use super::super::format::{AuthFile, CredentialFile, FeedFile, PageNext, ProviderFile, TimeFile};
use super::super::list::List;
use super::super::request::Request;
use super::super::syntax::Template;
use super::super::{Check, Definition, Limits};
use super::{Checker, graphql, in_file_order};
use crate::json::Path;

/// The definition without its collections.
pub(super) fn definition(name: &str, file: &ProviderFile, at: &mut Checker<'_>) -> Definition {
    let kinds = in_file_order(&file.credentials).into_iter();
    let credentials: Vec<CredentialKind> =
        kinds.map(|(id, kind)| credential(id, kind, at)).collect();
    variables(&file.base, &credentials, false, at);
    let mut names: Vec<&str> = Vec::new();
    for (id, kind) in in_file_order(&file.credentials) {
        unique(id, &kind.aliases, &mut names, at);
    }
    let base = file.base.get_ref().to_string();
    if !["https://", "http://", "{"]
        .iter()
        .any(|start| base.starts_with(start))
    {
        at.problem(
            &file.base,
            "a base URL begins with https:// or with a variable",
        );
    }
    for (name, template) in &file.headers {
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            at.problem(template, format!("{name:?} is not the name of a header"));
        }
        variables(template, &credentials, file.version.is_some(), at);
    }
    for number in [&file.limits.requests, &file.limits.concurrent] {
        if *number.get_ref() == 0 {
            at.problem(number, "must be at least 1");
        }
    }
    if let Some(size) = file
        .page
        .size
        .as_ref()
        .filter(|size| size.get_ref().max == 0)
    {
        at.problem(size, "a page has at least 1 record");
    }
    let pages_itself = matches!(
        file.page.next.get_ref(),
        PageNext::Link | PageNext::Connection
    );
    if file.page.records.is_none() && !pages_itself {
        at.problem(
            &file.page.next,
            "without `records` an answer is the array itself, and only `link` can page it",
        );
    }
    if let Some(graphql) = &file.graphql {
        at.path(&graphql.path, &[]);
    }
    let headers = file
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.get_ref().clone()));
    Definition {
        name: name.to_owned(),
        title: file.title.clone(),
        docs: file.docs.clone(),
        version: file.version.clone(),
        limits: Limits {
            requests: *file.limits.requests.get_ref(),
            per: file.limits.per.0,
            concurrent: *file.limits.concurrent.get_ref(),
        },
        checks: checks(file, at),
        collections: Vec::new(),
        feeds: in_file_order(&file.feeds)
            .into_iter()
            .map(|(name, feed)| compile_feed(name, feed, file, at))
            .collect(),
        base: file.base.get_ref().clone(),
        headers: headers.collect(),
        errors: Arc::clone(&file.errors),
        limits_left: file.limits.left.clone(),
        credentials,
    }
}

/// Whether it is the headers of an answer that tell of the next page.
pub(super) fn by_link(file: &ProviderFile) -> bool {
    matches!(file.page.next.get_ref(), PageNext::Link)
}

/// A list at this address, paged as the provider's lists are.
pub(super) fn list(
    template: &Spanned<Template>,
    file: &ProviderFile,
    created: Option<&TimeFile>,
) -> List {
    List {
        template: template.get_ref().clone(),
        query: None,
        records: file.page.records.clone().unwrap_or_else(Path::top),
        order: file.page.order,
        size: file.page.size.as_ref().map(|size| size.get_ref().clone()),
        next: file.page.next.get_ref().clone(),
        created: created.cloned(),
        changed: None,
    }
}

fn credential(id: &Spanned<String>, file: &CredentialFile, at: &mut Checker<'_>) -> CredentialKind {
    let fields = in_file_order(&file.fields)
        .into_iter()
        .map(|(name, field)| CredentialField {
            name: name.get_ref().clone(),
            title: field.title.clone(),
            secret: field.secret,
            optional: field.optional,
            aliases: field.aliases.clone(),
        });
    let fields: Vec<CredentialField> = fields.collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, field) in in_file_order(&file.fields) {
        unique(name, &field.aliases, &mut names, at);
    }
    let auth = Auth::from_file(file.auth.get_ref().clone());
    let needed: Vec<&str> = match file.auth.get_ref() {
        AuthFile::Bearer(field) => vec![field],
        AuthFile::Header { value, .. } => value.variables().map(|(name, _)| name).collect(),
    };
    for name in needed {
        if !fields
            .iter()
            .any(|field| field.name == name && !field.optional)
        {
            at.problem(
                &file.auth,
                format!("the credential has no field {name} that is always there"),
            );
        }
    }
    CredentialKind {
        id: id.get_ref().clone(),
        title: file.title.clone(),
        aliases: file.aliases.clone(),
        fields,
        auth,
    }
}

/// Checks that no name stands for two things.
fn unique<'f>(
    name: &'f Spanned<String>,
    aliases: &'f [String],
    taken: &mut Vec<&'f str>,
    at: &mut Checker<'_>,
) {
    for text in std::iter::once(name.get_ref()).chain(aliases) {
        if taken.contains(&text.as_str()) {
            at.problem(name, format!("the name {text} is used twice"));
        }
        taken.push(text);
    }
}

/// Checks that the variables of a header or the base URL are fields of the credentials: of all of
/// them, or of one at least where they may be absent.
fn variables(
    template: &Spanned<Template>,
    kinds: &[CredentialKind],
    versioned: bool,
    at: &mut Checker<'_>,
) {
    for (name, optional) in template.get_ref().variables() {
        if name == "version" && versioned {
            continue;
        }
        let always = |kind: &CredentialKind| {
            kind.fields
                .iter()
                .any(|field| field.name == name && !field.optional)
        };
        let sometimes = |kind: &CredentialKind| kind.fields.iter().any(|field| field.name == name);
        if optional && !kinds.iter().any(sometimes) {
            at.problem(template, format!("no credential has a field {name}"));
        }
        if !optional && !kinds.iter().all(always) {
            at.problem(
                template,
                format!("not every credential has a field {name}; `{{{name}?}}` may be absent"),
            );
        }
    }
}

fn checks(file: &ProviderFile, at: &mut Checker<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for check in &file.check {
        let request = match (&check.get, &check.query, &file.graphql) {
            (Some(get), None, _) => {
                at.path(get, &[]);
                Request::get(get.get_ref().to_string())
            }
            (None, Some(query), Some(graphql)) => {
                graphql::plain(graphql, query.get_ref()).request()
            }
            _ => {
                at.problem(
                    &file.base,
                    "a check needs `get`, or `query` where there is [graphql]",
                );
                continue;
            }
        };
        checks.push(Check {
            request,
            account: check.account.clone(),
            livemode: check.livemode.clone(),
        });
    }
    checks
}

fn compile_feed(
    name: &Spanned<String>,
    feed: &FeedFile,
    file: &ProviderFile,
    at: &mut Checker<'_>,
) -> Feed {
    at.path(&feed.list, &[]);
    if feed.at.from.is_none() {
        at.problem(
            &feed.list,
            "a feed is read from a time on: its `at` needs `from`",
        );
    }
    Feed {
        name: name.get_ref().clone(),
        retention: feed.retention.0,
        overlap: feed.overlap.0,
        list: list(&feed.list, file, Some(&feed.at)),
        id: feed.id.clone(),
        kind: feed.kind.clone(),
        object: feed.object.clone(),
        version: feed.version.clone(),
        at: feed.at.clone(),
    }
}
