//! The collections: `collections.toml`, `fields.toml` and their parts.

use toml::Spanned;

use super::super::Definition;
use super::super::collection::{BelongsTo, Collection, Field, Follow, Get, Parent, Relist};
use super::super::feed::Events;
use super::super::format::{
    BelongsFile, CollectionFile, EventsFile, FieldsFile, FollowFile, GetFile, PageNext, ParentFile,
    ProviderFile, RelistFile,
};
use super::super::list::List;
use super::super::nested::Nested;
use super::super::syntax::{Template, is_dotted_name};
use super::provider::{by_link, list};
use super::{Checker, CollectionsFile, graphql, in_file_order};
use crate::json::{MAX_VOLATILE, Path};

const NO_HEADERS: &str = "a list inside a record comes without headers: where pages are found by `link`, nothing tells \
     whether it is whole";

/// Adds the collections of a file in its order, after those of the files before it.
pub(super) fn add_collections(
    definition: &mut Definition,
    provider: &ProviderFile,
    file: &CollectionsFile,
    at: &mut Checker<'_>,
) {
    for (name, file) in in_file_order(file) {
        if definition.collection(name.get_ref()).is_some() {
            at.problem(name, "another file has a collection of this name");
        }
        let above = &definition.collections;
        let collection = collection(definition, provider, name, file, above, at);
        definition.collections.push(collection);
    }
}

/// Adds the declared fields.
pub(super) fn add_fields(collections: &mut [Collection], file: &FieldsFile, at: &mut Checker<'_>) {
    for (name, fields) in in_file_order(file) {
        let Some(collection) = collections
            .iter_mut()
            .find(|collection| collection.name == *name.get_ref())
        else {
            at.problem(name, "there is no such collection");
            continue;
        };
        let id = collection.id_path.to_string();
        for (kind, name) in fields
            .iter()
            .flat_map(|(kind, names)| names.iter().map(move |name| (*kind, name)))
        {
            let declared = |field: &Field| field.name == *name.get_ref();
            if collection.fields.iter().any(declared) {
                at.problem(name, "this field is declared twice");
            }
            collection.fields.push(Field {
                name: name.get_ref().clone(),
                kind,
                primary_key: *name.get_ref() == id,
            });
        }
    }
}

fn collection(
    definition: &Definition,
    provider: &ProviderFile,
    name: &Spanned<String>,
    file: &CollectionFile,
    above: &[Collection],
    at: &mut Checker<'_>,
) -> Collection {
    let reads = compile_reads(name, file, provider, at);
    let name_text = name.get_ref();
    if !is_dotted_name(name_text) {
        at.problem(
            name,
            "a collection's name has letters, digits and underscores only, and dots between them",
        );
    }
    let created = file
        .created
        .clone()
        .or_else(|| provider.record.created.clone());
    let kind = file.kind.clone().unwrap_or_else(|| name_text.clone());
    let collection = Collection {
        id: format!("{}:{name_text}", definition.name),
        name: name_text.clone(),
        title: file.title.clone(),
        fields: Vec::new(),
        events: file
            .events
            .as_ref()
            .map(|events| compile_events(definition, provider, file, events, at)),
        parent: file
            .parent
            .as_ref()
            .map(|parent| compile_parent(parent, provider, above, at)),
        belongs_to: file
            .belongs_to
            .as_ref()
            .map(|to| compile_belongs_to(to, above, at)),
        relist: file
            .relist
            .as_ref()
            .map(|relist| compile_relist(relist, file, provider, at)),
        immutable: file.immutable,
        judged_by: file.judged_by.clone(),
        follow: file
            .follow
            .as_ref()
            .zip(reads.changed)
            .map(|(follow, changed)| compile_follow(follow, file, changed, at)),
        lists: reads.lists,
        get: reads.get,
        without: file.without.clone(),
        numbered: provider.page.numbered,
        id_path: file
            .id
            .clone()
            .unwrap_or_else(|| provider.record.id.clone()),
        deleted: provider.record.deleted.clone(),
        updated: file.updated.clone(),
        version: file.version.clone(),
        nested: nested(file, provider, at),
        volatile: volatile(file, at),
        kind: provider.record.kind.clone().map(|path| (path, kind)),
        created,
    };
    if !collection.realtime() && collection.relist.is_none() && collection.follow.is_none() {
        at.problem(
            name,
            "nothing tells of its changes: it needs events, a parent's touched_by, follow or relist",
        );
    }
    collection
}

