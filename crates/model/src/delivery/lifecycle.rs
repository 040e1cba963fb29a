//! What happens around a consumer: versions leave the log, filters change, it is reset, redriven or
//! loaded again.

use super::{Change, Consumer, Outstanding, Phase};
use crate::{RecordId, Timestamp};

impl Consumer {
    /// The version at `idx` will not be delivered any more: it has left the log, superseded by a newer
    /// one or purged, or the filter does not take it. It is done, but a worker that has it keeps it
    /// until it settles or its window ends.
    pub fn supersede(&mut self, idx: u64) {
        if self.held.contains_key(&idx) {
            return self.change(Change::Unhold(idx));
        }
        let Some(entry) = self.outstanding.get_mut(&idx) else {
            return;
        };
        match &mut entry.phase {
            // Not a durable change: at the next load the log itself tells.
            Phase::Leased { gone, .. } => *gone = true,
            Phase::Expired(_) | Phase::Nacked(_) => self.remove(idx),
        }
    }

    /// Brings a state that was loaded in line with the log: `live` tells which indexes still are in it.
    pub fn reconcile(&mut self, live: impl Fn(u64) -> bool) {
        let known: Vec<u64> = self
            .outstanding
            .keys()
            .chain(self.held.keys())
            .copied()
            .collect();
        for idx in known.into_iter().filter(|idx| !live(*idx)) {
            self.supersede(idx);
        }
    }

    /// The filter changed: what no longer matches is dropped, also from under a worker. Entries
    /// before the position that match only now are not gone back to.
    pub fn refilter(&mut self, matches: impl Fn(u64) -> bool) {
        let held: Vec<u64> = self
            .held
            .keys()
            .copied()
            .filter(|idx| !matches(*idx))
            .collect();
        for idx in held {
            self.change(Change::Unhold(idx));
        }
        let out: Vec<u64> = self
            .outstanding
            .keys()
            .copied()
            .filter(|idx| !matches(*idx))
            .collect();
        for idx in out {
            self.remove(idx);
        }
    }

    /// Starts anew after `position`: forgets what is outstanding and its attempts, and makes every
    /// token of before stale. Dead letters stay.
    pub fn reset(&mut self, position: u64) {
        self.change(Change::Clear);
        self.change(Change::Generation(self.generation + 1));
        self.change(Change::Position(position));
    }

    /// Takes records out of the dead letters and delivers their current versions again, at attempt 1:
    /// each with the index of its live entry, if that matches the filter. Those beyond the position
    /// come by themselves. Raises the generation, so that a token from before the death settles
    /// nothing; what other workers have stays theirs.
    pub fn redrive(&mut self, records: &[(RecordId, Option<u64>)]) {
        self.change(Change::Generation(self.generation + 1));
        for (record, current) in records.iter().copied() {
            self.change(Change::Undead(record));
            let known =
                self.by_record.contains_key(&record) || self.held_by_record.contains_key(&record);
            if let Some(idx) = current
                && idx <= self.position
                && !known
            {
                self.change(Change::Hold(idx, record));
            }
        }
    }

    /// Has all dead letters up to the one of this number redriven, a part at a time ([`Self::redrive`]):
    /// more than fits beside what is in flight stays dead meanwhile. Numbers grow in the order in which
    /// they died.
    pub fn begin_redrive(&mut self, last: u64) {
        self.change(Change::Redriving(Some(last)));
    }

    /// Everything that was to be redriven is.
    pub fn end_redrive(&mut self) {
        if self.redriving.is_some() {
            self.change(Change::Redriving(None));
        }
    }

    /// Makes every token of before stale and every leased version due at once: deliveries may have
    /// been forgotten, so nobody can say which worker has what. The generation rises by `generations`,
    /// at least by one: by more than may have been forgotten with them.
    pub fn forget_deliveries(&mut self, now: Timestamp, generations: u32) {
        let generation = self.generation.saturating_add(generations.max(1));
        self.change(Change::Generation(generation));
        let generation = self.generation;
        let leased: Vec<u64> = self.deadlines.iter().map(|(_, idx)| *idx).collect();
        for idx in leased {
            let Some(entry) = self.outstanding.get(&idx).cloned() else {
                continue;
            };
            if matches!(entry.phase, Phase::Leased { gone: true, .. }) {
                self.remove(idx);
            } else {
                self.put(
                    idx,
                    Outstanding {
                        generation,
                        phase: Phase::Nacked(now),
                        ..entry
                    },
                );
            }
        }
    }
}
