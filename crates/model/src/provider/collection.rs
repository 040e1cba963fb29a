//! Collections: how their records are read, and what a record is.

use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::feed::Events;
use super::format::{FieldKind, TimeFile, VersionFile};
use super::list::{List, Listing, PageCursor, PageError, clean};
use super::nested::{Nested, Truncated};
use super::request::{Query, Request, RequestError, fill};
use super::syntax::{Pattern, Template};
use crate::Timestamp;
use crate::json::{self, Path};

/// A collection: records of one kind.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Its name within the provider, such as `customer`.
    pub name: String,
    /// Its id everywhere else, such as `stripe:customer`.
    pub id: String,
    /// The name people know it by.
    pub title: String,
    /// Its declared fields. Records may have more.
    pub fields: Vec<Field>,
    /// The events that tell of its changes.
    pub events: Option<Events>,
    /// The collection it is listed under, one parent at a time.
    pub parent: Option<Parent>,
    /// The collection that its records belong to: who may see one of those may see all that belong to it.
    pub belongs_to: Option<BelongsTo>,
    /// How often to list it again, where events do not tell of its changes.
    pub relist: Option<Relist>,
    /// How what changed is listed, where the provider can list so.
    pub follow: Option<Follow>,
    /// Whether records never change once they exist.
    pub immutable: bool,
    /// The programs and documents of others by which tests have judged how it is read.
    pub judged_by: Vec<String>,
    /// Where the provider shows its records: each in one of these, as a rule.
    pub(super) lists: Vec<List>,
    pub(super) get: Option<Get>,
    /// What has this member is not of the collection.
    pub(super) without: Option<Path>,
    /// Whether pages are counted: what is removed from those before shifts those that follow.
    pub(super) numbered: bool,
    pub(super) id_path: Path,
    pub(super) deleted: Option<Path>,
    pub(super) created: Option<TimeFile>,
    pub(super) updated: Option<TimeFile>,
    pub(super) version: Option<VersionFile>,
    pub(super) nested: Vec<Nested>,
    pub(super) volatile: Vec<Path>,
    /// Where a record says its type, and what it says there.
    pub(super) kind: Option<(Path, String)>,
}

/// A declared field of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name of the member.
    pub name: String,
    /// Its type.
    pub kind: FieldKind,
    /// Whether it is the record's id.
    pub primary_key: bool,
}

/// The collection that another is listed under.
#[derive(Clone, Debug)]
pub struct Parent {
    /// The parent collection's name.
    pub collection: String,
    /// Where a child's record has its parent's id.
    pub(super) id_path: Path,
    /// The parent's events after which its children are listed again.
    pub(super) touched_by: Vec<Pattern>,
    /// Where the parent's record holds the list of its children.
    pub(super) embedded: Option<Path>,
}

/// The collection that the records of another belong to, in whose list they are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BelongsTo {
    /// Its name.
    pub collection: String,
    /// Where a record has the id of the one that it belongs to.
    pub(super) id_path: Path,
}

/// Listing again instead of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relist {
    /// How often.
    pub every: Duration,
    /// How far back, by creation time; `None` for everything.
    pub window: Option<Duration>,
}

/// Listing what changed since a time.
#[derive(Clone, Debug)]
pub struct Follow {
    /// How often.
    pub every: Duration,
    /// How far before the last listing it begins: changes become visible late.
    pub overlap: Duration,
    pub(super) list: List,
}

/// How one record is read.
#[derive(Clone, Debug)]
pub(super) enum Get {
    /// At this address.
    At(Template),
    /// Where the record says itself.
    Link(Path),
    /// By a document, which answers it at this path.
    Query { query: Query, take: Path },
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records, in the order of the answer.
    pub records: Vec<Row>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageCursor>,
    /// How many sequences of invalid UTF-8 were replaced by U+FFFD.
    pub repaired: usize,
}

/// A record as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its id at the provider; a number by its digits.
    pub upstream_id: String,
    /// The id of its parent, for a collection that has one.
    pub parent_id: Option<String>,
    /// Its tokens, compact. They share an allocation with the page's other records.
    pub data: Bytes,
    /// The canonical hash, without what the definition calls volatile.
    pub hash: u128,
    /// When it was created at the provider.
    pub created_at: Option<Timestamp>,
    /// When it was last changed at the provider, where records tell.
    pub updated_at: Option<Timestamp>,
    /// The provider's own version of it: grows with every change.
    pub own_version: Option<i64>,
    /// Whether it says of itself that it was deleted.
    pub gone: bool,
    /// The lists inside it that are cut short, to be completed before it is stored.
    pub truncated: Vec<Truncated>,
}

/// The answer to a read of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum One {
    /// The record.
    Present(Box<Row>),
    /// A stub that says that the record was deleted.
    Gone,
    /// Nothing: it is gone, or may not be seen.
    Nothing,
}

