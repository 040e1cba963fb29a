//! The live set of a stream: which indexes are in its log, per lane, tombstones apart.
//!
//! It answers counts by rank and finds the next matching indexes without touching what a filter
//! rejects: the cost follows the answer and the number of lanes that match, never the backlog.

use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::iter;

use headrace_model::LaneNo;
use roaring::RoaringTreemap;

use crate::Selection;

/// The indexes in a log. Purge entries are not among them.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    all: Indexes,
    lanes: HashMap<LaneNo, Indexes>,
}

#[derive(Debug, Default)]
struct Indexes {
    present: RoaringTreemap,
    tombstones: RoaringTreemap,
}

impl LiveSet {
    /// An entry came.
    pub(super) fn insert(&mut self, idx: u64, lane: LaneNo, deleted: bool) {
        self.all.of(deleted).insert(idx);
        self.lanes.entry(lane).or_default().of(deleted).insert(idx);
    }

    /// An entry left.
    pub(super) fn remove(&mut self, idx: u64, lane: LaneNo, deleted: bool) {
        self.all.of(deleted).remove(idx);
        self.lanes.entry(lane).or_default().of(deleted).remove(idx);
    }

    /// Whether the entry is in the log.
    pub(super) fn contains(&self, idx: u64) -> bool {
        self.all.present.contains(idx) || self.all.tombstones.contains(idx)
    }

    /// Entries in all, and those of them that are not deleted.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.all.totals()
    }

    /// The same of one lane.
    pub(super) fn lane_totals(&self, lane: LaneNo) -> (u64, u64) {
        self.lanes.get(&lane).map_or((0, 0), Indexes::totals)
    }

    /// How many match after the index `after`.
    pub(super) fn count_after(&self, selection: &Selection, after: u64) -> u64 {
        let sets = self.matching(selection);
        sets.iter()
            .map(|set| set.range_cardinality(after.saturating_add(1)..))
            .sum()
    }

    /// The first `limit` matching indexes after `after`, none beyond `upto`.
    pub(super) fn after<'a>(
        &'a self,
        selection: &Selection,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Vec<u64> {
        let rest = |set: &'a RoaringTreemap| {
            let mut indexes = set.iter();
            indexes.advance_to(after.saturating_add(1));
            indexes
        };
        let sources = self.matching(selection).into_iter().map(rest).collect();
        merge(sources, |idx| u64::MAX - idx)
            .take_while(|idx| *idx <= upto)
            .take(limit)
            .collect()
    }

    /// The last `limit` matching indexes before `before`, the newest first.
    pub(super) fn before<'a>(
        &'a self,
        selection: &Selection,
        before: u64,
        limit: usize,
    ) -> Vec<u64> {
        let rest = |set: &'a RoaringTreemap| {
            let mut indexes = set.iter();
            indexes.advance_back_to(before.saturating_sub(1));
            indexes.rev()
        };
        let sources = self.matching(selection).into_iter().map(rest).collect();
        merge(sources, |idx| idx).take(limit).collect()
    }

    fn matching(&self, selection: &Selection) -> Vec<&RoaringTreemap> {
        let lanes: Vec<&Indexes> = match &selection.lanes {
            None => vec![&self.all],
            Some(lanes) => lanes
                .iter()
                .filter_map(|lane| self.lanes.get(lane))
                .collect(),
        };
        let mut sets = Vec::with_capacity(lanes.len() * 2);
        for lane in lanes {
            if selection.deleted != Some(true) {
                sets.push(&lane.present);
            }
            if selection.deleted != Some(false) {
                sets.push(&lane.tombstones);
            }
        }
        sets
    }
}

impl Indexes {
    fn of(&mut self, deleted: bool) -> &mut RoaringTreemap {
        if deleted {
            &mut self.tombstones
        } else {
            &mut self.present
        }
    }

    fn totals(&self) -> (u64, u64) {
        let live = self.present.len();
        (live + self.tombstones.len(), live)
    }
}

/// Merges sources, the highest rank first. `rank` must be its own inverse, and no index may be in two
/// sources.
fn merge<I: Iterator<Item = u64>>(
    mut sources: Vec<I>,
    rank: fn(u64) -> u64,
) -> impl Iterator<Item = u64> {
    let mut heads = BinaryHeap::with_capacity(sources.len());
    for (source, indexes) in sources.iter_mut().enumerate() {
        heads.extend(indexes.next().map(|idx| (rank(idx), source)));
    }
    iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let (ranked, source) = *head;
        match sources.get_mut(source).and_then(Iterator::next) {
            Some(idx) => *head = (rank(idx), source),
            None => {
                PeekMut::pop(head);
            }
        }
        Some(rank(ranked))
    })
}
