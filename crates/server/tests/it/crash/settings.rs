//! What was configured, and how far each collection was read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ledger::CONSUMERS;
use crate::harness::text;

/// The configuration that was answered.
#[derive(Clone)]
pub(crate) struct Settings {
    consumers: BTreeSet<String>,
    /// The slugs and ids of consumers that were made.
    made: Vec<(String, String)>,
    /// API tokens that were made.
    tokens: Vec<String>,
    /// Created or deleted without an answer.
    doubtful: BTreeSet<String>,
    gone: BTreeSet<String>,
    collections: BTreeSet<String>,
    /// The number in the sync's name, as it was answered and as it was sent.
    name: (u64, u64),
    /// By collection: when it began, records, and whether it was complete.
    backfills: BTreeMap<String, (String, u64, bool)>,
    /// Backfills that were seen before and after a restart, incomplete.
    resumed: usize,
    drawn: u64,
    /// How often a consumer was to be started anew.
    restarts: u64,
}

impl Settings {
    pub(crate) fn new(collections: impl Iterator<Item = String>) -> Self {
        Self {
            consumers: CONSUMERS.map(str::to_owned).into(),
            made: Vec::new(),
            tokens: Vec::new(),
            doubtful: BTreeSet::new(),
            gone: BTreeSet::new(),
            collections: collections.map(|name| format!("stripe:{name}")).collect(),
            name: (0, 0),
            backfills: BTreeMap::new(),
            resumed: 0,
            drawn: 0,
            restarts: 0,
        }
    }

    /// A consumer is about to be started anew: from a time that is before everything, and another
    /// one each time.
    pub(crate) fn restarting(&mut self) -> String {
        self.restarts += 1;
        format!("1970-01-01T00:00:00.{:06}Z", self.restarts)
    }

    /// How often a consumer was to be started anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// A consumer is about to be made: its slug, never used before.
    pub(crate) fn creating(&mut self) -> String {
        self.drawn += 1;
        let slug = format!("extra-{}", self.drawn);
        self.doubtful.insert(slug.clone());
        slug
    }

    pub(crate) fn created(&mut self, slug: &str, id: String) {
        self.doubtful.remove(slug);
        self.consumers.insert(slug.to_owned());
        self.made.push((slug.to_owned(), id));
    }

    /// The slugs and ids of all consumers that were ever made.
    pub(crate) fn made(&self) -> Vec<(String, String)> {
        self.made.clone()
    }

    /// A token was made.
    pub(crate) fn token(&mut self, token: String) {
        self.tokens.push(token);
    }

    /// All tokens that were made.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.tokens.clone()
    }

    /// A consumer is about to be deleted, if there are enough.
    pub(crate) fn deleting(&mut self) -> Option<String> {
        let extra = |slug: &&String| slug.starts_with("extra-");
        let slug = self.consumers.iter().find(extra)?.clone();
        self.consumers.remove(&slug);
        self.doubtful.insert(slug.clone());
        Some(slug)
    }

    pub(crate) fn deleted(&mut self, slug: String) {
        self.doubtful.remove(&slug);
        self.gone.insert(slug);
    }

    /// Consumers that were made besides the first.
    pub(crate) fn extras(&self) -> usize {
        self.consumers.len() - CONSUMERS.len()
    }

    /// All consumers there are, after a restart: what was doubtful is now told.
    pub(crate) fn see_consumers(&mut self, slugs: &BTreeSet<String>) {
        let lost: Vec<_> = self.consumers.difference(slugs).collect();
        assert!(lost.is_empty(), "consumers were lost: {lost:?}");
        for slug in slugs.difference(&self.consumers) {
            assert!(self.doubtful.contains(slug), "{slug} is there again");
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        self.gone.extend(doubtful.difference(slugs).cloned());
        self.consumers = slugs.clone();
    }

    /// The collections of the sync, as far as that was answered.
    pub(crate) fn collections(&self) -> &BTreeSet<String> {
        &self.collections
    }

    /// The sync is about to be renamed.
    pub(crate) fn renaming(&mut self) -> String {
        self.name.1 += 1;
        format!("number {}", self.name.1)
    }

    /// The sync is shown for the first time after a restart.
    pub(crate) fn see_sync_again(&mut self, sync: &Value) {
        let before = self.backfills.clone();
        self.see_sync(sync);
        let is_resumed = |(id, known): (&String, &(String, u64, bool))| {
            let now = &self.backfills[id];
            !known.2 && now.0 == known.0 && known.1 > 0
        };
        self.resumed += before.iter().filter(|one| is_resumed(*one)).count();
    }

    /// Backfills that went on after a crash where they were.
    pub(crate) fn resumed(&self) -> usize {
        self.resumed
    }

    /// The sync was shown. Must be told of all showings in their order.
    pub(crate) fn see_sync(&mut self, sync: &Value) {
        let listed = sync["collection_ids"].as_array().unwrap();
        let listed: BTreeSet<String> = listed.iter().map(text).collect();
        assert!(
            listed.is_superset(&self.collections),
            "collections were lost: {listed:?} of {:?}",
            self.collections
        );
        self.collections = listed;
        let name = text(&sync["name"]);
        let number = name
            .strip_prefix("number ")
            .map_or(0, |n| n.parse().unwrap());
        let (answered, sent) = self.name;
        assert!(
            (answered..=sent).contains(&number),
            "the sync is named {name:?}, but {answered} was answered"
        );
        self.name.0 = number;
        for collection in sync["collections"].as_array().unwrap() {
            self.see_backfill(&text(&collection["id"]), &collection["backfill"]);
        }
    }

    /// A backfill's progress never goes back, nor does a newer one give way to an older.
    fn see_backfill(&mut self, collection: &str, backfill: &Value) {
        let shown = (
            // Written with six decimals always: text sorts as time does.
            backfill["started_at"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            backfill["records"].as_u64().unwrap(),
            !backfill["completed_at"].is_null(),
        );
        let known = self.backfills.entry(collection.to_owned()).or_default();
        assert!(
            shown.0 > known.0 || shown.0 == known.0 && shown.1 >= known.1 && shown.2 >= known.2,
            "the backfill of {collection} went back from {known:?} to {shown:?}"
        );
        *known = shown;
    }
}