impl Collection {
    /// The request for a page of the collection.
    pub fn list(&self, listing: &Listing<'_>) -> Result<Request, RequestError> {
        let (number, cursor) = place(listing.cursor);
        let listing = &Listing { cursor, ..*listing };
        let collection = self.id.clone();
        let list = self
            .asked(listing, number)
            .ok_or_else(|| RequestError::NoList {
                collection: collection.clone(),
            })?;
        if self.parent.is_none() {
            return Ok(list.request(listing));
        }
        let below = |parent| list.request_below(parent, listing);
        let request = listing.parent.and_then(below);
        request.ok_or(RequestError::NoParent { collection })
    }

    /// The list that a listing asks for. One that the definition no longer has: its cursor means nothing
    /// any more.
    fn asked(&self, listing: &Listing<'_>, number: usize) -> Option<&List> {
        match (listing.changed_from, &self.follow) {
            (Some(_), Some(follow)) => Some(&follow.list),
            _ => self.lists.get(number).or(self.lists.first()),
        }
    }

    /// The request for one record. `record` is what is known of it, for those that are read by their own
    /// links ([`Self::reads_by_link`]).
    pub fn get(&self, upstream_id: &str, record: Option<&[u8]>) -> Result<Request, RequestError> {
        let collection = self.id.clone();
        match &self.get {
            Some(Get::At(template)) => fill(template, upstream_id).map(Request::get),
            Some(Get::Link(path)) => {
                let link = record.and_then(|record| json::text(record, path));
                let request = link.and_then(|link| Request::link(&link));
                request.ok_or(RequestError::NoLink { collection })
            }
            Some(Get::Query { query, .. }) => {
                let mut request = query.request();
                request.push("id", upstream_id);
                Ok(request)
            }
            None => Err(RequestError::ListsOnly { collection }),
        }
    }

    /// Whether a record is read where it says itself.
    pub fn reads_by_link(&self) -> bool {
        matches!(self.get, Some(Get::Link(_)))
    }

    /// Whether the address of its list needs more of the parent than its id.
    pub fn needs_parents(&self) -> bool {
        self.lists.iter().any(List::needs_parents)
    }

    /// Whether its pages are counted: a record may be passed over where another one is removed from a page
    /// before it meanwhile.
    pub fn has_numbered_pages(&self) -> bool {
        self.numbered
    }

    /// Whether its list can be limited to records created from a time on.
    pub fn filters_created(&self) -> bool {
        let filters = |created: &TimeFile| created.from.is_some();
        self.lists_by().is_some_and(filters)
    }

    /// Whether its list can be entered at a creation time, so that what is older can be looked for.
    pub fn tells_its_extent(&self) -> bool {
        let enters = |created: &TimeFile| created.until.is_some();
        self.lists_by().is_some_and(enters)
    }

    /// Whether a record can be read by its id.
    pub fn reads_by_id(&self) -> bool {
        self.get.is_some()
    }

    fn lists_by(&self) -> Option<&TimeFile> {
        self.lists.first()?.created.as_ref()
    }

    /// Whether its parents' records may hold it.
    pub fn is_embedded(&self) -> bool {
        let parent = self.parent.as_ref();
        parent.is_some_and(|parent| parent.embedded.is_some())
    }

    /// The children that the parent's record holds itself; `None` where it does not hold all of them.
    pub fn embedded(&self, parent: &Row) -> Option<Result<Vec<Row>, PageError>> {
        let list = self.lists.first()?;
        let held = json::get(&parent.data, self.parent.as_ref()?.embedded.as_ref()?)?;
        if !list.is_whole(held) {
            return None;
        }
        let children = json::elements_at(held, &list.records)?
            .enumerate()
            .map(|(index, child)| self.row(index, parent.data.slice_ref(child)));
        Some(children.collect())
    }

    /// Whether the provider tells of changes as they happen.
    pub fn realtime(&self) -> bool {
        self.events.is_some()
            || self
                .parent
                .as_ref()
                .is_some_and(|parent| !parent.touched_by.is_empty())
    }

    /// Where to go on when the record that a cursor points at is gone; `None` when the list has to
    /// be begun anew.
    pub fn resume(&self, cursor: &PageCursor) -> Option<PageCursor> {
        let (number, at) = place(Some(cursor));
        let resumed = at.and_then(|at| self.lists.get(number)?.resume(at));
        in_list(number, resumed)
    }

