//! The log as the contract describes it.

use headrace_model::{RecordId, Timestamp};

use super::super::world::SYNC;

pub(super) const LANES: [&str; 3] = ["customer", "invoice", "price"];

/// The entries of the log, in order, and the purge entries that nobody reads.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) entries: Vec<Entry>,
    pub(super) last: u64,
    purges: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) idx: u64,
    pub(super) record: RecordId,
    pub(super) lane: usize,
    pub(super) deleted: bool,
    pub(super) size: usize,
    at: Timestamp,
}

pub(super) fn collection(lane: usize) -> &'static str {
    LANES[lane]
}

pub(super) fn id_of(record: u8, lane: usize) -> RecordId {
    RecordId::of(SYNC, collection(lane), &record.to_string())
}

impl List {
    pub(super) fn at(&self, idx: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.idx == idx)
    }

    pub(super) fn of(&self, record: RecordId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.record == record)
    }

    pub(super) fn push(
        &mut self,
        record: RecordId,
        lane: usize,
        deleted: bool,
        size: usize,
        at: Timestamp,
    ) -> u64 {
        self.last += 1;
        let idx = self.last;
        self.entries.push(Entry {
            idx,
            record,
            lane,
            deleted,
            size,
            at,
        });
        idx
    }

    pub(super) fn push_purge(&mut self) {
        self.last += 1;
        self.purges += 1;
    }

    /// Takes the record's entry out, and tells its index.
    pub(super) fn leave(&mut self, record: RecordId) -> Option<u64> {
        let place = self
            .entries
            .iter()
            .position(|entry| entry.record == record)?;
        Some(self.entries.remove(place).idx)
    }

    /// Takes out tombstones that are old enough and that nobody wants, and purge entries: how many.
    pub(super) fn sweep(
        &mut self,
        before: Timestamp,
        wanted: impl Fn(&Entry) -> bool,
    ) -> (usize, usize) {
        let tombstones = self.entries.len();
        self.entries
            .retain(|entry| !entry.deleted || entry.at >= before || wanted(entry));
        let purges = std::mem::take(&mut self.purges);
        (tombstones - self.entries.len(), purges)
    }
}
