//! Filters resolved to lanes: what a filter means in a stream right now.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use headrace_model::config::{self, HttpConsumer, Metadata, SyncFacts};
use headrace_model::filter::Filter;
use headrace_model::{ConsumerId, LaneNo, OrgId, StreamId, SyncId};
use headrace_store::{Lane, Selection};

use crate::entity;
use crate::{Engine, Error};

/// What is shown of a sync beside each of its records, and what filters look at.
#[derive(Clone, Debug)]
pub struct SyncCard {
    /// The sync.
    pub id: SyncId,
    /// Its provider.
    pub provider: String,
    /// The user's name for whose account it is.
    pub external_id: Option<String>,
    /// The user's own.
    pub metadata: Metadata,
}

/// The syncs of an organisation by id.
pub(crate) type Cards = Arc<HashMap<SyncId, SyncCard>>;

/// The cards of each organisation, until one of its syncs changes.
#[derive(Debug, Default)]
pub(crate) struct CardCache(Mutex<CardState>);

#[derive(Debug, Default)]
struct CardState {
    cards: HashMap<OrgId, Cards>,
    /// Grows with every change of a sync: what was read before one must not be kept after it.
    changes: u64,
}

impl CardCache {
    fn get(&self, org: OrgId) -> (Option<Cards>, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.cards.get(&org).cloned(), state.changes)
    }

    fn keep(&self, org: OrgId, cards: &Cards, read_at: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.changes == read_at {
            state.cards.insert(org, Arc::clone(cards));
        }
    }

    /// A sync of the organisation was made, changed or removed.
    pub(crate) fn changed(&self, org: OrgId) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.changes += 1;
        state.cards.remove(&org);
    }
}

/// What each consumer's filter meant when it was last resolved.
#[derive(Debug, Default)]
pub(crate) struct Selections(Mutex<HashMap<ConsumerId, Resolved>>);

/// A selection, and what it was resolved from. Weak, so that nobody copies lanes on its account; and
/// no other lanes are ever at an address that is kept here.
#[derive(Debug)]
struct Resolved {
    filter: Filter,
    lanes: Weak<Vec<Lane>>,
    cards: Weak<HashMap<SyncId, SyncCard>>,
    selection: Selection,
}

impl Selections {
    /// What the consumer's filter takes of these lanes. Costs nothing while neither has changed.
    pub(crate) fn of(&self, id: ConsumerId, consumer: &HttpConsumer, book: &LaneBook) -> Selection {
        let filter = &consumer.filters;
        if filter.takes_all_lanes() {
            return book.select(filter);
        }
        let kept = self
            .lock()
            .get(&id)
            .and_then(|kept| kept.still(filter, book));
        kept.unwrap_or_else(|| {
            let selection = book.select(filter);
            let resolved = Resolved {
                filter: filter.clone(),
                lanes: Arc::downgrade(&book.lanes),
                cards: Arc::downgrade(&book.cards),
                selection: selection.clone(),
            };
            self.lock().insert(id, resolved);
            selection
        })
    }

