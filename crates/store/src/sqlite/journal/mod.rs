//! The consumers' journal: what workers took and settled, in a file that is only appended to.
//!
//! A step is appended where it was made, without a change of thread, and survives the end of the
//! process from then on. Who must know that it survives a power cut waits for the sync, which one
//! thread does for many at once. The rows of a consumer are written later and all together, by the
//! writer: when a file is full, when somebody needs them, and at the end. Meanwhile [`unwritten`]
//! knows what they lack.
//!
//! Two files take turns. While the writer writes what is in the full one, the other one is filled.

mod entry;
mod header;
mod recover;
mod unwritten;

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{Tx, backend, io_error};
use super::health::Health;
use super::steps;
use crate::{Result, StoreError};
use entry::Envelope;
use header::Salt;
use unwritten::Unwritten;

pub(super) use entry::{Plain, is_plain};
pub(super) use recover::{FILES, look, open};
pub(super) use unwritten::{Net, Rows};

/// The size at which a file is full.
const FULL: u64 = 16 << 20;
/// So many times as large it may become while the other one cannot be written.
const MUCH: u64 = 16;
/// How long a step may wait for a power cut to take it, where nobody waits for the disk.
const UNSYNCED: Duration = Duration::from_millis(50);

/// The journal. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug)]
struct State {
    files: [Arc<File>; 2],
    /// The salt of both.
    salt: Salt,
    /// The length at which one is full.
    full: u64,
    active: usize,
    envelope: Envelope,
    /// The length of the active file.
    len: u64,
    /// The other file is full, and not written yet.
    other_is_full: bool,
    /// The other file was not synced to its end yet.
    other_is_dirty: bool,
    /// Somebody who was refused has asked for the rows to be written.
    is_being_written: bool,
    /// The bytes that were appended in all, and those of them that were synced.
    appended: u64,
    synced: u64,
    waiting: Vec<(u64, oneshot::Sender<Result<()>>)>,
    health: Health,
    /// It is marked as being in use.
    is_open: bool,
    closing: bool,
    unwritten: Unwritten,
}

/// Where a step is in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    end: u64,
    /// A file became full: its steps should be written.
    pub(super) is_full: bool,
}

/// What was taken to be written. Given back unless it is marked as written.
pub(super) struct Taken {
    shared: Arc<Shared>,
    nets: Vec<(i64, Net)>,
    generation: Option<u64>,
    /// Nothing follows.
    is_last: bool,
    written: Cell<bool>,
}

