//! Filters resolved to lanes: what a filter means in a stream right now.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use headrace_model::config::{self, Metadata, SyncFacts};
use headrace_model::filter::Filter;
use headrace_model::{LaneNo, OrgId, StreamId, SyncId};
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
        self.lanes.iter().filter(|lane| {
            let card = self.cards.get(&lane.sync);
            // A removed sync keeps its records; what is left to tell of it is in its lane.
            let provider =
                card.map_or_else(|| provider_of(&lane.collection), |card| &card.provider);
            let external_id = card.and_then(|card| card.external_id.as_deref());
            filter.takes_sync(&SyncFacts {
                id: lane.sync,
                provider,
                external_id,
            }) && filter.takes_collection(&lane.collection)
        })
    }
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
        let mut lanes = self.store.lanes(stream).await?;
        if !lanes.is_sorted_by_key(|lane| lane.no) {
            Arc::make_mut(&mut lanes).sort_by_key(|lane| lane.no);
        }
        Ok(LaneBook {
            lanes,
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
