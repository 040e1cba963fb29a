//! The writer without its thread: a tick after a job was submitted, all that are queued are run.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::error::Tx;
use super::group;
use super::lock::DirLock;
use super::upkeep::Upkeep;
use super::writer::Job;
use crate::simulation::machine;

/// What the writer's thread would own.
pub(super) struct Bench {
    pub(super) db: Connection,
    pub(super) queue: Receiver<Box<dyn Job>>,
    pub(super) upkeep: Upkeep,
    pub(super) lock: DirLock,
}

/// A writer that runs when it is told to. Dropped, it leaves what a killed process would.
pub(super) struct Simulated(Arc<Mutex<Option<Bench>>>);

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated")
    }
}

impl Simulated {
    pub(super) fn start(mut bench: Bench) -> Tx<Self> {
        // A simulated crash is not one of the machine.
        bench.db.pragma_update(None, "synchronous", "off")?;
        let fails = || machine().is_some_and(|machine| !machine.commits());
        bench.db.commit_hook(Some(fails))?;
        Ok(Self(Arc::new(Mutex::new(Some(bench)))))
    }

    /// Something was queued.
    pub(super) fn wake(&self) {
        let bench = Arc::clone(&self.0);
        let takes = machine().map(|machine| machine.disk_takes());
        tokio::spawn(async move {
            match takes.unwrap_or_default() {
                Duration::ZERO => tokio::task::yield_now().await,
                takes => tokio::time::sleep(takes).await,
            }
            if let Some(bench) = &mut *bench.lock().unwrap_or_else(PoisonError::into_inner) {
                bench.run();
            }
        });
    }

    /// Writes what is queued, and ends.
    pub(super) fn close(&self) {
        if let Some(mut bench) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bench.run();
            bench.upkeep.at_end(&bench.db);
            drop(bench.lock);
        }
    }
}

impl Bench {
    fn run(&mut self) {
        group::run_queued(&self.db, &self.queue, &mut self.upkeep);
    }
}
