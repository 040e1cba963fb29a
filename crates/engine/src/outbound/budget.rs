//! The budgets of all credentials, and waiting for them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headrace_model::config::RateLimit;
use headrace_model::quota::{Ended, Grant, Priority, Quota, Ticket};
use headrace_model::{CredentialId, SyncId, Timestamp};
use tokio::sync::Notify;

use super::monotonic::Monotonic;

/// One budget per credential, shared by everybody who uses it.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    known: Mutex<HashMap<CredentialId, Arc<Budget>>>,
}

impl Budgets {
    /// The budget of a credential, made with this limit where there is none yet.
    pub(super) fn of(&self, credential: CredentialId, limit: RateLimit) -> Arc<Budget> {
        let mut known = lock(&self.known);
        let make = || Arc::new(Budget::new(limit));
        known.entry(credential).or_insert_with(make).clone()
    }

    /// The budget of a credential that was used before.
    pub(super) fn get(&self, credential: CredentialId) -> Option<Arc<Budget>> {
        lock(&self.known).get(&credential).cloned()
    }

    pub(super) fn forget(&self, credential: CredentialId) {
        lock(&self.known).remove(&credential);
    }
}

/// A quota that can be waited for.
#[derive(Debug)]
pub(super) struct Budget {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    quota: Quota,
    /// Granted, but not yet taken by those who wait.
    granted: BTreeSet<Ticket>,
}

impl Budget {
    fn new(limit: RateLimit) -> Self {
        let state = State {
            quota: Quota::new(limit),
            granted: BTreeSet::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Changes the quota; who waits looks again.
    pub(super) fn change(&self, change: impl FnOnce(&mut Quota)) {
        change(&mut lock(&self.state).quota);
        self.changed.notify_waiters();
    }

    /// Waits until a request may be made. Dropping the future gives the place in the queue up.
    pub(super) async fn permit(
        self: &Arc<Self>,
        clock: Monotonic,
        priority: Priority,
        sync: Option<SyncId>,
    ) -> Permit {
        let ticket = lock(&self.state).quota.ask(priority, sync);
        let waiting = Waiting {
            budget: self,
            clock,
            ticket,
            sync,
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change goes unnoticed.
            changed.as_mut().enable();
            match self.take(ticket, clock.now()) {
                None => break,
                Some(Timestamp::MAX) => changed.await,
                Some(until) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = clock.sleep_until(until) => {}
                    }
                }
            }
        }
        std::mem::forget(waiting);
        Permit {
            budget: Arc::clone(self),
            clock,
            sync,
            ended: Ended::Normal,
        }
    }

    /// Takes the grant for this ticket; until when to wait where there is none.
    fn take(&self, ticket: Ticket, now: Timestamp) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        let mut others = false;
        let until = loop {
            match state.quota.grant(now) {
                Grant::Go(granted) => {
                    others |= granted != ticket;
                    state.granted.insert(granted);
                }
                Grant::WaitUntil(until) => break until,
                Grant::Idle => break Timestamp::MAX,
            }
        };
        let mine = state.granted.remove(&ticket);
        drop(state);
        if others {
            self.changed.notify_waiters();
        }
        (!mine).then_some(until)
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    budget: &'a Budget,
    clock: Monotonic,
    ticket: Ticket,
    sync: Option<SyncId>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.state);
        if state.granted.remove(&self.ticket) {
            state.quota.done(self.clock.now(), self.sync, Ended::Normal);
        } else {
            state.quota.forget(self.ticket);
        }
        drop(state);
        self.budget.changed.notify_waiters();
    }
}

/// The right to make one request; it ends when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    clock: Monotonic,
    sync: Option<SyncId>,
    ended: Ended,
}

impl Permit {
    /// The request has ended in this way.
    pub(super) fn end(mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.clock.now();
        lock(&self.budget.state)
            .quota
            .done(now, self.sync, self.ended);
        self.budget.changed.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
