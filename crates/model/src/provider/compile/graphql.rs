//! GraphQL: documents that the collections of a provider share, and what each of them puts in.
//!
//! Lists are connections, as Relay's specification has them (`nodes`, `pageInfo`): they need to be told
//! nowhere. The parameters of a list (`first`, `after` and those of times) are variables of its document.

use toml::Spanned;

use super::super::collection::Get;
use super::super::format::{
    CollectionFile, GraphqlFile, PageNext, ProviderFile, SelectionFile, SizeFile, TimeFile,
};
use super::super::list::List;
use super::super::request::Query;
use super::super::syntax::{Template, is_name};
use super::Checker;
use super::collections::Reads;
use crate::json::Path;

/// What stands in a document for what a collection puts in.
const PLACES: [&str; 3] = ["{root}", "{one}", "{fields}"];
/// Variables of documents, with what gives them their values.
const FIRST: &str = "first";
const AFTER: &str = "after";
const ID: &str = "id";

/// Compiles the reads of a collection; `None` where something is missing, which is told.
pub(super) fn reads(
    selection: &Spanned<SelectionFile>,
    file: &CollectionFile,
    provider: &ProviderFile,
    at: &mut Checker<'_>,
) -> Option<Reads> {
    let Some(graphql) = &provider.graphql else {
        at.problem(selection, "provider.toml has no [graphql]");
        return None;
    };
    let chosen = selection.get_ref();
    let words = [Some(&chosen.root), chosen.one.as_ref()];
    if let Some(word) = words.into_iter().flatten().find(|word| !is_name(word)) {
        at.problem(selection, format!("{word:?} is not the name of a field"));
        return None;
    }
    let updated = file.updated.as_ref();
    let from = updated.and_then(|updated| updated.from.as_deref());
    let list = |document: &Spanned<String>, changed: Option<&TimeFile>, at: &mut Checker<'_>| {
        let mut variables = vec![FIRST, AFTER];
        variables.extend(changed.and(from));
        let query = query(graphql, document, chosen, &variables, at)?;
        connection(graphql, query, &chosen.root, provider, changed)
    };
    let changed = match (&file.follow, &graphql.changed) {
        (Some(follow), None) => {
            at.problem(
                follow,
                "[graphql] has no `changed`, the document that lists what changed",
            );
            None
        }
        (Some(_), Some(document)) => list(document, updated, at),
        (None, _) => None,
    };
    let get = match (&chosen.one, &graphql.one) {
        (Some(_), None) => {
            at.problem(
                selection,
                "[graphql] has no `one`, the document that reads one record",
            );
            None
        }
        (Some(one), Some(document)) => {
            let query = query(graphql, document, chosen, &[ID], at)?;
            let take = Path::parse(&format!("data.{one}")).ok()?;
            Some(Get::Query { query, take })
        }
        (None, _) => None,
    };
    Some(Reads {
        lists: vec![list(&graphql.list, None, at)?],
        changed,
        get,
    })
}

/// A request with a document that takes nothing.
pub(super) fn plain(graphql: &GraphqlFile, document: &str) -> Query {
    Query::new(graphql.path.get_ref().to_string(), document, document, &[])
}

/// A document with what the collection puts in. Its variables are those given, and no others.
fn query(
    graphql: &GraphqlFile,
    document: &Spanned<String>,
    chosen: &SelectionFile,
    variables: &[&str],
    at: &mut Checker<'_>,
) -> Option<Query> {
    let text = document.get_ref();
    for variable in variables {
        if !text.contains(&format!("${variable}")) {
            at.problem(
                document,
                format!("the document has no variable ${variable}"),
            );
            return None;
        }
    }
    let with = |fields: &str| {
        let one = chosen.one.as_deref().unwrap_or_default();
        let [root_at, one_at, fields_at] = PLACES;
        let filled = text.replace(root_at, &chosen.root);
        let filled = filled.replace(one_at, one).replace(fields_at, fields);
        filled.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (document, in_words) = (with(&chosen.fields), with("…"));
    let path = graphql.path.get_ref().to_string();
    Some(Query::new(path, &document, &in_words, variables))
}

fn connection(
    graphql: &GraphqlFile,
    query: Query,
    root: &str,
    provider: &ProviderFile,
    changed: Option<&TimeFile>,
) -> Option<List> {
    let path = |below: &str| Path::parse(&format!("data.{root}.{below}")).ok();
    let max = provider.page.size.as_ref().map(|size| size.get_ref().max);
    Some(List {
        template: Template::parse(&graphql.path.get_ref().to_string()).ok()?,
        query: Some(query),
        records: path("nodes")?,
        order: provider.page.order,
        size: max.map(|max| SizeFile {
            send: FIRST.to_owned(),
            max,
        }),
        next: PageNext::Token {
            send: AFTER.to_owned(),
            take: path("pageInfo.endCursor")?,
            more: Some(path("pageInfo.hasNextPage")?),
        },
        created: None,
        changed: changed.cloned(),
    })
}
