//! What was ever shown or promised. Whatever is shown later must not contradict it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::deliveries::Deliveries;
use super::settings::Settings;
use super::{ACK_WAIT, LONG};

/// The consumers, and what they select.
pub(crate) const CONSUMERS: [&str; 4] = ["all", "customers", "strict", "slow"];

/// The consumer that gives up on messages, and is started anew now and then; it has everything.
pub(crate) const STRICT: usize = 2;

/// The consumer whose messages take long: none of them comes twice, and it never has had all.
pub(crate) const SLOW: usize = 3;

/// Those that have had everything in the end.
pub(crate) const ENDING: std::ops::Range<usize> = 0..SLOW;

/// A record as it is shown to readers and workers.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) collection_id: String,
    pub(crate) upstream_id: String,
    pub(crate) updated_idx: u64,
    pub(crate) deleted: bool,
    pub(crate) data: Box<RawValue>,
}

/// The memory of one life.
pub(crate) struct Ledger {
    log: Mutex<Log>,
    deliveries: [Mutex<Deliveries>; 4],
    settings: Mutex<Settings>,
}

impl Ledger {
    /// A sync of these collections, of which nothing was seen.
    pub(crate) fn new(collections: impl Iterator<Item = String>) -> Self {
        Self {
            log: Mutex::default(),
            deliveries: [
                Mutex::new(Deliveries::new(ACK_WAIT)),
                Mutex::new(Deliveries::new(ACK_WAIT)),
                Mutex::new(Deliveries::limited()),
                Mutex::new(Deliveries::new(LONG)),
            ],
            settings: Mutex::new(Settings::new(collections)),
        }
    }

    /// A copy, as it is now.
    pub(crate) fn copy(&self) -> Self {
        Self {
            log: Mutex::new(self.log().clone()),
            deliveries: [0, 1, STRICT, SLOW].map(|one| Mutex::new(self.deliveries(one).clone())),
            settings: Mutex::new(self.settings().clone()),
        }
    }

    /// The power was cut: whoever had a message has it no more.
    pub(crate) fn power_was_cut(&self) {
        for consumer in 0..CONSUMERS.len() {
            self.deliveries(consumer).power_was_cut();
        }
    }

    /// What was seen of the stream's log.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// What a consumer was given.
    pub(crate) fn deliveries(&self, consumer: usize) -> MutexGuard<'_, Deliveries> {
        self.deliveries[consumer].lock().unwrap()
    }

    /// How much there is to contradict, in words.
    pub(crate) fn summary(&self) -> String {
        let versions = self.log().versions();
        let [all, customers, strict, slow] =
            [0, 1, STRICT, SLOW].map(|consumer| self.deliveries(consumer).counts());
        let resumed = self.settings().resumed();
        let restarts = self.settings().restarts();
        format!(
            "{versions} versions, {} and {} deliveries, {} and {} acks, {resumed} backfills resumed, \
             {restarts} restarts, {} deliveries and {} acks since, {} that take longer",
            all.0, customers.0, all.1, customers.1, strict.0, strict.1, slow.0
        )
    }

    /// What was configured.
    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap()
    }
}

/// The versions of records that anybody has seen, by index.
#[derive(Clone, Default)]
pub(crate) struct Log {
    versions: HashMap<u64, Version>,
    newest: HashMap<String, u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Version {
    record: String,
    content: u64,
}

impl Log {
    /// Somebody was shown this version. An index names one version for ever.
    pub(crate) fn see(&mut self, record: &Record) {
        let mut hasher = DefaultHasher::new();
        (record.deleted, record.data.get()).hash(&mut hasher);
        let version = Version {
            record: record.id.clone(),
            content: hasher.finish(),
        };
        let idx = record.updated_idx;
        let known = self.versions.entry(idx).or_insert_with(|| version.clone());
        assert_eq!(*known, version, "index {idx} names two versions");
        let newest = self.newest.entry(version.record).or_default();
        *newest = idx.max(*newest);
    }

    /// The newest index seen of each record.
    pub(crate) fn newest(&self) -> HashMap<String, u64> {
        self.newest.clone()
    }

    /// How many versions were seen.
    pub(crate) fn versions(&self) -> usize {
        self.versions.len()
    }

    /// The newest index seen.
    pub(crate) fn last_idx(&self) -> u64 {
        self.newest.values().copied().max().unwrap_or(0)
    }
}
