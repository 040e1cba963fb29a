//! Turns: the one way to look at a consumer or to change one.
//!
//! A step runs while the consumer is locked. What it changed goes to the journal before the lock is
//! released, so the order on disk is the order of the steps; durability is awaited after. What touches
//! dead letters, or begins anew, goes to the writer instead, together with what the journal has of the
//! consumer; until that is written, so does every other step. When a step cannot be kept, the state in
//! memory is given up and read again, and what was computed on top of it is refused: memory and disk
//! never part.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_model::delivery::{Change, Consumer, Phase, Policy};
use headrace_model::{ConsumerId, Timestamp};
use rusqlite::Connection;
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard};

use super::consumers::{Active, ConsumerCell};
use super::journal::{self, Place, Plain, Rows};
use super::steps::{self, Loaded, Step};
use super::writer::Pending;
use super::{SqliteStore, cache, objects};
use crate::{Counts, Result, Selection, StoreError, Write};

/// Exclusive use of a consumer's state. Ends with [`SqliteStore::submit`] or
/// [`SqliteStore::settled`]; a turn that is given up on, because reading failed or the caller has
/// gone, takes what it changed in memory with it.
pub(super) struct Turn {
    pub(super) cell: Arc<ConsumerCell>,
    pub(super) active: OwnedMappedMutexGuard<Option<Active>, Active>,
    before: Before,
    ended: bool,
}

/// A step on its way to the disk.
pub(super) enum Submitted {
    /// In the journal: it survives the end of the process.
    Journalled(Place),
    /// With the writer.
    Pending(Pending<Stepped>),
}

/// What a step must survive before its caller is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Safe {
    /// The end of the process.
    FromKills,
    /// A power cut.
    FromPowerCuts,
}

/// A step that the writer has written, with what of the consumer was to be written before it.
pub(super) struct Stepped {
    dead: i64,
    before: journal::Taken,
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

    /// Sends what the step changed on its way; `None` when it changed nothing, or what it was computed
    /// on was lost. `buries` where it may take from the dead letters or add to them.
    pub(super) fn submit(&self, turn: &mut Turn, buries: bool) -> Result<Option<Submitted>> {
        self.submit_with(turn, buries, None)
    }

    /// The same, together with an object: that is the writer's.
    fn submit_with(
        &self,
        turn: &mut Turn,
        buries: bool,
        with: Option<&Write>,
    ) -> Result<Option<Submitted>> {
        let changes = turn.active.machine.take_changes();
        if changes.is_empty() {
            turn.ended = true;
            return Ok(None);
        }
        let wakes = wakes(&mut turn.active, &turn.before, &changes);
        // What is with the writer must be written first.
        let is_plain = changes.iter().all(journal::is_plain)
            && !buries
            && with.is_none()
            && turn.cell.unsettled.load(Ordering::SeqCst) == 0;
        // Where it could not be written, this was computed on what is not there. Looked at second: a
        // step that is lost says so before it counts as settled.
        if is_plain && turn.cell.invalidations.load(Ordering::SeqCst) != turn.active.loaded_at {
            turn.ended = true;
            return Ok(None);
        }
        if is_plain {
            let active = &mut *turn.active;
            let appended = self.journal.append(Plain {
                no: active.no,
                seq: active.seq,
                position: active.machine.position(),
                changes,
            });
            let place = appended.inspect_err(|_| self.shorten_journal())?;
            active.seq += 1;
            turn.ended = true;
            if wakes {
                turn.cell.wake();
            }
            if place.is_full {
                self.write_journalled();
            }
            return Ok(Some(Submitted::Journalled(place)));
        }
        turn.ended = true;
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
        let (journal, no, rows) = (Arc::clone(&self.journal), step.no, rows(&step.changes));
        let (cache, changed) = (Arc::clone(&self.cache), with.map(cache::written));
        let after = move |written: Option<&Stepped>| {
            cache.forget(changed.as_slice());
            match written {
                Some(stepped) => {
                    stepped.before.written();
                    journal.wrote(no, &rows);
                    cell.add_dead(stepped.dead);
                }
                None => cell.invalidate(),
            }
            cell.unsettled.fetch_sub(1, Ordering::SeqCst);
            if wakes {
                cell.wake();
            }
        };
        let journal = Arc::clone(&self.journal);
        let with = with.cloned();
        let write = move |db: &Connection| {
            if let Some(with) = &with {
                objects::write(db, with)?;
            }
            let before = journal.write_one(db, step.no)?;
            let dead = steps::write(db, &step)?;
            Ok(Stepped { dead, before })
        };
        let submitting = self
            .writer
            .submit("write the consumer's state", 0, write, after);
        Ok(Some(Submitted::Pending(submitting)))
    }

