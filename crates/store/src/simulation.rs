//! A store in a simulated process: it runs on the simulation's thread, in the order of its calls.
//!
//! The backend is the real one on real files. Only its threads are not: what they would do runs on the
//! async runtime of the simulation instead, a tick later, so that one seed has one course. The
//! [`Machine`] says how long the disk takes, which commits fail, and watches breakpoints go by.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::Breakpoint;

/// What the simulated process runs on.
pub trait Machine {
    /// How long the next group of writes waits for the disk.
    fn disk_takes(&self) -> Duration;
    /// Whether a transaction may be committed now. Nothing of it is written otherwise.
    fn commits(&self) -> bool;
    /// A breakpoint is passed.
    fn passes(&self, at: Breakpoint);
}

thread_local! {
    static MACHINE: RefCell<Option<Rc<dyn Machine>>> = const { RefCell::new(None) };
}

/// Until the answer is dropped, stores that are opened on this thread run on this machine.
pub fn simulate(machine: Rc<dyn Machine>) -> Simulated {
    MACHINE.set(Some(machine));
    Simulated(())
}

/// Ends a simulation when dropped.
#[derive(Debug)]
#[must_use = "the simulation ends when this is dropped"]
pub struct Simulated(());

impl Drop for Simulated {
    fn drop(&mut self) {
        MACHINE.set(None);
    }
}

/// The machine of this thread, if it simulates one.
pub(crate) fn machine() -> Option<Rc<dyn Machine>> {
    MACHINE.with_borrow(Clone::clone)
}
