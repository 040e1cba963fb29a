//! Feeds: the provider's own list of what changed, and what each event means for the collections.

use std::time::Duration;

use bytes::Bytes;

use super::Definition;
use super::answer::Answer;
use super::collection::{Collection, Row};
use super::list::{List, Listing, PageCursor, PageError, clean};
use super::request::Request;
use super::syntax::Pattern;
use crate::Timestamp;
use crate::json::{self, Path};

use super::format::TimeFile;

/// A feed of events.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Its name within the provider.
    pub name: String,
    /// How far back it goes. Whoever was away longer has missed something and must read all again.
    pub retention: Duration,
    /// How far before the noted position it is read again: events become visible late.
    pub overlap: Duration,
    pub(super) list: List,
    pub(super) id: Path,
    pub(super) kind: Path,
    pub(super) object: Path,
    pub(super) version: Option<Path>,
    pub(super) at: TimeFile,
}

/// The events that tell of a collection's changes.
#[derive(Clone, Debug)]
pub struct Events {
    /// The feed they are in.
    pub feed: String,
    pub(super) kinds: Vec<Pattern>,
    pub(super) except: Vec<Pattern>,
    /// Those that say that the record is gone.
    pub(super) deleted: Vec<Pattern>,
    /// Those of other objects that change this collection's record, and where they have its id.
    pub(super) refetch: Vec<(Pattern, Path)>,
    /// Whether the event itself is the record.
    pub(super) whole: bool,
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in the order of the answer.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageCursor>,
    /// How many sequences of invalid UTF-8 were replaced by U+FFFD.
    pub repaired: usize,
}

/// Something that happened at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its id: an event may be seen more than once.
    pub id: String,
    /// When it happened, by the provider's clock.
    pub at: Timestamp,
    /// Its type, such as `customer.updated`.
    pub kind: String,
    /// The object it happened to, as it was then.
    pub object: Bytes,
    /// The API version that the object is rendered in.
    pub api_version: Option<String>,
    /// The event itself, compact.
    pub data: Bytes,
}

/// What an event means for one collection.
#[derive(Clone, Debug)]
pub struct Routed<'a> {
    /// The collection.
    pub collection: &'a Collection,
    /// What to do.
    pub action: Action,
}

/// What to do about an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Take the event's object as the record.
    Upsert(Box<Row>),
    /// The record with this id is gone.
    Gone(String),
    /// Read the record with this id: the event's object cannot be used as it is.
    Refetch(String),
    /// List the children of this parent again.
    Relist {
        /// The parent's id.
        parent_id: String,
    },
    /// The event is of this collection, but names no record. Nothing to do but to count it.
    Unusable,
}

impl Feed {
    /// The request for the events since a noted position, and until a time if one is given. The
    /// overlap is added here.
    pub fn list(
        &self,
        since: Timestamp,
        until: Option<Timestamp>,
        cursor: Option<&PageCursor>,
    ) -> Request {
        let listing = Listing {
            created_from: Some(since - self.overlap),
            created_until: until,
            cursor,
            ..Listing::default()
        };
        self.list.request(&listing)
    }

    /// Whether a part of it can be asked for that ends before now.
    pub fn can_end(&self) -> bool {
        self.at.until.is_some()
    }

    /// Where to go on when the provider no longer knows a cursor.
    pub fn resume(&self, cursor: &PageCursor) -> Option<PageCursor> {
        self.list.resume(cursor)
    }

    /// Whether events since `position` may be lost by now.
    pub fn has_gap(&self, position: Timestamp, now: Timestamp) -> bool {
        now.since(position) > self.retention
    }

    /// Reads the answer to [`Self::list`] with this cursor.
    pub fn parse_page(
        &self,
        cursor: Option<&PageCursor>,
        answer: &Answer<'_>,
    ) -> Result<EventPage, PageError> {
        let page = self.list.parse(answer)?;
        if page.next.is_some() && page.next.as_ref() == cursor {
            return Err(PageError::Stuck);
        }
        let events = page
            .items
            .into_iter()
            .enumerate()
            .map(|(index, item)| self.event(index, item));
        Ok(EventPage {
            events: events.collect::<Result<_, _>>()?,
            next: page.next,
            repaired: page.repaired,
        })
    }