fn compile_events(
    definition: &Definition,
    provider: &ProviderFile,
    file: &CollectionFile,
    events: &EventsFile,
    at: &mut Checker<'_>,
) -> Events {
    let name = events.feed.get_ref();
    if definition.feed(name).is_none() {
        at.problem(&events.feed, format!("there is no feed {name}"));
    }
    if file.get.is_none() && !events.whole {
        at.problem(
            &events.feed,
            "a collection with events needs get: some events' objects cannot be used as they are",
        );
    }
    if let Some(GetFile::Link(_)) = file.get.as_ref().map(Spanned::get_ref) {
        at.problem(
            &events.feed,
            "a collection with events needs get with the record's id: of a record that was never seen no link is known",
        );
    }
    let feed = provider
        .feeds
        .iter()
        .find(|(feed, _)| feed.get_ref() == name);
    let usual = || {
        feed.map(|(_, feed)| feed.deleted.clone())
            .unwrap_or_default()
    };
    Events {
        feed: name.clone(),
        kinds: events.kinds.clone(),
        except: events.except.clone(),
        deleted: events.deleted.clone().unwrap_or_else(usual),
        refetch: events.refetch.clone().into_iter().collect(),
        whole: events.whole,
    }
}

fn compile_parent(
    parent: &ParentFile,
    provider: &ProviderFile,
    above: &[Collection],
    at: &mut Checker<'_>,
) -> Parent {
    let name = parent.collection.get_ref();
    let found = above.iter().find(|collection| collection.name == *name);
    if found.is_none() {
        at.problem(
            &parent.collection,
            format!("no collection {name} is declared before this one"),
        );
    }
    let has_events = found.is_none_or(|found| found.events.is_some());
    if let Some(touched_by) = parent.touched_by.as_ref().filter(|_| !has_events) {
        at.problem(touched_by, format!("the parent {name} has no events"));
    }
    if let Some(embedded) = parent.embedded.as_ref().filter(|_| by_link(provider)) {
        at.problem(embedded, NO_HEADERS);
    }
    Parent {
        collection: name.clone(),
        id_path: parent.id.clone(),
        embedded: parent.embedded.as_ref().map(|path| path.get_ref().clone()),
        touched_by: parent
            .touched_by
            .as_ref()
            .map(|patterns| patterns.get_ref().clone())
            .unwrap_or_default(),
    }
}

fn compile_relist(
    relist: &RelistFile,
    file: &CollectionFile,
    provider: &ProviderFile,
    at: &mut Checker<'_>,
) -> Relist {
    let created = file.created.as_ref().or(provider.record.created.as_ref());
    let filters = created.is_some_and(|created| created.from.is_some());
    if let Some(window) = relist.window.as_ref().filter(|_| !filters) {
        at.problem(
            window,
            "the list cannot be limited by creation time: `created` has no `from`",
        );
    }
    Relist {
        every: relist.every.0,
        window: relist.window.as_ref().map(|window| window.get_ref().0),
    }
}

/// Where the records of a collection are read.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) lists: Vec<List>,
    /// The list of what changed, where it is followed.
    pub(super) changed: Option<List>,
    pub(super) get: Option<Get>,
}

