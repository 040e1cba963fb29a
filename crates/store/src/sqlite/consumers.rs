//! Consumers in memory, and the one way to change one.
//!
//! A step runs while the consumer is locked. What it changed goes to the writer as one job before the
//! lock is released, so the order on disk is the order of the steps; durability is awaited after. When
//! a job fails, the state in memory is given up and read again, and the steps that were computed on
//! top of it are refused by their number: memory and disk never part.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use headrace_model::delivery::{Change, Consumer, Phase, Policy};
use headrace_model::{ConsumerId, Timestamp};
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard, watch};

use super::SqliteStore;
use super::steps::{self, Step};
use super::streams::{Log, StreamCell};
use super::writer::Pending;
use crate::{Counts, Result, Selection, StoreError};

/// How many indexes that left the log are remembered one by one until the next step.
const REMEMBERED: usize = 4_096;

/// The consumers that were used since the start.
#[derive(Debug, Default)]
pub(super) struct Consumers(Mutex<HashMap<ConsumerId, Arc<ConsumerCell>>>);

/// One consumer.
#[derive(Debug)]
pub(super) struct ConsumerCell {
    id: ConsumerId,
    state: Arc<tokio::sync::Mutex<Option<Active>>>,
    /// Counts the reasons to read the state again.
    invalidations: AtomicU64,
    left: Mutex<Left>,
    dead: AtomicI64,
    /// Steps that are with the writer.
    unsettled: AtomicUsize,
    wake: watch::Sender<u64>,
}

/// What has left the log since the last step.
#[derive(Debug)]
enum Left {
    These(Vec<u64>),
    Many,
}

/// A consumer's state in memory.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) no: i64,
    pub(super) machine: Consumer,
    pub(super) stream: Arc<StreamCell>,
    /// The last `next` was cut short by `max_ack_pending`: an ack makes room.
    pub(super) starved: bool,
    seq: i64,
    /// The cell's count when it was loaded.
    loaded_at: u64,
}

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

impl Consumers {
    /// The cell of a consumer, which need not exist.
    pub(super) fn get(&self, id: ConsumerId) -> Arc<ConsumerCell> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells
            .entry(id)
            .or_insert_with(|| Arc::new(ConsumerCell::new(id)));
        Arc::clone(cell)
    }

    /// Forgets a consumer that does not exist.
    pub(super) fn forget(&self, cell: &Arc<ConsumerCell>) {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cells
            .get(&cell.id)
            .is_some_and(|known| Arc::ptr_eq(known, cell))
        {
            cells.remove(&cell.id);
        }
    }
}

impl ConsumerCell {
    fn new(id: ConsumerId) -> Self {
        Self {
            id,
            state: Arc::default(),
            invalidations: AtomicU64::new(0),
            left: Mutex::new(Left::These(Vec::new())),
            dead: AtomicI64::new(0),
            unsettled: AtomicUsize::new(0),
            wake: watch::Sender::new(0),
        }
    }

    /// The state in memory is no longer that on disk.
    pub(super) fn invalidate(&self) {
        self.invalidations.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// These indexes left the log; the next step takes note.
    pub(super) fn left_the_log(&self, indexes: &[u64]) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Left::These(these) = &mut *left {
            if these.len() + indexes.len() > REMEMBERED {
                *left = Left::Many;
            } else {
                these.extend(indexes);
            }
        }
    }

    fn take_left(&self) -> Left {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *left, Left::These(Vec::new()))
    }

    /// There are so many dead letters more.
    pub(super) fn add_dead(&self, change: i64) {
        self.dead.fetch_add(change, Ordering::SeqCst);
    }

    /// Follows what becomes deliverable.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }
}

impl Active {
    fn before(&self) -> Before {
        Before {
            outstanding: self.machine.ack_pending(),
            deadline: self.machine.next_deadline(),
        }
    }

    /// Whether those who wait should look again after these changes.
    fn wakes(&mut self, before: &Before, changes: &[Change]) -> bool {
        let earlier = match (before.deadline, self.machine.next_deadline()) {
            (Some(before), Some(after)) => after < before,
            (None, after) => after.is_some(),
            (Some(_), None) => false,
        };
        let room = self.starved && self.machine.ack_pending() < before.outstanding;
        if room {
            self.starved = false;
        }
        earlier || room || changes.iter().any(makes_deliverable) || self.has_free()
    }

    /// Whether a held version could go out at once.
    fn has_free(&self) -> bool {
        let unlimited = Policy {
            ack_wait: std::time::Duration::ZERO,
            max_deliver: None,
            max_ack_pending: u32::MAX,
        };
        // At the beginning of time nothing given back is due: what is left is free.
        let beginning = Timestamp::from_micros(i64::MIN);
        !self
            .machine
            .wants(beginning, 1, &unlimited)
            .again
            .is_empty()
    }

    /// Takes note of what has left the log, as of the log that is passed.
    fn catch_up(&mut self, cell: &ConsumerCell, log: &Log) {
        match cell.take_left() {
            Left::These(indexes) => {
                for idx in indexes {
                    self.machine.supersede(idx);
                }
            }
            Left::Many => self.machine.reconcile(|idx| log.live.contains(idx)),
        }
    }
}

fn makes_deliverable(change: &Change) -> bool {
    match change {
        Change::Put(_, entry) => !matches!(entry.phase, Phase::Leased { .. }),
        Change::Generation(_) | Change::Clear => true,
        Change::Position(_)
        | Change::Remove(_)
        | Change::Hold(..)
        | Change::Unhold(_)
        | Change::Dead(_)
        | Change::Undead(_) => false,
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
        let before = active.before();
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
        let wakes = turn.active.wakes(&turn.before, &changes);
        let active = &mut *turn.active;
        let step = Step {
            no: active.no,
            seq: active.seq,
            position: active.machine.position(),
            generation: active.machine.generation(),
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
        let write = move |db: &rusqlite::Connection| steps::write(db, &step);
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
        let after = move |loaded: Option<&steps::Loaded>| {
            if let Some(loaded) = loaded {
                registered
                    .dead
                    .store(loaded.dead.cast_signed(), Ordering::SeqCst);
                streams.get(loaded.stream).register(loaded.no, &registered);
            }
        };
        let load = move |db: &rusqlite::Connection| steps::load(db, id);
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
