//! What the writer does between the groups: a little of what can wait while nobody waits for it, and
//! moving the log.
//!
//! What fails is no caller's: it is told in the log, and tried again after the next group.

use std::sync::Arc;

use rusqlite::Connection;

use super::checkpoint::Checkpoints;
use super::error::Tx;
use super::health::Health;
use super::removal::{self, Clearing};
use super::streams::Streams;
use super::summary;
use super::vacuum::Vacuum;

/// So many changes of live sets are read at the start, at most, beside the sets.
const MANY: usize = 250_000;

/// Everything that is kept up.
#[derive(Debug)]
pub(super) struct Upkeep {
    checkpoints: Checkpoints,
    clearing: Clearing,
    vacuum: Vacuum,
    streams: Arc<Streams>,
    pub(super) health: Health,
    /// How many changes there are when the live sets are written down.
    summary_at: usize,
    /// Something failed since the last group.
    has_failed: bool,
}

/// What was done of what can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Some of it. There may be more.
    Some,
    /// It has to wait until the log is moved.
    Moving,
    /// There was nothing to do.
    Nothing,
}

impl Upkeep {
    pub(super) fn new(
        checkpoints: Checkpoints,
        clearing: Clearing,
        vacuum: Vacuum,
        streams: Arc<Streams>,
        health: Health,
    ) -> Self {
        Self {
            checkpoints,
            clearing,
            vacuum,
            streams,
            health,
            summary_at: MANY,
            has_failed: false,
        }
    }

    /// A group was committed, or refused.
    pub(super) fn after_group(&mut self, db: &Connection) {
        self.has_failed = false;
        if self.streams.changes() >= self.summary_at {
            self.write_down(db);
        }
        self.checkpoints.after_commit(db);
    }

    /// Does a little of what can wait.
    pub(super) fn do_some(&mut self, db: &Connection) -> Done {
        // It writes faster than the log can be moved, which would let the log grow without end.
        if self.checkpoints.is_moving(db) {
            return Done::Moving;
        }
        let more = if self.clearing.is_pending() {
            let cleared = self.attempt(db, "clear a dropped log away", removal::clear_some);
            if cleared == Some(false) {
                self.clearing.is_done();
            }
            cleared.is_some()
        } else {
            let vacuum = self.vacuum;
            let given = self.attempt(db, "give room back", |db| vacuum.give_back_some(db));
            given == Some(true)
        };
        if !more {
            return Done::Nothing;
        }
        self.checkpoints.look(db);
        Done::Some
    }

    /// The run ends: writes down what the next start reads.
    pub(super) fn at_end(&mut self, db: &Connection) {
        self.has_failed = false;
        if self.streams.changes() > 0 {
            self.write_down(db);
        }
        self.checkpoints.at_end(db);
    }

    fn write_down(&mut self, db: &Connection) {
        let streams = Arc::clone(&self.streams);
        let written = self.attempt(db, "write down what the logs hold", |db| {
            summary::write_down(db, &streams)
        });
        if written.is_some() {
            self.streams.written_down();
        }
        // Where it failed, the next start reads more than it would; to try it after each group would
        // cost too much.
        self.summary_at = self.streams.changes() + MANY;
    }

    /// Works in a transaction of its own; `None` when that failed, or something has before.
    fn attempt<T>(
        &mut self,
        db: &Connection,
        what: &'static str,
        work: impl FnOnce(&Connection) -> Tx<T>,
    ) -> Option<T> {
        if self.has_failed || self.health.refusal().is_some() {
            return None;
        }
        let done = (|| {
            let tx = db.unchecked_transaction()?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        })();
        match done {
            Ok(done) => Some(done),
            Err(fault) => {
                self.has_failed = true;
                self.health.note_fault(&fault);
                let error = fault.during(what);
                tracing::warn!(%error, "could not {what}");
                None
            }
        }
    }
}
