//! Lists that come in pages: what to ask for, and what the answer holds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::format::{Order, PageNext, SizeFile, TimeFile};
use super::link::{LinkError, next_query};
use super::request::{Query, Request, RequestError, fill, segment};
use super::syntax::Template;
use crate::Timestamp;
use crate::json::{self, Path};

/// What part of a list to ask for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Listing<'a> {
    /// The parent, for a collection that is listed under one.
    pub parent: Option<Above<'a>>,
    /// Only records changed then or later: the list that [`super::Follow`] tells of is asked for.
    pub changed_from: Option<Timestamp>,
    /// Only records created then or later, where the list can filter so.
    pub created_from: Option<Timestamp>,
    /// Only records created then or earlier, where the list can filter so.
    pub created_until: Option<Timestamp>,
    /// Where the page before ended; `None` for the first page.
    pub cursor: Option<&'a PageCursor>,
    /// How many records to ask for; `None` for as many as a page may have.
    pub page_size: Option<u32>,
}

impl<'a> Listing<'a> {
    /// What follows a page; the first one for `None`.
    pub fn at(cursor: Option<&'a PageCursor>) -> Self {
        Self {
            cursor,
            ..Self::default()
        }
    }
}

impl<'a> Above<'a> {
    /// A record of which no more than the id is known.
    pub fn of(id: &'a str) -> Self {
        Self { id, record: None }
    }
}

/// The record that others are listed under.
#[derive(Clone, Copy, Debug)]
pub struct Above<'a> {
    /// Its id at the provider.
    pub id: &'a str,
    /// The record itself, where the list's address needs more of it ([`super::Collection::needs_parents`]).
    pub record: Option<&'a [u8]>,
}

/// Where a page ended. It is stored with the page's records and names nothing that it depends on:
/// when the record it points at was deleted meanwhile, [`super::Collection::resume`] goes on by time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageCursor {
    /// After the record with this id.
    After {
        /// The id of the page's last record.
        id: String,
        /// When that record was created.
        created: Option<Timestamp>,
    },
    /// At the records created at this time, and on in the list's order.
    At {
        /// The creation time to begin with.
        created: Timestamp,
    },
    /// At the page that the provider gave a token for.
    Token {
        /// The token.
        token: String,
    },
    /// At the page that the provider linked to.
    Link {
        /// The query that stands in place of the list's own.
        query: String,
    },
    /// In another list of a collection that the provider shows in several.
    List {
        /// Which one, counted from 0; the cursors of the first one stand alone.
        number: usize,
        /// Where in it; at its first page for `None`.
        at: Option<Box<Self>>,
    },
    /// In the lists of some parents that have more pages than one, before other parents.
    Below {
        /// Where in these lists.
        rest: Vec<Within>,
        /// Where to go on in the list of parents then; `None` at its end.
        next: Option<Box<Self>>,
    },
}

/// A place in the list of a parent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Within {
    /// The parent's id.
    pub parent: String,
    /// Where in its list.
    pub at: PageCursor,
}

impl PageCursor {
    /// The creation time of the records at which it stands, where it tells.
    pub fn created(&self) -> Option<Timestamp> {
        match self {
            Self::After { created, .. } => *created,
            Self::At { created } => Some(*created),
            Self::Token { .. } | Self::Link { .. } | Self::Below { .. } => None,
            Self::List { at, .. } => at.as_ref()?.created(),
        }
    }
}

/// An answer does not have the shape that the definition declares. Nothing of it may be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageError {
    /// It is not JSON, or cut off.
    #[error("the answer is not JSON")]
    NotJson(#[from] json::Invalid),
    /// There is no list of records.
    #[error("the answer has no list at {path}")]
    NoRecords {
        /// Where it should be.
        path: Path,
    },
    /// There is no telling whether more pages follow.
    #[error("the answer does not say at {path} whether there is more")]
    NoMore {
        /// Where it should say.
        path: Path,
    },
    /// There is no telling where the next page is.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// More pages follow, but there is no record to go on from, or it is the one before this page.
    #[error("there is more after the page, but nothing to go on from")]
    Stuck,
    /// A record or event lacks what it cannot do without.
    #[error("item {index} of the answer has nothing usable at {path}")]
    Lacks {
        /// Which one, counted from 0.
        index: usize,
        /// What it lacks.
        path: Path,
    },
}

/// A list: its address and how it is paged.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) template: Template,
    /// What is asked there, where it is a GraphQL API.
    pub(super) query: Option<Query>,
    pub(super) records: Path,
    pub(super) order: Order,
    pub(super) size: Option<SizeFile>,
    pub(super) next: PageNext,
    pub(super) created: Option<TimeFile>,
    /// The time of the last change, where the list can be limited by it.
    pub(super) changed: Option<TimeFile>,
}

