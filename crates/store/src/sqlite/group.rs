//! Group commit: what the writer thread does.
//!
//! Many jobs share a transaction, each in a savepoint of its own: one that is refused undoes nothing
//! of the others. Nobody is answered before the commit has returned; then first everything is
//! published, in order, then everybody is answered. When the commit fails, nothing of the group is
//! visible and every caller gets the error.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use rusqlite::Connection;

use super::error::{Fault, Tx, sql_error};
use super::health::Health;
use super::upkeep::{Done, Upkeep};
use super::writer::Job;
use crate::{Breakpoint, StoreError, breakpoint};

/// Jobs per transaction, at most.
const GROUP_JOBS: usize = 64;
/// Bytes of data per transaction, unless a single job brings more.
const GROUP_BYTES: usize = 4 << 20;
/// How often it is looked whether the log was moved.
const MOVING: Duration = Duration::from_millis(20);

type Jobs = VecDeque<Box<dyn Job>>;

/// Runs jobs until no more can come.
pub(super) fn run(db: &Connection, queue: &Receiver<Box<dyn Job>>, upkeep: &mut Upkeep) {
    while let Some(first) = first_of_group(db, queue, upkeep) {
        run_group(db, collect(first, queue), upkeep);
    }
    upkeep.at_end(db);
}

/// Runs what is queued now, then clears up: one turn of [`run`] without a thread.
#[cfg(feature = "simulation")]
pub(super) fn run_queued(db: &Connection, queue: &Receiver<Box<dyn Job>>, upkeep: &mut Upkeep) {
    while let Ok(first) = queue.try_recv() {
        run_group(db, collect(first, queue), upkeep);
    }
    while upkeep.do_some(db) == Done::Some {}
}

fn run_group(db: &Connection, mut group: Jobs, upkeep: &mut Upkeep) {
    while !group.is_empty() {
        match upkeep.health.refusal() {
            Some(refusal) => refuse(refusal, &mut group),
            None => commit(db, &mut group, &upkeep.health),
        }
    }
    upkeep.after_group(db);
}

/// The next job, or `None` when no more can come. While none is there, there is time for the rest.
fn first_of_group(
    db: &Connection,
    queue: &Receiver<Box<dyn Job>>,
    upkeep: &mut Upkeep,
) -> Option<Box<dyn Job>> {
    loop {
        match queue.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        match upkeep.do_some(db) {
            Done::Some => {}
            Done::Nothing => return queue.recv().ok(),
            Done::Moving => match queue.recv_timeout(MOVING) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            },
        }
    }
}

fn collect(first: Box<dyn Job>, queue: &Receiver<Box<dyn Job>>) -> Jobs {
    let mut bytes = first.bytes();
    let mut group = VecDeque::from([first]);
    while group.len() < GROUP_JOBS
        && bytes < GROUP_BYTES
        && let Ok(job) = queue.try_recv()
    {
        bytes += job.bytes();
        group.push_back(job);
    }
    group
}

/// Commits the group, or the part of it that one transaction survives.
fn commit(db: &Connection, group: &mut Jobs, health: &Health) {
    if let Err(error) = execute(db, "begin immediate") {
        return fail("begin a transaction", error, std::mem::take(group), health);
    }
    let mut done = Jobs::new();
    let mut refused = Vec::new();
    while let Some(mut job) = group.pop_front() {
        match in_savepoint(db, &mut *job) {
            Ok(()) => done.push_back(job),
            // Some failures, a full disk among them, make SQLite roll back the whole transaction.
            Err(Fault::Sql(error)) if db.is_autocommit() => {
                done.push_back(job);
                fail("write", error, std::mem::take(&mut done), health);
                break;
            }
            Err(fault) => {
                health.note_fault(&fault);
                let error = fault.during(job.action());
                refused.push((job, error));
            }
        }
    }
    if !done.is_empty() || !db.is_autocommit() {
        finish(db, done, health);
    }
    for (job, error) in refused {
        job.answer(Err(error));
    }
}

fn in_savepoint(db: &Connection, job: &mut dyn Job) -> Tx<()> {
    execute(db, "savepoint job")?;
    let ran = job.run(db);
    if db.is_autocommit() {
        return ran;
    }
    if ran.is_err()
        && let Err(error) = execute(db, "rollback to job")
    {
        // What the job wrote cannot be told from the rest any more: the whole transaction goes.
        execute(db, "rollback")?;
        return Err(error.into());
    }
    execute(db, "release job")?;
    ran
}

fn finish(db: &Connection, mut done: Jobs, health: &Health) {
    breakpoint(Breakpoint::BeforeCommit);
    if let Err(error) = execute(db, "commit") {
        if !db.is_autocommit()
            && let Err(error) = execute(db, "rollback")
        {
            tracing::error!(%error, "could not roll back");
        }
        return fail("commit", error, done, health);
    }
    breakpoint(Breakpoint::AfterCommit);
    for job in &mut done {
        job.publish();
    }
    breakpoint(Breakpoint::AfterPublish);
    for job in done {
        job.answer(Ok(()));
    }
}

/// Answers one of them; the others are answered the same way.
fn refuse(refusal: StoreError, group: &mut Jobs) {
    if let Some(job) = group.pop_front() {
        job.answer(Err(refusal));
    }
}

fn fail(action: &'static str, error: rusqlite::Error, jobs: Jobs, health: &Health) {
    health.note(&error);
    let error = Arc::new(error);
    // The last one first: each takes back what it took from those before it.
    for job in jobs.into_iter().rev() {
        job.answer(Err(sql_error(action, &error)));
    }
}

fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}
