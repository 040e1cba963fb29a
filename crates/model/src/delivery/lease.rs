//! Handing out: what a worker may have now, and leasing it.

use std::sync::Arc;

use super::{Change, Consumer, Outstanding, Phase, Policy, Token};
use crate::{RecordId, Timestamp};

/// What [`Consumer::lease`] needs read from the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    /// Indexes to deliver before anything new: due again, or held and free. In order of delivery.
    pub again: Vec<u64>,
    /// How many matching entries after the position may follow.
    pub fresh: usize,
}

/// A log entry, as far as delivery looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its index.
    pub idx: u64,
    /// Its record.
    pub record: RecordId,
}

/// A delivery: the version at `idx` is now with a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leased {
    /// The version's index.
    pub idx: u64,
    /// Its record.
    pub record: RecordId,
    /// Which delivery of this version it is, from 1.
    pub attempts: u32,
    /// The consumer's generation, for the token.
    pub generation: u32,
}

impl Leased {
    /// The token that settles this delivery and no other.
    pub fn token(&self, consumer: u64) -> Token {
        Token {
            consumer,
            generation: self.generation,
            idx: self.idx,
            attempts: self.attempts,
        }
    }
}

impl Consumer {
    /// What could be handed out now, at most `batch`. Due re-deliveries come first and are not bound
    /// by `max_ack_pending`: they are outstanding already.
    pub fn wants(&self, now: Timestamp, batch: usize, policy: &Policy) -> Wants {
        let due = self.due.range(..=(now, u64::MAX)).map(|(_, idx)| *idx);
        let mut again: Vec<u64> = due.take(batch).collect();
        let limit = policy.max_ack_pending as usize;
        let room = limit
            .saturating_sub(self.outstanding.len())
            .min(batch - again.len());
        let first: Vec<u64> = self.free.iter().copied().take(room).collect();
        let fresh = room - first.len();
        again.extend(first);
        Wants { again, fresh }
    }

    /// Leases what was read from the log: of `again` those that are still there, in any order, then
    /// `fresh`, the matching entries after the position in log order, ending at `scanned_to` (every
    /// matching entry up to it is among `fresh`). Entries of `fresh` whose record is with a worker are
    /// held instead.
    pub fn lease(
        &mut self,
        now: Timestamp,
        policy: &Policy,
        again: &[u64],
        fresh: &[Entry],
        scanned_to: u64,
    ) -> Vec<Leased> {
        let until = now + policy.ack_wait;
        let mut leased = Vec::with_capacity(again.len() + fresh.len());
        for idx in again {
            leased.extend(self.lease_known(*idx, until));
        }
        for entry in fresh {
            self.make_way(entry.record);
            if self.by_record.contains_key(&entry.record) {
                self.change(Change::Hold(entry.idx, entry.record));
            } else {
                leased.push(self.lease_entry(*entry, until, 1, None));
            }
        }
        if scanned_to > self.position {
            self.change(Change::Position(scanned_to));
        }
        leased
    }

    fn lease_known(&mut self, idx: u64, until: Timestamp) -> Option<Leased> {
        if let Some(entry) = self.outstanding.get(&idx) {
            if matches!(entry.phase, Phase::Leased { .. }) {
                return None;
            }
            let (record, attempts) = (entry.record, entry.attempts);
            let error = entry.last_error.clone();
            return Some(self.lease_entry(Entry { idx, record }, until, attempts + 1, error));
        }
        if !self.free.contains(&idx) {
            return None;
        }
        let record = *self.held.get(&idx)?;
        self.change(Change::Unhold(idx));
        Some(self.lease_entry(Entry { idx, record }, until, 1, None))
    }

    fn lease_entry(
        &mut self,
        Entry { idx, record }: Entry,
        until: Timestamp,
        attempts: u32,
        last_error: Option<Arc<str>>,
    ) -> Leased {
        let generation = self.generation;
        let phase = Phase::Leased { until, gone: false };
        self.put(
            idx,
            Outstanding {
                record,
                generation,
                attempts,
                phase,
                last_error,
            },
        );
        Leased {
            idx,
            record,
            attempts,
            generation,
        }
    }

    /// A newer version of `record` was read: whatever is known of it is superseded.
    fn make_way(&mut self, record: RecordId) {
        let held = self.held_by_record.get(&record).copied();
        let out = self.by_record.get(&record).copied();
        for older in held.into_iter().chain(out) {
            self.supersede(older);
        }
    }
}
