//! Turns: the one way to look at a consumer or to change one.
//!
//! A step runs while the consumer is locked. What it changed goes to the writer as one job before the
//! lock is released, so the order on disk is the order of the steps; durability is awaited after. When
//! a job fails, the state in memory is given up and read again, and the steps that were computed on
//! top of it are refused by their number: memory and disk never part.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_model::delivery::{Change, Consumer, Phase, Policy};
use headrace_model::{ConsumerId, Timestamp};
use rusqlite::Connection;
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard};

use super::SqliteStore;
use super::consumers::{Active, ConsumerCell};
use super::steps::{self, Loaded, Step};
use super::writer::Pending;
use crate::{Counts, Result, Selection, StoreError};

/// Exclusive use of a consumer's state. Ends with [`SqliteStore::submit`] or
/// [`SqliteStore::settled`]; a turn that is given up on, because reading failed or the caller has
/// gone, takes what it changed in memory with it.
pub(super) struct Turn {
    pub(super) cell: Arc<ConsumerCell>,
    pub(super) active: OwnedMappedMutexGuard<Option<Active>, Active>,
    before: Before,
    ended: bool,
}

/// What decides, after a step, whether those who wait should look again.
struct Before {
    outstanding: usize,
    deadline: Option<Timestamp>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            self.cell.invalidate();
        }
    }
}

impl SqliteStore {
    /// Waits for the consumer's turn, and loads it where needed.
    pub(super) async fn turn(&self, id: ConsumerId) -> Result<Turn> {
        self.check_open()?;
        let cell = self.consumers.get(id);
        let mut state = Arc::clone(&cell.state).lock_owned().await;
        let count = cell.invalidations.load(Ordering::SeqCst);
        if state
            .as_ref()
            .is_none_or(|active| active.loaded_at != count)
        {
            *state = None;
            *state = Some(self.load_consumer(&cell, count).await?);
        }
        let Ok(mut active) = OwnedMutexGuard::try_map(state, Option::as_mut) else {
            return Err(StoreError::NoConsumer);
        };
        let stream = Arc::clone(&active.stream);
        active.catch_up(&cell, &stream.log());
        let before = Before::of(&active);
        Ok(Turn {
            cell,
            active,
            before,
            ended: false,
        })
    }

    /// Sends what the step changed to the writer; `None` when it changed nothing.
    pub(super) fn submit(&self, turn: &mut Turn) -> Option<Pending<i64>> {
        let changes = turn.active.machine.take_changes();
        turn.ended = true;
        if changes.is_empty() {
            return None;
        }
        let wakes = wakes(&mut turn.active, &turn.before, &changes);
        let active = &mut *turn.active;
        let step = Step {
            no: active.no,
            seq: active.seq,
            position: active.machine.position(),
            generation: active.machine.generation(),
            redriving: active.machine.redriving(),
            changes,
        };
        active.seq += 1;
        let cell = Arc::clone(&turn.cell);
        cell.unsettled.fetch_add(1, Ordering::SeqCst);
        let after = move |written: Option<&i64>| {
            match written {
                Some(dead) => cell.add_dead(*dead),
                None => cell.invalidate(),
            }
            cell.unsettled.fetch_sub(1, Ordering::SeqCst);
            if wakes {
                cell.wake();
            }
        };
        let write = move |db: &Connection| steps::write(db, &step);
        Some(
            self.writer
                .submit("write the consumer's state", 0, write, after),
        )
    }

    /// Waits until what the turn has seen is durable. `false` when it was lost: look again.
    pub(super) async fn settled(&self, mut turn: Turn) -> Result<bool> {
        turn.ended = true;
        let loaded_at = turn.active.loaded_at;
        let cell = Arc::clone(&turn.cell);
        let waits = cell.unsettled.load(Ordering::SeqCst) > 0;
        let barrier = waits.then(|| self.writer.barrier());
        drop(turn);
        if let Some(barrier) = barrier {
            barrier.durable().await?;
        }
        Ok(cell.invalidations.load(Ordering::SeqCst) == loaded_at)
    }

    /// Runs a step that changes the state, and waits until it is durable.
    pub(super) async fn step(
        &self,
        id: ConsumerId,
        step: &mut (dyn FnMut(&mut Consumer) + Send),
    ) -> Result<()> {
        loop {
            let mut turn = self.turn(id).await?;
            step(&mut turn.active.machine);
            match self.submit(&mut turn) {
                Some(pending) => {
                    drop(turn);
                    pending.durable().await?;
                    return Ok(());
                }
                None if self.settled(turn).await? => return Ok(()),
                None => {}
            }
        }
    }

