//! The delivery state machine: what a consumer has been given, what it settled, what comes next.
//!
//! A consumer's whole state is a *position* in the stream's log plus what is *outstanding* (delivered
//! and not settled) and *held* (passed by the position, not delivered yet). Everything else up to the
//! position is done, so work and size follow what is in flight, never the backlog.
//!
//! The machine is pure: time comes in as a parameter, log entries come in as data, and every step
//! leaves the [`Change`]s that make it durable. Applying those changes to a copy gives the same state.
//!
//! Order of one `next`: [`Consumer::expire`], [`Consumer::wants`], read those entries from the log,
//! [`Consumer::lease`].

mod change;
mod lease;
mod lifecycle;
mod settle;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use change::{Change, DeadLetter};
pub use lease::{Entry, Leased, Wants};
pub use settle::Settled;
pub use token::{NotAToken, Token};

use crate::{RecordId, Timestamp};

/// The longest delay that a message is given back with.
pub const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

/// The settings of a consumer that steer delivery. They may change between any two steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long a worker has for a message before it goes to another.
    pub ack_wait: Duration,
    /// Deliveries of one version in all before it goes to the dead letters; `None`: no limit.
    pub max_deliver: Option<u32>,
    /// How many messages may be outstanding before nothing new is handed out.
    pub max_ack_pending: u32,
}

/// A version of a record that was delivered at least once and is not settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outstanding {
    /// The record.
    pub record: RecordId,
    /// The consumer's generation when it was last delivered; part of the token.
    pub generation: u32,
    /// Deliveries of this version so far; part of the token.
    pub attempts: u32,
    /// With a worker, or waiting for the next delivery.
    pub phase: Phase,
    /// What the worker said when it last gave the message back.
    pub last_error: Option<Arc<str>>,
}

/// Where an outstanding version is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// With a worker until this time.
    Leased {
        /// When the ack window ends.
        until: Timestamp,
        /// The version left the log while the worker has it: nothing of it comes back, and its
        /// successor waits until the worker is done. Derived from the log, not stored.
        gone: bool,
    },
    /// The ack window passed at this time. Due at once; a late ack is taken until then.
    Expired(Timestamp),
    /// Given back; due at this time.
    Nacked(Timestamp),
}

/// One consumer's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Consumer {
    position: u64,
    generation: u32,
    outstanding: BTreeMap<u64, Outstanding>,
    /// The outstanding version of a record: at most one, so that two are never out together.
    by_record: HashMap<RecordId, u64>,
    /// Versions at or before the position that were not delivered: behind a worker that has an older
    /// version of the record, or free to go.
    held: BTreeMap<u64, RecordId>,
    /// The held version of a record: at most one, the newest.
    held_by_record: HashMap<RecordId, u64>,
    /// Those of `held` that nothing is in the way of.
    free: BTreeSet<u64>,
    /// Leased versions by the end of their window.
    deadlines: BTreeSet<(Timestamp, u64)>,
    /// Waiting versions by when they are due.
    due: BTreeSet<(Timestamp, u64)>,
    /// Dead letters up to this number are to be delivered again, a part at a time.
    redriving: Option<u64>,
    changes: Vec<Change>,
}

impl Consumer {
    /// A consumer that has everything after `position` before it.
    pub fn new(position: u64) -> Self {
        Self {
            position,
            generation: 1,
            ..Self::default()
        }
    }

    /// The last index the consumer has moved past.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Grows whenever tokens of before must no longer settle anything.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// `num_ack_pending`: delivered at least once and not settled.
    pub fn ack_pending(&self) -> usize {
        self.outstanding.len()
    }

    /// Versions at or before the position that wait for their first delivery. With the live matching
    /// entries beyond the position they make `num_pending`.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Versions at or before the position that wait for nothing but a worker.
    pub fn ready(&self) -> usize {
        self.free.len()
    }

    /// Dead letters up to this number are being redriven.
    pub fn redriving(&self) -> Option<u64> {
        self.redriving
    }

    /// The outstanding versions, in log order.
    pub fn outstanding(&self) -> impl Iterator<Item = (u64, &Outstanding)> {
        self.outstanding.iter().map(|(idx, entry)| (*idx, entry))
    }

    /// The held versions, in log order.
    pub fn held_versions(&self) -> impl Iterator<Item = (u64, RecordId)> {
        self.held.iter().map(|(idx, record)| (*idx, *record))
    }

    /// What waits at or before the position, in the order it will be delivered: given back or expired
    /// first, then what is held. With the number of deliveries so far and when it is due.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, RecordId, Option<&Outstanding>)> {
        let due = self.due.iter().filter_map(|(_, idx)| {
            self.outstanding
                .get(idx)
                .map(|entry| (*idx, entry.record, Some(entry)))
        });
        due.chain(self.held.iter().map(|(idx, record)| (*idx, *record, None)))
    }

    /// When the next ack window ends.
    pub fn next_window_end(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// When something will happen by itself: a window ends, or a given-back message becomes due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let window = self.deadlines.first().map(|(at, _)| *at);
        let due = self.due.first().map(|(at, _)| *at);
        window.into_iter().chain(due).min()
    }

    /// Whether `record` is done for this consumer up to and including `idx`: nothing of it at or
    /// before `idx` is outstanding, held or still to come. `current` is the index of the record's
    /// live entry when it matches the consumer's filter.
    pub fn applied(&self, record: RecordId, idx: u64, current: Option<u64>) -> bool {
        let before = |at: Option<&u64>| at.is_some_and(|at| *at <= idx);
        let to_come = current.is_some_and(|at| at > self.position && at <= idx);
        !before(self.by_record.get(&record))
            && !before(self.held_by_record.get(&record))
            && !to_come
    }

    /// Takes the changes that the steps since the last call have made.
    #[must_use = "a step that is not made durable must not be answered"]
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn put(&mut self, idx: u64, entry: Outstanding) {
        self.change(Change::Put(idx, entry));
    }

    fn remove(&mut self, idx: u64) {
        self.change(Change::Remove(idx));
    }

    fn change(&mut self, change: Change) {
        self.apply(&change);
        self.changes.push(change);
    }
}