    /// A journal that takes nothing more is written as soon as that works again.
    pub(super) fn shorten_journal(&self) {
        if self.journal.needs_writing() {
            self.write_journalled();
        }
    }

    /// Has the writer write what is only in the journal.
    pub(super) fn write_journalled(&self) -> Pending<journal::Taken> {
        let (journal, asked) = (Arc::clone(&self.journal), Arc::clone(&self.journal));
        let write = move |db: &Connection| journal.write_all(db);
        let after = move |taken: Option<&journal::Taken>| {
            if let Some(taken) = taken {
                taken.written();
            }
            asked.writing_ended();
        };
        self.writer
            .submit("write the consumers' states", 0, write, after)
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

    /// Runs a step that changes the state, and waits until it is as safe as asked.
    pub(super) async fn step(
        &self,
        id: ConsumerId,
        safe: Safe,
        step: &mut (dyn FnMut(&mut Consumer) + Send),
    ) -> Result<()> {
        loop {
            let mut turn = self.turn(id).await?;
            step(&mut turn.active.machine);
            match self.submit(&mut turn, false)? {
                Some(submitted) => {
                    drop(turn);
                    return self.until(safe, submitted).await;
                }
                None if !self.settled(turn).await? => {}
                None => {
                    return match safe {
                        // What it was to change may have been changed by one who still waits for the disk.
                        Safe::FromPowerCuts => self.journal.all_synced().await,
                        Safe::FromKills => Ok(()),
                    };
                }
            }
        }
    }

    /// Begins anew at this position, and writes the object.
    pub(super) async fn begin_anew(
        &self,
        id: ConsumerId,
        position: u64,
        with: &Write,
    ) -> Result<()> {
        loop {
            let mut turn = self.turn(id).await?;
            turn.active.machine.reset(position);
            if let Some(submitted) = self.submit_with(&mut turn, true, Some(with))? {
                drop(turn);
                return self.until(Safe::FromPowerCuts, submitted).await;
            }
        }
    }

    /// Waits until a step is as safe as asked.
    pub(super) async fn until(&self, safe: Safe, submitted: Submitted) -> Result<()> {
        match (submitted, safe) {
            (Submitted::Journalled(place), Safe::FromPowerCuts) => self.journal.synced(place).await,
            (Submitted::Journalled(_), Safe::FromKills) => Ok(()),
            (Submitted::Pending(pending), _) => pending.durable().await.map(drop),
        }
    }

    /// Runs a step that changes nothing.
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
        let journal = Arc::clone(&self.journal);
        // Read by the writer, so that everything submitted before is in it; registered before
        // anything later is published, so that nothing that leaves the log is missed.
        let after = move |loaded: Option<&(journal::Taken, Loaded)>| {
            if let Some((before, loaded)) = loaded {
                before.written();
                journal.loaded(loaded.no, loaded.rows());
                registered
                    .dead
                    .store(loaded.dead.cast_signed(), Ordering::SeqCst);
                registered.forget_left();
                streams.get(loaded.stream).register(loaded.no, &registered);
            }
        };
        let writing = Arc::clone(&self.journal);
        let load = move |db: &Connection| {
            let no = steps::number(db, id)?;
            let before = writing.write_one(db, no)?;
            Ok((before, steps::load(db, id)?))
        };
        let loading = self
            .writer
            .submit("load the consumer's state", 0, load, after);
        let loaded = match loading.durable().await {
            Err(StoreError::NoConsumer) => {
                self.consumers.forget(cell);
                return Err(StoreError::NoConsumer);
            }
            loaded => loaded?.1,
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

/// What the changes do to the rows.
fn rows(changes: &[Change]) -> Vec<Rows> {
    let row = |change: &Change| match change {
        Change::Put(idx, _) | Change::Hold(idx, _) => Some(Rows::One(*idx)),
        Change::Remove(idx) | Change::Unhold(idx) => Some(Rows::NoMore(*idx)),
        Change::Clear => Some(Rows::None),
        _ => None,
    };
    changes.iter().filter_map(row).collect()
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