    /// Reads one event on its own, as a webhook delivers it.
    pub fn parse_event(&self, body: &[u8]) -> Result<Event, PageError> {
        let (data, _) = clean(body)?;
        self.event(0, data)
    }

    fn event(&self, index: usize, data: Bytes) -> Result<Event, PageError> {
        let lacks = |path: &Path| PageError::Lacks {
            index,
            path: path.clone(),
        };
        let need = |path: &Path| {
            let text = json::text(&data, path).filter(|text| !text.is_empty());
            text.map(std::borrow::Cow::into_owned)
                .ok_or_else(|| lacks(path))
        };
        let object = json::get(&data, &self.object).filter(|object| object.first() == Some(&b'{'));
        let api_version = self
            .version
            .as_ref()
            .and_then(|path| json::text(&data, path));
        Ok(Event {
            id: need(&self.id)?,
            at: self.at.read(&data).ok_or_else(|| lacks(&self.at.take))?,
            kind: need(&self.kind)?,
            object: data.slice_ref(object.ok_or_else(|| lacks(&self.object))?),
            api_version: api_version.map(std::borrow::Cow::into_owned),
            data,
        })
    }
}

impl Definition {
    /// What an event of a feed means for the collections: at most one action for each.
    ///
    /// The event's object is taken as the record only when it is rendered in the version that reads
    /// use and nothing in it is cut short; else the record is re-fetched.
    pub fn route(&self, feed: &str, event: &Event) -> Vec<Routed<'_>> {
        let routed = self.collections.iter().filter_map(|collection| {
            let action = self
                .own_action(collection, feed, event)
                .or_else(|| self.parents_action(collection, feed, event));
            action.map(|action| Routed { collection, action })
        });
        routed.collect()
    }

    fn own_action(&self, collection: &Collection, feed: &str, event: &Event) -> Option<Action> {
        let events = collection
            .events
            .as_ref()
            .filter(|events| events.feed == feed)?;
        if events.whole {
            return events
                .wants(&event.kind)
                .then(|| upsert(collection, event.data.clone()));
        }
        if events.wants(&event.kind) && collection.is_kind(&event.object) {
            return Some(self.objects_action(collection, events, event));
        }
        let mut touching = events
            .refetch
            .iter()
            .filter(|(pattern, _)| pattern.matches(&event.kind));
        let id = touching.find_map(|(_, path)| json::text(&event.object, path))?;
        (!id.is_empty()).then(|| Action::Refetch(id.into_owned()))
    }

    fn objects_action(&self, collection: &Collection, events: &Events, event: &Event) -> Action {
        let Some(id) = collection.upstream_id(&event.object) else {
            return Action::Unusable;
        };
        if matches(&events.deleted, &event.kind) {
            return Action::Gone(id);
        }
        if self.version.is_some() && self.version != event.api_version {
            return Action::Refetch(id);
        }
        match upsert(collection, event.object.clone()) {
            Action::Upsert(row) if row.gone => Action::Gone(id),
            Action::Upsert(row) if !row.truncated.is_empty() => Action::Refetch(id),
            action => action,
        }
    }

    fn parents_action(&self, collection: &Collection, feed: &str, event: &Event) -> Option<Action> {
        let parent = collection.parent.as_ref()?;
        let above = self.collection(&parent.collection)?;
        let same_feed = above
            .events
            .as_ref()
            .is_some_and(|events| events.feed == feed);
        if !same_feed || !matches(&parent.touched_by, &event.kind) || !above.is_kind(&event.object)
        {
            return None;
        }
        let parent_id = above.upstream_id(&event.object)?;
        Some(Action::Relist { parent_id })
    }
}

impl Events {
    fn wants(&self, kind: &str) -> bool {
        matches(&self.kinds, kind) && !matches(&self.except, kind)
    }
}

fn matches(patterns: &[Pattern], kind: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(kind))
}

fn upsert(collection: &Collection, data: Bytes) -> Action {
    match collection.row(0, data) {
        Ok(row) => Action::Upsert(Box::new(row)),
        Err(_) => Action::Unusable,
    }
}
