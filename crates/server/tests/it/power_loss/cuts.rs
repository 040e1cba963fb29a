//! Holds the server between two changes of its disk, again and again, and notes what was told by then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::crash::Rng;
use crate::crash::ledger::Ledger;
use crate::crash::process::Process;
use crate::disk::{Change, Disk};
use crate::harness::PATIENCE;

/// Changes between two looks, at most.
const LONGEST_GAP: u64 = 300;
/// A change of the kind that was waited for may not come for long.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// An instant at which the power may be cut.
pub(super) struct Cut {
    /// So many changes were made.
    pub(super) changes: u64,
    /// All that was told, and what was asked.
    pub(super) ledger: Ledger,
}

/// Draws the instants, and collects them.
pub(super) struct Cuts {
    disk: Arc<Disk>,
    ledger: Arc<Ledger>,
    state: tokio::sync::Mutex<State>,
    all: Mutex<Vec<Cut>>,
}

struct State {
    rng: Rng,
    armed_at: Instant,
}

impl Cuts {
    pub(super) fn new(disk: Arc<Disk>, ledger: Arc<Ledger>, rng: Rng) -> Self {
        let state = State {
            rng,
            armed_at: Instant::now(),
        };
        Self {
            disk,
            ledger,
            state: tokio::sync::Mutex::new(state),
            all: Mutex::default(),
        }
    }

    /// Collects until it is dropped.
    pub(super) async fn collect(&self) {
        loop {
            {
                let mut state = self.state.lock().await;
                if self.disk.is_paused() {
                    self.take(&mut state);
                } else if state.armed_at.elapsed() > LONGEST_WAIT {
                    state.arm(&self.disk, &Change::ALL);
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// `kill -9`, between two changes: none is half made, and each is in the record.
    pub(super) async fn kill(&self, process: &mut Process) {
        let mut state = self.state.lock().await;
        let is_held = async {
            while !self.disk.is_paused() {
                self.disk.pause_at(1, &Change::ALL);
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, is_held).await.expect("it writes nothing");
        process.kill().await;
        self.take(&mut state);
    }

    /// How many were collected.
    pub(super) fn count(&self) -> usize {
        self.all.lock().unwrap().len()
    }

    /// Everything that was collected, in order.
    pub(super) fn all(self) -> Vec<Cut> {
        self.all.into_inner().unwrap()
    }

    /// While nothing can change: what is told now was told before the next change.
    fn take(&self, state: &mut State) {
        let cut = Cut {
            changes: self.disk.changes(),
            ledger: self.ledger.copy(),
        };
        self.all.lock().unwrap().push(cut);
        let kinds: &[Change] = match state.rng.below(4) {
            0 => &[Change::Sync],
            1 => &[
                Change::Create,
                Change::Truncate,
                Change::Rename,
                Change::Unlink,
            ],
            _ => &Change::ALL,
        };
        state.arm(&self.disk, kinds);
        self.disk.go_on();
    }
}

impl State {
    fn arm(&mut self, disk: &Disk, kinds: &[Change]) {
        let gap = 1 + self.rng.below(LONGEST_GAP);
        disk.pause_at(disk.changes() + gap, kinds);
        self.armed_at = Instant::now();
    }
}
