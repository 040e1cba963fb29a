//! What was ever shown or promised. Whatever is shown later must not contradict it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::deliveries::Deliveries;
use super::settings::Settings;

/// The consumers, and what they select.
pub(super) const CONSUMERS: [&str; 3] = ["all", "customers", "strict"];

/// The consumer that gives up on messages, and is started anew now and then; it has everything.
pub(super) const STRICT: usize = 2;

/// A record as it is shown to readers and workers.
#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) collection_id: String,
    pub(super) upstream_id: String,
    pub(super) updated_idx: u64,
    pub(super) deleted: bool,
    pub(super) data: Box<RawValue>,
}

/// The memory of one life.
pub(super) struct Ledger {
    log: Mutex<Log>,
    deliveries: [Mutex<Deliveries>; 3],
    settings: Mutex<Settings>,
}

impl Ledger {
    /// A sync of these collections, of which nothing was seen.
    pub(super) fn new(collections: impl Iterator<Item = String>) -> Self {
        Self {
            log: Mutex::default(),
            deliveries: [
                Mutex::default(),
                Mutex::default(),
                Mutex::new(Deliveries::limited()),
            ],
            settings: Mutex::new(Settings::new(collections)),
        }
    }

    /// What was seen of the stream's log.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// What a consumer was given.
    pub(super) fn deliveries(&self, consumer: usize) -> MutexGuard<'_, Deliveries> {
        self.deliveries[consumer].lock().unwrap()
    }

    /// How much there is to contradict, in words.
    pub(super) fn summary(&self) -> String {
        let versions = self.log().versions();
        let [all, customers, strict] =
            [0, 1, STRICT].map(|consumer| self.deliveries(consumer).counts());
        let resumed = self.settings().resumed();
        let restarts = self.settings().restarts();
        format!(
            "{versions} versions, {} and {} deliveries, {} and {} acks, {resumed} backfills resumed, \
             {restarts} restarts, {} deliveries and {} acks since",
            all.0, customers.0, all.1, customers.1, strict.0, strict.1
        )
    }

    /// What was configured.
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap()
    }
}

/// The versions of records that anybody has seen, by index.
#[derive(Default)]
pub(super) struct Log {
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
    pub(super) fn see(&mut self, record: &Record) {
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
    pub(super) fn newest(&self) -> HashMap<String, u64> {
        self.newest.clone()
    }

    /// How many versions were seen.
    pub(super) fn versions(&self) -> usize {
        self.versions.len()
    }

    /// The newest index seen.
    pub(super) fn last_idx(&self) -> u64 {
        self.newest.values().copied().max().unwrap_or(0)
    }
}