/// The records of one answer.
pub(super) struct Records {
    /// Each record, compact. They share one allocation with the whole page.
    pub(super) items: Vec<Bytes>,
    pub(super) next: Option<PageCursor>,
    pub(super) repaired: usize,
}

impl List {
    /// The request for one page of a list without a variable in its address.
    pub(super) fn request(&self, listing: &Listing<'_>) -> Request {
        let request = match &self.query {
            Some(query) => query.request(),
            None => Request::get(self.template.to_string()),
        };
        self.page(request, listing)
    }

    /// The request for one page of the list at the template's address for an id.
    pub(super) fn request_for(
        &self,
        id: &str,
        listing: &Listing<'_>,
    ) -> Result<Request, RequestError> {
        Ok(self.page(Request::get(fill(&self.template, id)?), listing))
    }

    /// The request for one page of the list below a record; `None` where the address needs what is not
    /// known of it, or cannot be a path.
    pub(super) fn request_below(
        &self,
        parent: Above<'_>,
        listing: &Listing<'_>,
    ) -> Option<Request> {
        let path = self.template.fill(|variable| {
            let Some((_, member)) = variable.split_once('.') else {
                return segment(parent.id);
            };
            let member = Path::parse(member).ok()?;
            segment(&json::text(parent.record?, &member)?)
        });
        Some(self.page(Request::get(path?), listing))
    }

    /// The request for a page, with the names of variables in their places.
    pub(super) fn in_words(&self, listing: &Listing<'_>) -> Request {
        let request = match &self.query {
            Some(query) => query.in_words(),
            None => Request::get(self.template.in_words()),
        };
        self.page(request, listing)
    }

    /// Whether its address needs more of the parent than its id.
    pub(super) fn needs_parents(&self) -> bool {
        self.template
            .variables()
            .any(|(name, _)| name.contains('.'))
    }

    fn page(&self, mut request: Request, listing: &Listing<'_>) -> Request {
        if let (Some(PageCursor::Link { query }), PageNext::Link) = (listing.cursor, &self.next) {
            // The link says it all: also how many records, and from when.
            request.set_query(query);
            return request;
        }
        if let Some(size) = &self.size {
            let count = listing
                .page_size
                .map_or(size.max, |wanted| wanted.clamp(1, size.max));
            request.push_number(&size.send, count);
        }
        if let (Some(from), Some(created)) = (listing.created_from, &self.created) {
            // A cursor that begins at a time says the same more closely where lists go upwards.
            let narrowed = matches!(listing.cursor, Some(PageCursor::At { .. }))
                && self.order == Order::OldestFirst;
            push_time(
                &mut request,
                created.from.as_deref().filter(|_| !narrowed),
                created,
                from,
            );
        }
        if let (Some(from), Some(changed)) = (listing.changed_from, &self.changed) {
            push_time(&mut request, changed.from.as_deref(), changed, from);
        }
        if let (Some(until), Some(created)) = (listing.created_until, &self.created) {
            // So does one where they go downwards.
            let narrowed = matches!(listing.cursor, Some(PageCursor::At { .. }))
                && self.order == Order::NewestFirst;
            push_time(
                &mut request,
                created.until.as_deref().filter(|_| !narrowed),
                created,
                until,
            );
        }
        match (listing.cursor, &self.next) {
            (Some(PageCursor::After { id, .. }), PageNext::AfterLast { send, .. }) => {
                request.push(send, id)
            }
            (Some(PageCursor::Token { token }), PageNext::Token { send, .. }) => {
                request.push(send, token)
            }
            (Some(PageCursor::At { created: at }), _) => {
                if let Some(created) = &self.created {
                    push_time(&mut request, self.onwards(), created, *at);
                }
            }
            // The first page; or a cursor of another paging, from before the definition changed.
            _ => {}
        }
        request
    }

    /// Where to go on when the provider no longer knows a cursor; `None` when the list cannot be
    /// entered by time and has to be begun anew.
    pub(super) fn resume(&self, cursor: &PageCursor) -> Option<PageCursor> {
        self.onwards()?;
        match cursor {
            PageCursor::After { created, .. } => created.map(|created| PageCursor::At { created }),
            PageCursor::At { .. }
            | PageCursor::Token { .. }
            | PageCursor::Link { .. }
            | PageCursor::List { .. }
            | PageCursor::Below { .. } => None,
        }
    }