    /// Runs a step that changes nothing, on what is durable.
    pub(super) async fn look<T>(
        &self,
        id: ConsumerId,
        mut look: impl FnMut(&mut Turn) -> T + Send,
    ) -> Result<T> {
        loop {
            let mut turn = self.turn(id).await?;
            let seen = look(&mut turn);
            if self.settled(turn).await? {
                return Ok(seen);
            }
        }
    }

    async fn load_consumer(&self, cell: &Arc<ConsumerCell>, loaded_at: u64) -> Result<Active> {
        let (id, streams) = (cell.id, Arc::clone(&self.streams));
        let registered = Arc::clone(cell);
        // Read by the writer, so that everything submitted before is in it; registered before
        // anything later is published, so that nothing that leaves the log is missed.
        let after = move |loaded: Option<&Loaded>| {
            if let Some(loaded) = loaded {
                registered
                    .dead
                    .store(loaded.dead.cast_signed(), Ordering::SeqCst);
                registered.forget_left();
                streams.get(loaded.stream).register(loaded.no, &registered);
            }
        };
        let load = move |db: &Connection| steps::load(db, id);
        let loading = self
            .writer
            .submit("load the consumer's state", 0, load, after);
        let loaded = match loading.durable().await {
            Err(StoreError::NoConsumer) => {
                self.consumers.forget(cell);
                return Err(StoreError::NoConsumer);
            }
            loaded => loaded?,
        };
        let mut active = Active {
            no: loaded.no,
            machine: loaded.machine,
            stream: self.streams.get(loaded.stream),
            starved: false,
            seq: loaded.seq,
            loaded_at,
        };
        let stream = Arc::clone(&active.stream);
        let log = stream.log();
        active.machine.reconcile(|idx| log.live.contains(idx));
        Ok(active)
    }
}

/// The exact counts, for what the consumer selects.
pub(super) fn counts(turn: &mut Turn, selection: &Selection) -> Counts {
    let stream = Arc::clone(&turn.active.stream);
    let log = stream.log();
    turn.active.catch_up(&turn.cell, &log);
    let machine = &turn.active.machine;
    let beyond = log.live.count_after(selection, machine.position());
    Counts {
        pending: machine.held() as u64 + beyond,
        ack_pending: machine.ack_pending() as u64,
        dead: u64::try_from(turn.cell.dead.load(Ordering::SeqCst)).unwrap_or(0),
        consumer: turn.active.no.cast_unsigned(),
    }
}

impl Before {
    fn of(active: &Active) -> Self {
        Self {
            outstanding: active.machine.ack_pending(),
            deadline: active.machine.next_deadline(),
        }
    }
}

/// Whether those who wait should look again after these changes.
fn wakes(active: &mut Active, before: &Before, changes: &[Change]) -> bool {
    let earlier = match (before.deadline, active.machine.next_deadline()) {
        (Some(before), Some(after)) => after < before,
        (None, after) => after.is_some(),
        (Some(_), None) => false,
    };
    let room = active.starved && active.machine.ack_pending() < before.outstanding;
    if room {
        active.starved = false;
    }
    earlier || room || changes.iter().any(makes_deliverable) || has_free(&active.machine)
}

/// Whether a held version could go out at once.
fn has_free(machine: &Consumer) -> bool {
    let unlimited = Policy {
        ack_wait: Duration::ZERO,
        max_deliver: None,
        max_ack_pending: u32::MAX,
    };
    // At the beginning of time nothing given back is due: what is left is free.
    let beginning = Timestamp::from_micros(i64::MIN);
    let wants = machine.wants(beginning, 1, &unlimited);
    !wants.again.is_empty()
}

fn makes_deliverable(change: &Change) -> bool {
    match change {
        Change::Put(_, entry) => !matches!(entry.phase, Phase::Leased { .. }),
        Change::Generation(_) | Change::Clear => true,
        Change::Position(_)
        | Change::Remove(_)
        | Change::Hold(..)
        | Change::Unhold(_)
        | Change::Redriving(_)
        | Change::Dead(_)
        | Change::Undead(_) => false,
    }
}