    /// Reads the answer to [`Self::list`] with this listing.
    pub fn parse_page(
        &self,
        listing: &Listing<'_>,
        answer: &Answer<'_>,
    ) -> Result<Page, PageError> {
        let (number, at) = place(listing.cursor);
        let list = self.asked(listing, number);
        let page = list.ok_or(PageError::Stuck)?.parse(answer)?;
        if page.next.is_some() && page.next.as_ref() == at {
            return Err(PageError::Stuck);
        }
        let is_of_it = |item: &Bytes| {
            let mark = self.without.as_ref();
            let mark = mark.and_then(|path| json::get(item, path));
            mark.is_none_or(|mark| mark == b"null")
        };
        let rows = page
            .items
            .into_iter()
            .enumerate()
            .filter(|(_, item)| is_of_it(item))
            .map(|(index, item)| self.row(index, item));
        let records = rows.collect::<Result<Vec<_>, _>>()?;
        if let Some(from) = listing.changed_from {
            let is_before = |row: &Row| row.updated_at.is_some_and(|at| at < from);
            // A list that cannot be limited shows what changed last first.
            let ends = self.follow_ends() && records.last().is_some_and(is_before);
            return Ok(Page {
                records,
                next: page.next.filter(|_| !ends),
                repaired: page.repaired,
            });
        }
        let following = (number + 1 < self.lists.len()).then_some(number + 1);
        let next = match (page.next, following) {
            (Some(next), _) => in_list(number, Some(next)),
            (None, Some(following)) => in_list(following, None),
            (None, None) => None,
        };
        Ok(Page {
            records,
            next,
            repaired: page.repaired,
        })
    }

    /// Whether the list of what changed goes back from the newest change, and has to be left.
    fn follow_ends(&self) -> bool {
        let updated = self.updated.as_ref();
        updated.is_some_and(|updated| updated.from.is_none())
    }

    /// Reads the answer to [`Self::get`], and how many sequences of invalid UTF-8 were replaced.
    pub fn parse_one(&self, body: &[u8]) -> Result<(One, usize), PageError> {
        let (mut data, repaired) = clean(body)?;
        if let Some(Get::Query { take, .. }) = &self.get {
            let no_record = || PageError::NoRecords { path: take.clone() };
            let record = json::get(&data, take).ok_or_else(no_record)?;
            if record == b"null" {
                return Ok((One::Nothing, repaired));
            }
            data = data.slice_ref(record);
        }
        let row = self.row(0, data)?;
        let one = if row.gone {
            One::Gone
        } else {
            One::Present(Box::new(row))
        };
        Ok((one, repaired))
    }

    /// Reads a record from its compact JSON. `index` is its place in the answer, for the error.
    pub(super) fn row(&self, index: usize, data: Bytes) -> Result<Row, PageError> {
        let upstream_id = self.upstream_id(&data).ok_or_else(|| PageError::Lacks {
            index,
            path: self.id_path.clone(),
        })?;
        let parent = self.parent.as_ref().map(|parent| &parent.id_path);
        let parent = parent.or(self.belongs_to.as_ref().map(|to| &to.id_path));
        let parent_id = parent.and_then(|path| json::text(&data, path));
        let read = |time: &Option<TimeFile>| time.as_ref().and_then(|time| time.read(&data));
        Ok(Row {
            parent_id: parent_id.map(std::borrow::Cow::into_owned),
            hash: json::hash(&data, &self.volatile),
            created_at: read(&self.created),
            updated_at: read(&self.updated),
            own_version: self
                .version
                .as_ref()
                .and_then(|version| version.read(&data)),
            gone: self.says_deleted(&data),
            truncated: self.truncated(&upstream_id, &data),
            upstream_id,
            data,
        })
    }

    /// The id of a record; `None` when it has none that can be one.
    pub(super) fn upstream_id(&self, record: &[u8]) -> Option<String> {
        let id = json::text(record, &self.id_path)?;
        (!id.is_empty()).then(|| id.into_owned())
    }

    /// Whether an object is of this collection, as far as objects tell.
    pub(super) fn is_kind(&self, object: &[u8]) -> bool {
        let Some((path, kind)) = &self.kind else {
            return true;
        };
        json::text(object, path).is_some_and(|found| found == kind.as_str())
    }

    fn says_deleted(&self, record: &[u8]) -> bool {
        let flag = self
            .deleted
            .as_ref()
            .and_then(|path| json::get(record, path));
        flag == Some(b"true")
    }
}

/// The list that a cursor is in, and where in it.
fn place(cursor: Option<&PageCursor>) -> (usize, Option<&PageCursor>) {
    match cursor {
        Some(PageCursor::List { number, at }) => (*number, at.as_deref()),
        cursor => (0, cursor),
    }
}

/// The cursor at a place in a list; `None` for the beginning of the first.
fn in_list(number: usize, at: Option<PageCursor>) -> Option<PageCursor> {
    if number == 0 {
        return at;
    }
    let at = at.map(Box::new);
    Some(PageCursor::List { number, at })
}