    /// Forgets a consumer that was removed.
    pub(crate) fn forget(&self, id: ConsumerId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConsumerId, Resolved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolved {
    fn still(&self, filter: &Filter, book: &LaneBook) -> Option<Selection> {
        let same = self.lanes.as_ptr() == Arc::as_ptr(&book.lanes)
            && self.cards.as_ptr() == Arc::as_ptr(&book.cards)
            && self.filter == *filter;
        same.then(|| self.selection.clone())
    }
}

/// Lanes with what is known of their syncs.
#[derive(Clone, Debug)]
pub struct LaneBook {
    lanes: Arc<Vec<Lane>>,
    cards: Cards,
}

impl LaneBook {
    /// The lane with this number, and its sync; the sync is `None` once it was removed.
    pub fn lane(&self, no: LaneNo) -> Option<(&Lane, Option<&SyncCard>)> {
        let at = self.lanes.binary_search_by_key(&no, |lane| lane.no).ok()?;
        let lane = &self.lanes[at];
        Some((lane, self.cards.get(&lane.sync)))
    }

    /// What the filter takes of these lanes.
    pub fn select(&self, filter: &Filter) -> Selection {
        let lanes = match filter.takes_all_lanes() {
            true => None,
            false => Some(self.taken_by(filter).map(|lane| lane.no).collect()),
        };
        Selection {
            lanes,
            deleted: filter.deleted,
        }
    }

    /// The lanes that the filter takes.
    pub fn taken_by(&self, filter: &Filter) -> impl Iterator<Item = &Lane> {
        self.lanes
            .iter()
            .filter(|lane| takes(filter, lane, self.cards.get(&lane.sync)))
    }

    /// Whether the filter takes this lane.
    pub(crate) fn takes(&self, filter: &Filter, no: LaneNo) -> bool {
        let found = self.lane(no);
        found.is_some_and(|(lane, card)| takes(filter, lane, card))
    }
}

fn takes(filter: &Filter, lane: &Lane, card: Option<&SyncCard>) -> bool {
    // A removed sync keeps its records; what is left to tell of it is in its lane.
    let provider = card.map_or_else(|| provider_of(&lane.collection), |card| &card.provider);
    let external_id = card.and_then(|card| card.external_id.as_deref());
    filter.takes_sync(&SyncFacts {
        id: lane.sync,
        provider,
        external_id,
    }) && filter.takes_collection(&lane.collection)
}

/// The provider that a collection such as `stripe:customer` belongs to.
pub fn provider_of(collection: &str) -> &str {
    collection
        .split_once(':')
        .map_or(collection, |(provider, _)| provider)
}

/// A filter of exactly one value.
pub fn only(value: impl Into<String>) -> Option<BTreeSet<String>> {
    Some(BTreeSet::from([value.into()]))
}

impl Engine {
    /// The stream's lanes with their syncs. Lanes and syncs made later have only entries beyond a
    /// `last_idx` that was read before this was called.
    pub async fn lane_book(&self, org: OrgId, stream: StreamId) -> Result<LaneBook, Error> {
        Ok(LaneBook {
            lanes: self.store.lanes(stream).await?,
            cards: self.cards(org).await?,
        })
    }

    async fn cards(&self, org: OrgId) -> Result<Cards, Error> {
        let (kept, read_at) = self.card_cache.get(org);
        if let Some(cards) = kept {
            return Ok(cards);
        }
        let syncs = entity::all::<config::Sync>(&*self.store, Some(org)).await?;
        let card = |sync: entity::Stored<config::Sync>| {
            let config::Sync {
                provider,
                external_id,
                metadata,
                ..
            } = sync.value;
            let id = SyncId(sync.id);
            (
                id,
                SyncCard {
                    id,
                    provider,
                    external_id,
                    metadata,
                },
            )
        };
        let cards: Cards = Arc::new(syncs.into_iter().map(card).collect());
        self.card_cache.keep(org, &cards, read_at);
        Ok(cards)
    }
}

#[cfg(test)]
mod tests {
    use headrace_model::config::DeliverPolicy;
    use uuid::Uuid;

    use super::*;

    const CONSUMER: ConsumerId = ConsumerId(Uuid::from_u128(1));

    fn sync(n: u128) -> SyncId {
        SyncId(Uuid::from_u128(n))
    }

    fn lane(no: u32) -> Lane {
        Lane {
            no: LaneNo(no),
            sync: sync(u128::from(no)),
            collection: "stripe:customer".into(),
        }
    }

    fn cards(external_ids: &[(u128, &str)]) -> Cards {
        let card = |(n, external_id): &(u128, &str)| {
            let card = SyncCard {
                id: sync(*n),
                provider: "stripe".to_owned(),
                external_id: Some((*external_id).to_owned()),
                metadata: Metadata::default(),
            };
            (sync(*n), card)
        };
        Arc::new(external_ids.iter().map(card).collect())
    }

    fn consumer(filters: Filter) -> HttpConsumer {
        HttpConsumer {
            stream_id: StreamId(Uuid::from_u128(2)),
            name: None,
            slug: None,
            deliver_policy: DeliverPolicy::All,
            ack_wait_ms: 1_000,
            max_deliver: -1,
            max_ack_pending: 1,
            max_waiting: 1,
            filters,
            metadata: Metadata::default(),
            paused: false,
            unapplied: Default::default(),
        }
    }

    fn numbers(selection: &Selection) -> Vec<u32> {
        let lanes = selection.lanes.iter().flat_map(|lanes| lanes.iter());
        lanes.map(|lane| lane.0).collect()
    }

    #[test]
    fn a_filter_is_resolved_anew_only_when_something_changed() {
        let of = |filter: &Filter, book: &LaneBook, all: &Selections| {
            all.of(CONSUMER, &consumer(filter.clone()), book)
        };
        let (all, acme) = (
            Selections::default(),
            Filter {
                external_id: only("acme"),
                ..Filter::default()
            },
        );
        let mut book = LaneBook {
            lanes: Arc::new(vec![lane(1), lane(2)]),
            cards: cards(&[(1, "acme"), (2, "other"), (3, "acme")]),
        };
        let first = of(&acme, &book, &all);
        assert_eq!(numbers(&first), [1]);
        let again = of(&acme, &book, &all);
        let same = (first.lanes.as_ref(), again.lanes.as_ref());
        assert!(matches!(same, (Some(first), Some(again)) if Arc::ptr_eq(first, again)));

        Arc::make_mut(&mut book.lanes).push(lane(3));
        assert_eq!(numbers(&of(&acme, &book, &all)), [1, 3], "a new lane");
        book.cards = cards(&[(1, "other"), (2, "acme"), (3, "acme")]);
        assert_eq!(numbers(&of(&acme, &book, &all)), [2, 3], "a patched sync");
        let ids = Filter {
            sync_id: only(sync(1).to_string()),
            ..Filter::default()
        };
        assert_eq!(numbers(&of(&ids, &book, &all)), [1], "another filter");
        let everything = of(&Filter::default(), &book, &all);
        assert_eq!(everything.lanes, None);
    }
}
