//! Consumers in memory: their states, and what they are told by the log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use headrace_model::ConsumerId;
use headrace_model::delivery::Consumer;
use tokio::sync::watch;

use super::streams::{Log, StreamCell};

/// How many indexes that left the log are remembered one by one until the next step.
const REMEMBERED: usize = 4_096;

/// The consumers that were used since the start.
#[derive(Debug, Default)]
pub(super) struct Consumers(Mutex<HashMap<ConsumerId, Arc<ConsumerCell>>>);

/// One consumer.
#[derive(Debug)]
pub(super) struct ConsumerCell {
    pub(super) id: ConsumerId,
    pub(super) state: Arc<tokio::sync::Mutex<Option<Active>>>,
    /// Counts the reasons to read the state again.
    pub(super) invalidations: AtomicU64,
    left: Mutex<Left>,
    pub(super) dead: AtomicI64,
    /// Steps that are with the writer.
    pub(super) unsettled: AtomicUsize,
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
    /// How many steps were sent to the writer.
    pub(super) seq: i64,
    /// The cell's count when it was loaded.
    pub(super) loaded_at: u64,
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

    /// No state in memory is that on disk any more.
    pub(super) fn invalidate(&self) {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.values().for_each(|cell| cell.invalidate());
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

    /// From here on, what leaves the log is news.
    pub(super) fn forget_left(&self) {
        self.take_left();
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

    /// Tells those who wait to look again.
    pub(super) fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }
}

impl Active {
    /// Takes note of what has left the log, as of the log that is passed.
    pub(super) fn catch_up(&mut self, cell: &ConsumerCell, log: &Log) {
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