fn compile_reads(
    name: &Spanned<String>,
    file: &CollectionFile,
    provider: &ProviderFile,
    at: &mut Checker<'_>,
) -> Reads {
    let by_connection = matches!(provider.page.next.get_ref(), PageNext::Connection);
    match (&file.list, &file.graphql) {
        (Some(_), None) if by_connection => {
            at.problem(
                name,
                "where lists are connections it needs `graphql`, not `list`",
            );
            Reads::default()
        }
        (None, Some(selection)) if by_connection => {
            if file.get.is_some() || !file.and_list.is_empty() || file.parent.is_some() {
                at.problem(
                    selection,
                    "`graphql` takes the place of `get` and `and_list`, and lists no children of one parent",
                );
            }
            graphql::reads(selection, file, provider, at).unwrap_or_default()
        }
        (None, Some(selection)) => {
            at.problem(
                selection,
                "lists that are asked for so are paged by `next = \"connection\"`",
            );
            Reads::default()
        }
        (Some(first), None) => {
            let lists: Vec<&Spanned<Template>> =
                std::iter::once(first).chain(&file.and_list).collect();
            for list in &lists {
                at.path(list, parents(file));
            }
            let created = file.created.as_ref().or(provider.record.created.as_ref());
            let follow = file.follow.as_ref().map(Spanned::get_ref);
            let changed = follow.map(|follow| {
                let template = follow.list.as_ref().unwrap_or(first);
                List {
                    changed: file.updated.clone(),
                    ..list(template, provider, None)
                }
            });
            Reads {
                lists: lists
                    .into_iter()
                    .map(|template| list(template, provider, created))
                    .collect(),
                changed,
                get: file.get.as_ref().map(|get| compile_get(get, at)),
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            at.problem(name, "it needs `list` or `graphql`, and not both");
            Reads::default()
        }
    }
}

fn compile_belongs_to(to: &BelongsFile, above: &[Collection], at: &mut Checker<'_>) -> BelongsTo {
    let name = to.collection.get_ref();
    match above.iter().find(|collection| collection.name == *name) {
        None => at.problem(
            &to.collection,
            format!("no collection {name} is declared before this one"),
        ),
        Some(found) if !found.reads_by_id() => {
            at.problem(&to.collection, format!("{name} cannot be read by id"));
        }
        Some(_) => {}
    }
    BelongsTo {
        collection: name.clone(),
        id_path: to.id.clone(),
    }
}

fn compile_get(get: &Spanned<GetFile>, at: &mut Checker<'_>) -> Get {
    match get.get_ref() {
        GetFile::At(template) => {
            at.path(&Spanned::new(get.span(), template.clone()), &["id"]);
            Get::At(template.clone())
        }
        GetFile::Link(link) => Get::Link(link.clone()),
    }
}

fn compile_follow(
    follow: &Spanned<FollowFile>,
    file: &CollectionFile,
    list: List,
    at: &mut Checker<'_>,
) -> Follow {
    let place = follow;
    let follow = place.get_ref();
    if let Some(list) = &follow.list {
        at.path(list, parents(file));
    }
    if !file.and_list.is_empty() {
        at.problem(
            place,
            "a collection with `and_list` cannot be followed: changes would be looked for in one of its lists",
        );
    }
    match &file.updated {
        None => at.problem(place, "what changed is told by `updated`, which is missing"),
        Some(updated) if updated.from.is_none() && follow.list.is_none() => at.problem(
            place,
            "`updated` has no `from` to limit the list by: give a `list` that shows what changed last first",
        ),
        Some(_) => {}
    }
    Follow {
        every: follow.every.0,
        overlap: follow.overlap.0,
        list,
    }
}

fn parents(file: &CollectionFile) -> &'static [&'static str] {
    match file.parent {
        Some(_) => &["parent"],
        None => &[],
    }
}

fn nested(file: &CollectionFile, provider: &ProviderFile, at: &mut Checker<'_>) -> Vec<Nested> {
    let mut nested = Vec::new();
    for (path, template) in &file.nested {
        at.path(template, &["id"]);
        if by_link(provider) {
            at.problem(template, NO_HEADERS);
        }
        let path = path.clone();
        nested.push(Nested {
            path,
            list: list(template, provider, None),
        });
    }
    nested
}

fn volatile(file: &CollectionFile, at: &mut Checker<'_>) -> Vec<Path> {
    let Some(paths) = &file.volatile else {
        return Vec::new();
    };
    if paths.get_ref().len() > MAX_VOLATILE {
        at.problem(paths, format!("at most {MAX_VOLATILE} paths"));
    }
    paths.get_ref().iter().map(|path| path.0.clone()).collect()
}
