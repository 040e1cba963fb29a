//! The writer: one thread that owns the one connection that writes. Jobs run in the order in which
//! they were submitted; [`group`] commits many of them together.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{Tx, backend};
use super::group;
use super::lock::DirLock;
use super::upkeep::Upkeep;
use crate::{Result, StoreError};

/// The way to the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    #[cfg(feature = "simulation")]
    simulated: Option<super::simulated::Simulated>,
}

/// A submitted job's answer to come.
pub(super) struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits until the job is durable, or has failed and left nothing.
    pub(super) async fn durable(self) -> Result<T> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Writer {
    /// Starts the thread. It keeps the directory's lock until it has ended.
    pub(super) fn start(db: Connection, lock: DirLock, mut upkeep: Upkeep) -> Result<Self> {
        let (jobs, queue) = channel();
        #[cfg(feature = "simulation")]
        if crate::simulation::machine().is_some() {
            let bench = super::simulated::Bench {
                db,
                queue,
                upkeep,
                lock,
            };
            let simulated = super::simulated::Simulated::start(bench);
            return Ok(Self {
                jobs: Mutex::new(Some(jobs)),
                thread: Mutex::default(),
                simulated: Some(simulated.map_err(|fault| fault.during("start the writer"))?),
            });
        }
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                group::run(&db, &queue, &mut upkeep);
                drop(db);
                drop(upkeep);
                drop(lock);
            })
            .map_err(|error| backend("start the writer", error))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            #[cfg(feature = "simulation")]
            simulated: None,
        })
    }

    /// Queues a job and returns at once; jobs run in the order of these calls. `run` works inside the
    /// transaction. `after` is called on the writer thread: with what `run` answered once that is
    /// durable, before anybody is answered; with `None` when nothing of it was written.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        action: &'static str,
        bytes: usize,
        run: impl FnOnce(&Connection) -> Tx<T> + Send + 'static,
        after: impl FnOnce(Option<&T>) + Send + 'static,
    ) -> Pending<T> {
        let (to, answer) = oneshot::channel();
        let task = Box::new(Task {
            action,
            bytes,
            run: Some(run),
            value: None,
            after: Some(after),
            to,
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent: Option<Box<dyn Job>> = match &*jobs {
            Some(jobs) => jobs.send(task).err().map(|unsent| unsent.0),
            None => Some(task),
        };
        drop(jobs);
        if let Some(unsent) = unsent {
            unsent.answer(Err(StoreError::Closed));
        }
        #[cfg(feature = "simulation")]
        if let Some(simulated) = &self.simulated {
            simulated.wake();
        }
        Pending(answer)
    }

    /// Writes and waits.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Connection) -> Tx<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(action, 0, run, |_| {}).durable().await
    }

    /// Waits until everything submitted before has been answered.
    pub(super) fn barrier(&self) -> Pending<()> {
        self.submit("wait for the writer", 0, |_| Ok(()), |_| {})
    }

    /// Ends the thread after everything submitted is durable. Blocks until then.
    pub(super) fn close(&self) {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        super::join(&self.thread, "writer");
        #[cfg(feature = "simulation")]
        if let Some(simulated) = &self.simulated {
            simulated.close();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        #[cfg(feature = "simulation")]
        if self.simulated.take().is_some() {
            return;
        }
        self.close();
    }
}

/// What the thread does with a submitted job.
pub(super) trait Job: Send {
    /// What the caller attempted.
    fn action(&self) -> &'static str;
    /// About how much it writes.
    fn bytes(&self) -> usize;
    /// Works inside the transaction.
    fn run(&mut self, db: &Connection) -> Tx<()>;
    /// It is durable: shows it to readers.
    fn publish(&mut self);
    /// Tells the caller.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Task<T, R, A> {
    action: &'static str,
    bytes: usize,
    run: Option<R>,
    value: Option<T>,
    after: Option<A>,
    to: oneshot::Sender<Result<T>>,
}

impl<T, R, A> Job for Task<T, R, A>
where
    T: Send,
    R: FnOnce(&Connection) -> Tx<T> + Send,
    A: FnOnce(Option<&T>) + Send,
{
    fn action(&self) -> &'static str {
        self.action
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, db: &Connection) -> Tx<()> {
        if let Some(run) = self.run.take() {
            self.value = Some(run(db)?);
        }
        Ok(())
    }

    fn publish(&mut self) {
        if let Some(after) = self.after.take() {
            after(self.value.as_ref());
        }
    }

    fn answer(mut self: Box<Self>, outcome: Result<()>) {
        if outcome.is_err() {
            self.value = None;
            self.publish();
        }
        let Self { value, to, .. } = *self;
        let answer = outcome.and_then(|()| value.ok_or(StoreError::Closed));
        // A caller who has gone does not want its answer.
        drop(to.send(answer));
    }
}
