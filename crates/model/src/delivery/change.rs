//! Changes: how a step of the state machine is made durable and replayed.

use std::sync::Arc;

use super::{Consumer, Outstanding, Phase};
use crate::{RecordId, Timestamp};

/// One change of a consumer's state. A store writes them in order; replaying them restores the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The position moved here.
    Position(u64),
    /// The generation is now this.
    Generation(u32),
    /// This index is outstanding, like this.
    Put(u64, Outstanding),
    /// This index is no longer outstanding.
    Remove(u64),
    /// This index is held for its first delivery.
    Hold(u64, RecordId),
    /// This index is no longer held.
    Unhold(u64),
    /// Nothing is outstanding, held or being redriven any more.
    Clear,
    /// Dead letters up to this number are being redriven; `None` when all of them are.
    Redriving(Option<u64>),
    /// The delivery limit was reached, or a worker rejected the message.
    Dead(DeadLetter),
    /// The record is no longer a dead letter. (A first delivery of a newer version, a [`Change::Put`]
    /// with one attempt, says the same of its record.)
    Undead(RecordId),
}

/// A version that is given up on, until it is redriven or a newer version is delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The record.
    pub record: RecordId,
    /// The version's index.
    pub idx: u64,
    /// How often it was delivered.
    pub attempts: u32,
    /// What the last worker said, or that its window passed.
    pub last_error: Option<Arc<str>>,
    /// When it was given up on.
    pub died_at: Timestamp,
}

impl Consumer {
    /// Applies a change that was made durable before. Also how every step changes the state itself,
    /// so that replay cannot differ from what happened.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Position(position) => self.position = *position,
            Change::Generation(generation) => self.generation = *generation,
            Change::Put(idx, entry) => {
                self.unlink(*idx);
                match entry.phase {
                    Phase::Leased { until, .. } => self.deadlines.insert((until, *idx)),
                    Phase::Expired(due) | Phase::Nacked(due) => self.due.insert((due, *idx)),
                };
                self.by_record.insert(entry.record, *idx);
                self.outstanding.insert(*idx, entry.clone());
                if let Some(held) = self.held_by_record.get(&entry.record) {
                    self.free.remove(held);
                }
            }
            Change::Remove(idx) => self.unlink(*idx),
            Change::Hold(idx, record) => {
                self.held.insert(*idx, *record);
                self.held_by_record.insert(*record, *idx);
                if !self.by_record.contains_key(record) {
                    self.free.insert(*idx);
                }
            }
            Change::Unhold(idx) => {
                self.free.remove(idx);
                if let Some(record) = self.held.remove(idx) {
                    self.held_by_record.remove(&record);
                }
            }
            Change::Clear => {
                let (position, generation) = (self.position, self.generation);
                let changes = std::mem::take(&mut self.changes);
                *self = Self {
                    position,
                    generation,
                    changes,
                    ..Self::default()
                };
            }
            Change::Redriving(last) => self.redriving = *last,
            Change::Dead(_) | Change::Undead(_) => {}
        }
    }

    /// Takes an outstanding version out of every index, and frees what was held behind it.
    fn unlink(&mut self, idx: u64) {
        let Some(entry) = self.outstanding.remove(&idx) else {
            return;
        };
        match entry.phase {
            Phase::Leased { until, .. } => self.deadlines.remove(&(until, idx)),
            Phase::Expired(due) | Phase::Nacked(due) => self.due.remove(&(due, idx)),
        };
        self.by_record.remove(&entry.record);
        if let Some(held) = self.held_by_record.get(&entry.record) {
            self.free.insert(*held);
        }
    }
}
