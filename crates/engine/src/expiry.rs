//! The timer that ends ack windows: a message whose worker died becomes available, or a dead letter,
//! without anybody asking for it.
//!
//! The clock may have been set back since a window began: at the start, and when that happens, every
//! window is cut to what it would be if it began now.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headrace_model::delivery::{Consumer, Policy};
use headrace_model::{ConsumerId, Timestamp, config};
use headrace_store::{Kind, StoreError};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::entity;
use crate::{Engine, Error};

/// How long after a failure of the store it is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How long at most nobody looks whether the clock was set back.
const LOOK: Duration = Duration::from_secs(60);

/// When each consumer is to be looked at next.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    plan: Mutex<Plan>,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    queue: BTreeSet<(Timestamp, ConsumerId)>,
    of: HashMap<ConsumerId, Timestamp>,
    /// The latest time that something began at, or that somebody looked at the clock.
    latest: Timestamp,
    /// Those whose windows began by a clock that may have been set back since.
    set_back: HashSet<ConsumerId>,
}

impl Expiry {
    /// Something of this consumer ends at `at`, or later.
    pub(crate) fn expect(&self, consumer: ConsumerId, at: Timestamp) {
        let mut plan = self.plan();
        if plan.of.get(&consumer).is_some_and(|planned| *planned <= at) {
            return;
        }
        if let Some(planned) = plan.of.insert(consumer, at) {
            plan.queue.remove(&(planned, consumer));
        }
        plan.queue.insert((at, consumer));
        if plan.queue.first() == Some(&(at, consumer)) {
            self.sooner.notify_one();
        }
    }

    /// Something begins at this time: a window, or the wait of what was given back.
    pub(crate) fn begins(&self, at: Timestamp) {
        let mut plan = self.plan();
        plan.latest = plan.latest.max(at);
    }

    /// Whether the clock shows less than it did when something began, though nobody looked then.
    fn was_set_back(&self, clock: &dyn Clock) -> bool {
        let mut plan = self.plan();
        let now = clock.now();
        std::mem::replace(&mut plan.latest, now) > now
    }

    fn first(&self) -> Option<Timestamp> {
        let plan = self.plan();
        plan.queue.first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: Timestamp) -> Option<ConsumerId> {
        let mut plan = self.plan();
        let (at, consumer) = plan.queue.first().copied()?;
        if at > now {
            return None;
        }
        plan.queue.remove(&(at, consumer));
        plan.of.remove(&consumer);
        Some(consumer)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Runs the timer until the engine stops. Begins with every consumer: windows end across restarts.
    pub(crate) async fn expire_forever(&self) {
        self.expect_everybody().await;
        while !self.stop.is_cancelled() {
            if self.expiry.was_set_back(&*self.clock) {
                self.expect_everybody().await;
            }
            while let Some(id) = self.expiry.take_due(self.clock.now())
                && !self.stop.is_cancelled()
            {
                let Err(error) = self.expire_one(id).await else {
                    continue;
                };
                tracing::error!(consumer = %id, error = %crate::chain(&error), "could not end ack windows");
                // What cannot be read can hand nothing out either, and is the same in a second.
                if !matches!(error, Error::Stored { .. }) {
                    self.expiry.expect(id, self.clock.now() + RETRY);
                }
            }
            let wait = self.expiry.first().map(|at| at.since(self.clock.now()));
            tokio::select! {
                biased;
                () = self.expiry.sooner.notified() => {}
                () = tokio::time::sleep(wait.map_or(LOOK, |wait| wait.min(LOOK))) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn expect_everybody(&self) {
        loop {
            match entity::ids(&*self.store, Kind::Consumer).await {
                Ok(ids) => {
                    let now = self.clock.now();
                    let ids = ids.into_iter().map(ConsumerId);
                    return ids.for_each(|id| {
                        self.expiry.plan().set_back.insert(id);
                        self.expiry.expect(id, now);
                    });
                }
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "could not list consumers");
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn expire_one(&self, id: ConsumerId) -> Result<(), Error> {
        let Some(consumer) = entity::load_any::<config::HttpConsumer>(&*self.store, id.0).await?
        else {
            self.expiry.plan().set_back.remove(&id);
            return Ok(());
        };
        let policy = consumer.value.policy();
        match self.end_windows(id, &policy).await {
            Ok(()) => {}
            Err(StoreError::NoConsumer) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Only windows: what waits to be delivered again waits for a worker, not for a timer.
        let mut window = None;
        self.store
            .inspect(id, &mut |state| window = state.next_window_end())
            .await?;
        if let Some(end) = window {
            self.expiry.expect(id, end);
        }
        Ok(())
    }

    async fn end_windows(&self, id: ConsumerId, policy: &Policy) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.expiry.plan().set_back.contains(&id) {
            let set_back = &mut |state: &mut Consumer| state.set_back(now, policy);
            self.store.update(id, set_back).await?;
            self.expiry.plan().set_back.remove(&id);
        }
        self.store.expire(id, now, policy).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(self.0)
        }
    }

    #[test]
    fn a_clock_that_was_ahead_while_nobody_looked_was_set_back() {
        let expiry = Expiry::default();
        assert!(!expiry.was_set_back(&At(10)));
        expiry.begins(At(259_200).now());
        assert!(expiry.was_set_back(&At(12)));
        assert!(!expiry.was_set_back(&At(13)));
    }
}
