//! The board: what the reconcilers of a sync tell of themselves, for everybody to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use headrace_model::Timestamp;
use tokio::sync::watch;

use super::failure::Next;
use super::state::CollectionState;

/// What is known of a running sync beyond what is stored.
#[derive(Debug, Default)]
pub(super) struct Board {
    lives: Mutex<BTreeMap<String, Live>>,
    changed: watch::Sender<u64>,
}

/// What a collection's reconcilers tell.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Live {
    /// Its state as it was last stored.
    pub(super) state: CollectionState,
    /// Why reading it does not get on.
    pub(super) trouble: Option<Trouble>,
    /// Why looking for its changes does not get on.
    pub(super) feed_trouble: Option<Trouble>,
    /// Up to when changes are followed, while there are more to catch up with.
    pub(super) followed_to: Option<Timestamp>,
    /// When changes were last looked for with success.
    pub(super) checked_at: Option<Timestamp>,
    /// How long the newest change took, in milliseconds.
    pub(super) lag_ms: Option<u64>,
    /// Sequences of invalid UTF-8 that were replaced.
    pub(super) repaired: usize,
    /// Events that name no record.
    pub(super) unusable: usize,
    /// Ids that were asked for and that the provider refused to read.
    pub(super) refused: BTreeSet<String>,
    /// The reading that was taken up, by its beginning, when that was, and how many records it had
    /// read by then.
    pub(super) reading_since: Option<(Timestamp, Timestamp, u64)>,
    /// It was read, and nothing is too old for it: the provider does not tell the time.
    pub(super) is_ageless: bool,
    /// The provider has no such collection.
    pub(super) unknown: bool,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    /// In plain words.
    pub(super) words: String,
    /// Whether somebody has to act.
    pub(super) stands_still: bool,
}

/// Ids that are remembered of those that are refused. Beyond it the number is a least one.
const REFUSED: usize = 1_000;

impl Live {
    /// The provider refuses to read these.
    pub(super) fn refuse(&mut self, ids: Vec<String>) {
        for id in ids {
            if self.refused.len() < REFUSED {
                self.refused.insert(id);
            }
        }
    }

    /// Whether everything is being read.
    pub(super) fn reads_everything(&self) -> bool {
        let run = self.state.run.as_ref();
        run.is_some_and(|run| run.aim.is_complete())
    }
}

impl Trouble {
    pub(super) fn new(words: String, next: Next) -> Self {
        let stands_still = next == Next::StandStill;
        Self {
            words,
            stands_still,
        }
    }
}

impl Board {
    /// Changes what is told of a collection, and wakes who watches. Answers whether it is news.
    pub(super) fn set(&self, collection: &str, change: impl FnOnce(&mut Live)) -> bool {
        let mut lives = self.lock();
        let live = lives.entry(collection.to_owned()).or_default();
        let before = live.clone();
        change(live);
        let is_news = *live != before;
        drop(lives);
        if is_news {
            self.changed.send_modify(|count| *count += 1);
        }
        is_news
    }

    /// What is told of all collections.
    pub(super) fn read(&self) -> BTreeMap<String, Live> {
        self.lock().clone()
    }

    /// Wakes whenever something else is told.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Live>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