impl Journal {
    /// Goes on in files that were begun with this salt.
    fn start(files: [Arc<File>; 2], salt: Salt, generation: u64, health: Health) -> Result<Self> {
        let state = State {
            files,
            salt,
            full: full(),
            active: 0,
            envelope: Envelope {
                generation,
                synced: 0,
                before: 0,
            },
            len: header::LENGTH,
            other_is_full: false,
            other_is_dirty: false,
            is_being_written: false,
            appended: 0,
            synced: 0,
            waiting: Vec::new(),
            health,
            is_open: false,
            closing: false,
            unwritten: Unwritten::default(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
        });
        #[cfg(feature = "simulation")]
        if crate::simulation::machine().is_some() {
            let thread = Mutex::default();
            return Ok(Self { shared, thread });
        }
        let syncing = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-journal".to_owned())
            .spawn(move || syncing.sync_until_closed())
            .map_err(|error| backend("start the journal", error))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Appends a step. It survives the end of the process when this returns.
    pub(super) fn append(&self, step: Plain) -> Result<Place> {
        let mut state = self.shared.lock();
        state.check()?;
        if !state.unwritten.follows(step.no, step.seq) {
            let gap = format!("step {} is not the next one", step.seq);
            return Err(backend("write the journal", gap));
        }
        let bytes = entry::write(state.salt, state.len, state.envelope, &step);
        // What is left of a failed write is overwritten by the next one, or cut off at the next start.
        state.files[state.active]
            .write_all_at(&bytes, state.len)
            .map_err(|error| io_error("write the journal", error))?;
        if !state.is_ahead_of_the_disk() {
            self.shared.work.notify_one();
        }
        state.len += bytes.len() as u64;
        state.appended += bytes.len() as u64;
        state.unwritten.add(step);
        let end = state.appended;
        // Where the other one could not be written, that is asked for again and again.
        let is_full = state.len / state.full > (state.len - bytes.len() as u64) / state.full;
        if state.len >= state.full && !state.other_is_full {
            state.turn_over();
        }
        Ok(Place { end, is_full })
    }

    /// Waits until everything up to this place survives a power cut.
    pub(super) async fn synced(&self, place: Place) -> Result<()> {
        self.synced_to(Some(place.end)).await
    }

    /// Waits until everything that was appended survives a power cut.
    pub(super) async fn all_synced(&self) -> Result<()> {
        self.synced_to(None).await
    }

    async fn synced_to(&self, end: Option<u64>) -> Result<()> {
        #[cfg(feature = "simulation")]
        if let Some(takes) = crate::simulation::machine().map(|machine| machine.disk_takes()) {
            // A simulated crash is not one of the machine: what was appended is there.
            tokio::time::sleep(takes).await;
            return Ok(());
        }
        let waiting = {
            let mut state = self.shared.lock();
            let end = end.unwrap_or(state.appended);
            if state.synced >= end {
                return Ok(());
            }
            state.check()?;
            let (to, waiting) = oneshot::channel();
            state.waiting.push((end, to));
            waiting
        };
        self.shared.work.notify_one();
        waiting.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Takes what is to be written of one consumer, and writes it. Inside a transaction.
    pub(super) fn write_one(&self, db: &Connection, no: i64) -> Tx<Taken> {
        let net = self.shared.lock().unwritten.take(no);
        let taken = Taken {
            shared: Arc::clone(&self.shared),
            nets: net.into_iter().map(|net| (no, net)).collect(),
            generation: None,
            is_last: false,
            written: Cell::new(false),
        };
        taken.write(db)?;
        Ok(taken)
    }

    /// Takes everything that is to be written, and writes it. Inside a transaction.
    pub(super) fn write_all(&self, db: &Connection) -> Tx<Taken> {
        let taken = {
            let mut state = self.shared.lock();
            let generation = state.envelope.generation;
            Taken {
                shared: Arc::clone(&self.shared),
                nets: state.unwritten.take_all(),
                // At the end, nothing can follow in this one. A run that never began has not ended well.
                generation: Some(generation - u64::from(!state.closing)),
                is_last: state.closing && state.is_open,
                written: Cell::new(false),
            }
        };
        taken.write(db)?;
        Ok(taken)
    }

    /// These are the rows of a consumer, all written.
    pub(super) fn loaded(&self, no: i64, rows: HashSet<u64>) {
        self.shared.lock().unwritten.loaded(no, rows);
    }

    /// This was done to the consumer's rows beside the journal.
    pub(super) fn wrote(&self, no: i64, rows: &[Rows]) {
        self.shared.lock().unwritten.wrote(no, rows);
    }

    /// The consumer was removed.
    pub(super) fn forget(&self, no: i64) {
        self.shared.lock().unwritten.forget(no);
    }

    /// Whether it can be written.
    pub(super) fn check(&self) -> Result<()> {
        self.shared.lock().check()
    }

    /// Whether it takes nothing more until the rows are written, and nobody was told to write them yet:
    /// whoever asks is to see to it.
    pub(super) fn needs_writing(&self) -> bool {
        let mut state = self.shared.lock();
        state.is_too_long() && !std::mem::replace(&mut state.is_being_written, true)
    }

    /// The rows were written, or could not be.
    pub(super) fn writing_ended(&self) {
        self.shared.lock().is_being_written = false;
    }

    /// Whether rows lack something.
    pub(super) fn is_ahead(&self) -> bool {
        !self.shared.lock().unwritten.is_empty()
    }

    /// Marks it as being in use. Where that was so already the last run did not end well, and a power
    /// cut may have taken deliveries that nobody waited for, even all of the journal with them: no later
    /// one may have the token of one of those.
    pub(super) fn begin(db: &Connection) -> Tx<()> {
        let rises = "update consumer set generation = generation + 1
                     where (select is_open from journal)";
        db.execute(rises, [])?;
        db.execute("update journal set is_open = 1", [])?;
        Ok(())
    }

    /// It is marked as being in use.
    pub(super) fn begun(&self) {
        self.shared.lock().is_open = true;
    }

    /// Whether something is to be written at the end.
    pub(super) fn is_to_be_ended(&self) -> bool {
        let state = self.shared.lock();
        state.is_open || !state.unwritten.is_empty()
    }

    /// Takes no more steps.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
    }

    /// Ends the thread. What was written needs no journal any more.
    pub(super) fn end(&self) {
        self.join();
        let state = self.shared.lock();
        if state.unwritten.is_empty() && state.health.refusal().is_none() {
            for file in &state.files {
                if let Err(error) = file.set_len(0).and_then(|()| file.sync_all()) {
                    tracing::warn!(%error, "could not empty the journal");
                }
            }
        }
    }
}

impl Journal {
    fn join(&self) {
        self.close();
        self.shared.work.notify_one();
        super::join(&self.thread, "journal");
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_until_closed(&self) {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                if state.closing {
                    return;
                }
                if !state.is_ahead_of_the_disk() {
                    state = self
                        .work
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let (woken, timeout) = self
                    .work
                    .wait_timeout(state, UNSYNCED)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if timeout.timed_out() {
                    break;
                }
            }
            let (generation, len, appended) =
                (state.envelope.generation, state.len, state.appended);
            let active = Arc::clone(&state.files[state.active]);
            let other = Arc::clone(&state.files[1 - state.active]);
            let other = state.other_is_dirty.then_some(other);
            drop(state);
            // The older one first: what is in the newer one rests on it.
            let synced = other
                .map_or(Ok(()), |other| other.sync_data())
                .and_then(|()| active.sync_data());
            state = self.lock();
            if let Err(error) = synced {
                // Nobody knows what the disk has now: a later sync that succeeds would prove nothing.
                tracing::error!(%error, "could not sync the journal");
                state.health.note_failed_sync();
                for (_, to) in state.waiting.drain(..) {
                    drop(to.send(Err(StoreError::DiskFailed)));
                }
                continue;
            }
            state.synced = appended;
            if state.envelope.generation == generation {
                state.envelope.synced = len;
                state.other_is_dirty = false;
            }
            let (done, waiting) = std::mem::take(&mut state.waiting)
                .into_iter()
                .partition(|(end, _)| *end <= appended);
            state.waiting = waiting;
            let done: Vec<(u64, oneshot::Sender<Result<()>>)> = done;
            drop(state);
            for (_, to) in done {
                // A caller who has gone does not want its answer.
                drop(to.send(Ok(())));
            }
            state = self.lock();
        }
    }
}

impl State {
    fn check(&self) -> Result<()> {
        if let Some(refusal) = self.health.refusal() {
            return Err(refusal);
        }
        if self.closing {
            return Err(StoreError::Closed);
        }
        if self.is_too_long() {
            let why = "the consumers' states could not be written for long: the log says why";
            return Err(backend("write the journal", why));
        }
        Ok(())
    }

