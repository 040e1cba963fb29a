//! The live set of a stream: which indexes are in its log, per lane, tombstones apart.
//!
//! It answers counts by rank and finds the next matching indexes without touching what a filter
//! rejects: the cost follows the answer and the number of lanes that match and have something beyond
//! the position, never the backlog. A consumer that is at the end pays for what is new.

use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::iter;

use headrace_model::LaneNo;
use roaring::RoaringTreemap;

use super::streams::Move;
use crate::Selection;

/// The indexes in a log. Purge entries are not among them.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    all: Indexes,
    lanes: HashMap<LaneNo, Indexes>,
    /// The lanes by the highest index that each has ever had.
    by_last: BTreeSet<(u64, LaneNo)>,
}

#[derive(Debug, Default)]
struct Indexes {
    /// The highest that was ever inserted.
    last: u64,
    /// It is not what is written down.
    changed: bool,
    present: RoaringTreemap,
    tombstones: RoaringTreemap,
}

impl LiveSet {
    /// An entry came.
    pub(super) fn insert(&mut self, idx: u64, lane: LaneNo, deleted: bool) {
        self.all.of(deleted).insert(idx);
        let indexes = self.lanes.entry(lane).or_default();
        indexes.changed = true;
        indexes.of(deleted).insert(idx);
        if idx > indexes.last {
            self.by_last.remove(&(indexes.last, lane));
            self.by_last.insert((idx, lane));
            indexes.last = idx;
        }
    }

    /// An entry left.
    pub(super) fn remove(&mut self, idx: u64, lane: LaneNo, deleted: bool) {
        self.all.of(deleted).remove(idx);
        let indexes = self.lanes.entry(lane).or_default();
        indexes.changed = true;
        indexes.of(deleted).remove(idx);
    }

    /// Entries came and left.
    pub(super) fn apply(&mut self, moves: &[Move]) {
        for change in moves {
            match *change {
                Move::In { idx, lane, deleted } => self.insert(idx, lane, deleted),
                Move::Out { idx, lane, deleted } => self.remove(idx, lane, deleted),
            }
        }
    }

    /// A lane as it was written down.
    pub(super) fn restore(
        &mut self,
        lane: LaneNo,
        last: u64,
        present: RoaringTreemap,
        tombstones: RoaringTreemap,
    ) {
        self.all.present |= &present;
        self.all.tombstones |= &tombstones;
        self.by_last.insert((last, lane));
        let indexes = Indexes {
            last,
            changed: false,
            present,
            tombstones,
        };
        self.lanes.insert(lane, indexes);
    }

    /// The lanes that are not as they were written down: the highest index each has ever had, what is
    /// present and the tombstones.
    pub(super) fn changed(
        &self,
    ) -> impl Iterator<Item = (LaneNo, u64, &RoaringTreemap, &RoaringTreemap)> {
        let changed = self.lanes.iter().filter(|(_, indexes)| indexes.changed);
        changed.map(|(lane, indexes)| {
            let Indexes {
                last,
                present,
                tombstones,
                ..
            } = indexes;
            (*lane, *last, present, tombstones)
        })
    }

    /// All lanes are written down.
    pub(super) fn written_down(&mut self) {
        for indexes in self.lanes.values_mut() {
            indexes.changed = false;
        }
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
        let sets = self.matching(selection, after);
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
        let sources = self.matching(selection, after);
        let sources = sources.into_iter().map(rest).collect();
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
        let sources = self.matching(selection, 0);
        let sources = sources.into_iter().map(rest).collect();
        merge(sources, |idx| idx).take(limit).collect()
    }

    /// The sets that may have something that matches after the index `after`.
    fn matching(&self, selection: &Selection, after: u64) -> Vec<&RoaringTreemap> {
        let lanes: Vec<&Indexes> = match &selection.lanes {
            None => vec![&self.all],
            Some(wanted) => self.lanes_beyond(wanted, after),
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
        sets.retain(|set| !set.is_empty());
        sets
    }
}

impl LiveSet {
    /// Those of the lanes that may have something after the index `after`. Goes through the lanes
    /// that are wanted or through those that are beyond, whichever are fewer.
    fn lanes_beyond(&self, wanted: &[LaneNo], after: u64) -> Vec<&Indexes> {
        let first = (after.saturating_add(1), LaneNo(0));
        let beyond = self.by_last.range(first..).take(wanted.len());
        let beyond: Vec<LaneNo> = beyond.map(|(_, lane)| *lane).collect();
        let all_seen = beyond.len() < wanted.len();
        let lanes = match all_seen {
            true => beyond.iter(),
            false => wanted.iter(),
        };
        lanes
            .filter(|lane| !all_seen || wanted.binary_search(lane).is_ok())
            .filter_map(|lane| self.lanes.get(lane))
            .filter(|lane| lane.last > after)
            .collect()
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
