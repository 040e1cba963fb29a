//! The parameters of a list.

use std::collections::HashSet;

use super::collection::Collection;
use super::error::Error;
use super::expand;
use super::state::{EVENT_RETENTION, State};
use super::table::{Cursor, Page, Window};
use crate::form;

const DEFAULT_LIMIT: usize = 10;

/// A list as asked for, checked but for the cursor.
#[derive(Debug, Default)]
struct Query {
    limit: Option<usize>,
    starting_after: Option<String>,
    ending_before: Option<String>,
    from: Option<i64>,
    until: Option<i64>,
    /// Values wanted, by position in [`Collection::filters`].
    wanted: Vec<(usize, String)>,
    types: HashSet<String>,
}

impl Query {
    /// Whether the first filter is given: `status` of subscriptions, `active` of prices, `type` of
    /// events.
    fn selects_first_filter(&self) -> bool {
        self.wanted.iter().any(|(index, _)| *index == 0)
    }
}

/// The page of `collection` that the query `pairs` ask for at time `now`.
pub(crate) fn page(
    state: &State,
    collection: Collection,
    pairs: Vec<(String, String)>,
    now: i64,
) -> Result<Page, Error> {
    let query = read(collection, pairs)?;
    let cursor = cursor(state, collection, &query, now)?;
    let mut from = query.from.unwrap_or(i64::MIN);
    if collection == Collection::Event {
        from = from.max(now - EVENT_RETENTION);
    }
    let parent = match collection {
        Collection::SubscriptionItem | Collection::InvoiceLine => {
            Some(parent(state, collection, &query)?)
        }
        _ => None,
    };
    let window = Window {
        cursor,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT),
        created: (from, query.until.unwrap_or(i64::MAX)),
        parent,
    };
    let page = state
        .table(collection)
        .page(&window, |facets| matches(collection, &query, facets));
    Ok(page)
}

fn read(collection: Collection, pairs: Vec<(String, String)>) -> Result<Query, Error> {
    let mut query = Query::default();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => query.limit = Some(limit(&value)?),
            "starting_after" if !value.is_empty() => query.starting_after = Some(value),
            "ending_before" if !value.is_empty() => query.ending_before = Some(value),
            "starting_after" | "ending_before" => {}
            "delivery_success" if collection == Collection::Event => {}
            name if expand::is_asked_by(name) => {}
            name if form::is_element(name, "types") && collection == Collection::Event => {
                query.types.insert(value);
            }
            name if name.starts_with("created") && collection.filters_created() => {
                bound(&mut query, name, &value)?;
            }
            _ => match collection
                .filters()
                .iter()
                .position(|(filter, _)| *filter == name)
            {
                Some(index) => query.wanted.push((index, value)),
                None => return Err(Error::ParameterUnknown(name)),
            },
        }
    }
    if query.starting_after.is_some() && query.ending_before.is_some() {
        return Err(Error::BothCursors);
    }
    Ok(query)
}

fn limit(value: &str) -> Result<usize, Error> {
    let limit = integer("limit", value)?;
    let complaint = match limit {
        ..1 => {
            format!("This value must be greater than or equal to 1 (it currently is '{value}').")
        }
        101.. => {
            format!("This value must be less than or equal to 100 (it currently is '{value}').")
        }
        _ => return Ok(usize::try_from(limit).unwrap_or(DEFAULT_LIMIT)),
    };
    Err(Error::ParameterInvalid {
        param: "limit".to_owned(),
        message: complaint,
    })
}

fn bound(query: &mut Query, name: &str, value: &str) -> Result<(), Error> {
    let seconds = integer(name, value)?;
    let next = seconds.saturating_add(1);
    let (from, until) = match name {
        "created" => (Some(seconds), Some(next)),
        "created[gt]" => (Some(next), None),
        "created[gte]" => (Some(seconds), None),
        "created[lt]" => (None, Some(seconds)),
        "created[lte]" => (None, Some(next)),
        _ => return Err(Error::ParameterUnknown(name.to_owned())),
    };
    query.from = query.from.max(from);
    query.until = match (query.until, until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Ok(())
}

fn integer(param: &str, value: &str) -> Result<i64, Error> {
    value.parse().map_err(|_| Error::IntegerInvalid {
        param: param.to_owned(),
        value: value.to_owned(),
    })
}

fn cursor(state: &State, collection: Collection, query: &Query, now: i64) -> Result<Cursor, Error> {
    let (id, param) = match (&query.starting_after, &query.ending_before) {
        (Some(id), _) => (id, "starting_after"),
        (None, Some(id)) => (id, "ending_before"),
        (None, None) => return Ok(Cursor::Newest),
    };
    let gone = || Error::ReferenceMissing {
        collection,
        id: id.clone(),
        param: param.to_owned(),
    };
    let key = state.table(collection).key(id).ok_or_else(gone)?;
    let is_hidden = match collection {
        Collection::Event => key.0 < now - EVENT_RETENTION,
        // As with the real API, paging breaks off where the last row seen was canceled meanwhile.
        Collection::Subscription if !query.selects_first_filter() => {
            state.find(collection, id)?["status"] == "canceled"
        }
        _ => false,
    };
    if is_hidden {
        return Err(gone());
    }
    Ok(if param == "starting_after" {
        Cursor::StartingAfter(key)
    } else {
        Cursor::EndingBefore(key)
    })
}

/// Items and lines are listed by what they belong to, which must exist.
fn parent<'a>(state: &State, collection: Collection, query: &'a Query) -> Result<&'a str, Error> {
    let (param, owner) = match collection {
        Collection::InvoiceLine => ("invoice", Collection::Invoice),
        _ => ("subscription", Collection::Subscription),
    };
    let Some((_, id)) = query.wanted.first() else {
        return Err(Error::ParameterMissing(param.to_owned()));
    };
    if state.table(owner).key(id).is_none() {
        let (id, param) = (id.clone(), param.to_owned());
        return Err(Error::ReferenceMissing {
            collection: owner,
            id,
            param,
        });
    }
    Ok(id)
}

fn matches(collection: Collection, query: &Query, facets: &[Option<Box<str>>]) -> bool {
    let facet = |index: usize| facets.get(index).and_then(Option::as_deref);
    let first = facet(0).unwrap_or_default();
    let hidden = match collection {
        Collection::Subscription => first == "canceled" && !query.selects_first_filter(),
        Collection::Price => first == "false" && !query.selects_first_filter(),
        Collection::Event => !query.types.is_empty() && !query.types.contains(first),
        _ => false,
    };
    let fits = |(index, wanted): &(usize, String)| match (collection, index) {
        (Collection::Subscription, 0) => {
            let ended = wanted == "ended" && first == "canceled";
            wanted == "all" || ended || first == wanted
        }
        (Collection::Event, 0) => is_of_type(first, wanted),
        _ => facet(*index) == Some(wanted),
    };
    !hidden && query.wanted.iter().all(fits)
}

/// Whether an event type is the wanted one, which may end in a wildcard as in `customer.*`.
fn is_of_type(kind: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == wanted,
    }
}

/// The body of a list answer, put together from the serialised rows.
pub(crate) fn body(url: &str, page: &Page) -> String {
    let length: usize = page.rows.iter().map(|row| row.len() + 1).sum();
    let mut body = String::with_capacity(length + url.len() + 64);
    body.push_str(r#"{"object":"list","url":""#);
    body.push_str(url);
    body.push_str(r#"","has_more":"#);
    body.push_str(if page.has_more { "true" } else { "false" });
    body.push_str(r#","data":["#);
    for (index, row) in page.rows.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(row);
    }
    body.push_str("]}");
    body
}