    /// So much waits for the rows that it goes on in neither file.
    fn is_too_long(&self) -> bool {
        self.other_is_full && self.len >= MUCH * self.full
    }

    fn is_ahead_of_the_disk(&self) -> bool {
        self.synced < self.appended && self.health.refusal().is_none()
    }

    /// Goes on in the other file.
    fn turn_over(&mut self) {
        self.other_is_full = true;
        self.other_is_dirty = self.envelope.synced < self.len;
        self.active = 1 - self.active;
        self.envelope = Envelope {
            generation: self.envelope.generation + 1,
            synced: 0,
            before: self.len,
        };
        self.len = header::LENGTH;
    }
}

/// Tests have files turn over sooner. Only debug builds look.
fn full() -> u64 {
    let set = std::env::var("HEADRACE_JOURNAL_BYTES").ok();
    set.filter(|_| cfg!(debug_assertions))
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(FULL)
}

impl Taken {
    fn write(&self, db: &Connection) -> Tx<()> {
        for (no, net) in &self.nets {
            steps::write_net(db, *no, net)?;
        }
        if let Some(generation) = self.generation {
            db.prepare_cached("update journal set written = ?1 where written < ?1")?
                .execute([generation.cast_signed()])?;
        }
        if self.is_last {
            db.execute("update journal set is_open = 0", [])?;
        }
        Ok(())
    }

    /// It is durable.
    pub(super) fn written(&self) {
        self.written.set(true);
        if self.generation.is_some() {
            let mut state = self.shared.lock();
            // What filled up meanwhile is the next one's.
            if self.generation == Some(state.envelope.generation - 1) {
                state.other_is_full = false;
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.written.get() {
            return;
        }
        let mut state = self.shared.lock();
        for (no, net) in self.nets.drain(..) {
            state.unwritten.give_back(no, net);
        }
    }
}