    /// Takes an answer apart.
    pub(super) fn parse(&self, answer: &Answer<'_>) -> Result<Records, PageError> {
        let (page, repaired) = clean(answer.body)?;
        let list = json::elements_at(&page, &self.records).ok_or_else(|| PageError::NoRecords {
            path: self.records.clone(),
        })?;
        let items: Vec<Bytes> = list.map(|item| page.slice_ref(item)).collect();
        let next = self.next_page(&page, items.last().map(AsRef::as_ref), &answer.links)?;
        Ok(Records {
            items,
            next,
            repaired,
        })
    }

    /// Whether a list inside a record is cut short, and if so, after which element.
    pub(super) fn cut(&self, list: &[u8]) -> Option<Option<PageCursor>> {
        let last =
            json::get(list, &self.records).and_then(|records| json::elements(records).last());
        match self.next_page(list, last, &[]) {
            Ok(next) => next.map(Some),
            // More, but after nothing: from the beginning.
            Err(PageError::Stuck) => Some(None),
            // A list that does not say is whole.
            Err(_) => None,
        }
    }

    /// Whether a list inside a record says that it is all there.
    pub(super) fn is_whole(&self, list: &[u8]) -> bool {
        let last =
            json::get(list, &self.records).and_then(|records| json::elements(records).last());
        matches!(self.next_page(list, last, &[]), Ok(None))
    }

    /// A record in which the list at `path` says that it is whole.
    pub(super) fn end(&self, record: &[u8], path: &Path) -> Option<Vec<u8>> {
        match &self.next {
            PageNext::AfterLast { more, .. } => json::replace(record, &path.join(more), b"false"),
            PageNext::Token { take, .. } => Some(json::remove(record, &[path.join(take)])),
            // No headers come with a list inside a record, and no documents are written for one:
            // definitions cannot have such.
            PageNext::Link | PageNext::Connection => None,
        }
    }

    /// The parameter that takes all records from a time on, in the list's order.
    fn onwards(&self) -> Option<&str> {
        let created = self.created.as_ref()?;
        match self.order {
            Order::NewestFirst => created.until.as_deref(),
            Order::OldestFirst => created.from.as_deref(),
        }
    }

    fn next_page(
        &self,
        page: &[u8],
        last: Option<&[u8]>,
        links: &[&[u8]],
    ) -> Result<Option<PageCursor>, PageError> {
        match &self.next {
            PageNext::AfterLast { take, more, .. } => {
                match json::get(page, more) {
                    Some(b"false") => return Ok(None),
                    Some(b"true") => {}
                    _ => return Err(PageError::NoMore { path: more.clone() }),
                }
                let last = last.ok_or(PageError::Stuck)?;
                let id = json::text(last, take).ok_or(PageError::Stuck)?.into_owned();
                let created = self.created.as_ref().and_then(|created| created.read(last));
                Ok(Some(PageCursor::After { id, created }))
            }
            PageNext::Token { take, more, .. } => {
                let token = json::text(page, take).filter(|token| !token.is_empty());
                match more.as_ref().map(|more| (more, json::get(page, more))) {
                    None => {}
                    Some((_, Some(b"false"))) => return Ok(None),
                    Some((_, Some(b"true"))) if token.is_some() => {}
                    Some((_, Some(b"true"))) => return Err(PageError::Stuck),
                    Some((more, _)) => return Err(PageError::NoMore { path: more.clone() }),
                }
                Ok(token.map(|token| PageCursor::Token {
                    token: token.into_owned(),
                }))
            }
            // Compiled to one by token.
            PageNext::Connection => Err(PageError::Stuck),
            PageNext::Link => Ok(next_query(links)?.map(|query| PageCursor::Link {
                query: query.to_owned(),
            })),
        }
    }
}

/// The compact form of an answer, and how many invalid UTF-8 sequences had to be replaced by U+FFFD:
/// one bad byte in one record must not stop a whole collection.
pub(super) fn clean(body: &[u8]) -> Result<(Bytes, usize), PageError> {
    let mut out = Vec::new();
    if std::str::from_utf8(body).is_ok() {
        json::compact(body, &mut out)?;
        return Ok((Bytes::from(out), 0));
    }
    let repaired = body
        .utf8_chunks()
        .filter(|chunk| !chunk.invalid().is_empty())
        .count();
    json::compact(String::from_utf8_lossy(body).as_bytes(), &mut out)?;
    Ok((Bytes::from(out), repaired))
}

fn push_time(request: &mut Request, name: Option<&str>, time: &TimeFile, at: Timestamp) {
    if let Some(name) = name {
        request.push(name, &time.format.write(at));
    }
}
