//! The timer that ends ack windows: a message whose worker died becomes available, or a dead letter,
//! without anybody asking for it.
//!
//! The clock may be set back after a window began. Whoever reads an earlier time than was read before
//! wakes the timer, and what waits is moved back as far. The time is also written down now and then, so
//! that a start can tell; where the clock was not set, no window that a worker was promised changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headrace_model::delivery::{Consumer, Policy};
use headrace_model::{ConsumerId, OrgId, Timestamp, config};
use headrace_store::{Kind, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::entity::{self, Entity, Stored};
use crate::{Engine, Error};

/// How long after a failure of the store it is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How long at most nobody looks whether the clock was set back, nor writes the time down.
const LOOK: Duration = Duration::from_secs(60);
/// Readings may be this far out of order, and a clock set back by less, without anybody minding.
const SLIP: Duration = Duration::from_secs(60);

/// What the time was, at the latest, when this was written down.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    time: Timestamp,
}

/// What was written down last, and when that failed.
#[derive(Debug)]
pub(crate) struct Written {
    seen: Option<Stored<Seen>>,
    failed_at: Option<Instant>,
}

impl Entity for Seen {
    const KIND: Kind = Kind::Time;
    const WHAT: &'static str = "time";
}

/// When each consumer is to be looked at next.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    plan: Mutex<Plan>,
    sooner: Notify,
    /// Rings when what a consumer has waiting was moved back.
    moved: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    queue: BTreeSet<(Timestamp, ConsumerId)>,
    of: HashMap<ConsumerId, Timestamp>,
    /// The newest time that was read, since the clock was set back if it was.
    newest: Option<Timestamp>,
    /// How far the clock was set back, where no consumer knows of it yet.
    jumped: Duration,
    /// The same, of consumers of which what waits is to be moved.
    set_back: HashMap<ConsumerId, Step>,
    /// The consumer that the timer is just moving.
    moving: Option<ConsumerId>,
    /// The same, of what was written too late for it.
    late: HashMap<ConsumerId, Step>,
}

/// How far what waits for a consumer is to be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    by: Duration,
    /// Not only windows, but also what was given back with a delay.
    delays: bool,
}

/// A step that the timer is just moving a consumer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moving {
    step: Step,
    is_late: bool,
}

impl Plan {
    /// By how much that what waits may still be ahead.
    fn not_moved(&self) -> Duration {
        let steps = self.set_back.values().chain(self.late.values());
        let longest = steps.map(|step| step.by).max();
        self.jumped + longest.unwrap_or_default()
    }

    fn is_moved(&self, consumer: ConsumerId) -> bool {
        let later = [&self.set_back, &self.late];
        self.jumped.is_zero()
            && self.moving != Some(consumer)
            && !later.iter().any(|step| step.contains_key(&consumer))
    }

    /// Whether what is written for this consumer now will be moved with all that it has waiting.
    fn is_in_time(&self, consumer: ConsumerId) -> bool {
        let is_waiting = self.set_back.contains_key(&consumer) && self.moving != Some(consumer);
        is_waiting || !self.jumped.is_zero()
    }

    fn come_late(&mut self, consumer: ConsumerId, step: Step) {
        let late = self.late.entry(consumer).or_default();
        late.by = late.by.max(step.by);
        late.delays |= step.delays;
    }
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

    /// This is the time now, as somebody has read it.
    pub(crate) fn saw(&self, now: Timestamp) {
        let mut plan = self.plan();
        let newest = plan.newest.unwrap_or(now);
        let back = newest.since(now);
        if back > SLIP {
            plan.newest = Some(now);
            plan.jumped += back;
        } else {
            plan.newest = Some(newest.max(now));
        }
        if back > SLIP || now.since(newest) > SLIP {
            // It is written down at once that it was so late.
            self.sooner.notify_one();
        }
    }

    /// What this consumer was given at `then`, windows or also `delays`, is written by `now`. Where the
    /// clock was set back in between, and everything was moved already, that came too late for it. It is
    /// moved then, and with it, where it has a delay, what else of this consumer waits for one: rather early
    /// than by hours late.
    pub(crate) fn began(
        &self,
        consumer: ConsumerId,
        then: Timestamp,
        now: Timestamp,
        delays: bool,
    ) {
        let by = then.since(now);
        if by <= SLIP {
            return;
        }
        self.saw(now);
        let mut plan = self.plan();
        if !plan.is_in_time(consumer) {
            plan.come_late(consumer, Step { by, delays });
        }
        drop(plan);
        self.expect(consumer, now);
    }

    /// Waits until what this consumer has waiting was moved back as far as the clock was: what is added
    /// from then on is not moved with it. A store that cannot do it is not waited for.
    pub(crate) async fn until_moved(&self, consumer: ConsumerId) {
        let moved = async {
            loop {
                let moved = self.moved.notified();
                if self.plan().is_moved(consumer) {
                    return;
                }
                moved.await;
            }
        };
        tokio::time::timeout(RETRY, moved).await.ok();
    }

    /// How far what waits for this consumer is to be moved. What is written from now on comes too late.
    fn begin_moving(&self, consumer: ConsumerId) -> Option<Moving> {
        let mut plan = self.plan();
        let moving = match plan.set_back.get(&consumer) {
            Some(step) => Moving {
                step: *step,
                is_late: false,
            },
            None => Moving {
                step: plan.late.remove(&consumer)?,
                is_late: true,
            },
        };
        plan.moving = Some(consumer);
        Some(moving)
    }

    fn end_moving(&self, consumer: ConsumerId, moving: Moving, is_moved: bool) {
        let mut plan = self.plan();
        plan.moving = None;
        match (moving.is_late, is_moved) {
            (false, true) => drop(plan.set_back.remove(&consumer)),
            (true, false) => plan.come_late(consumer, moving.step),
            (false, false) | (true, true) => {}
        }
        drop(plan);
        self.moved.notify_waiters();
    }

    fn forget_step(&self, consumer: ConsumerId) {
        let mut plan = self.plan();
        plan.late.remove(&consumer);
        plan.set_back.remove(&consumer);
        drop(plan);
        self.moved.notify_waiters();
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
    /// Looks whether the clock was set back since the time was written down last. Before anything is
    /// handed out or settled.
    pub(crate) async fn look_back(&self) -> Written {
        let seen = self.last_seen().await;
        if let Some(seen) = &seen {
            self.expiry.saw(seen.value.time);
            self.expiry.saw(self.clock.now());
        }
        Written {
            seen,
            failed_at: None,
        }
    }

    /// Runs the timer until the engine stops. Begins with every consumer: windows end across restarts.
    pub(crate) async fn expire_forever(&self, mut written: Written) {
        let mut is_first = true;
        while !self.stop.is_cancelled() {
            self.expiry.saw(self.clock.now());
            let by = self.expiry.plan().jumped;
            if std::mem::take(&mut is_first) || !by.is_zero() {
                self.expect_everybody(by).await;
            }
            while let Some(id) = self.expiry.take_due(self.clock.now())
                && !self.stop.is_cancelled()
            {
                let Err(error) = self.expire_one(id).await else {
                    continue;
                };
                tracing::error!(consumer = %id, error = %crate::chain(&error), "could not end ack windows");
                // What cannot be read can hand nothing out either, and is the same in a second.
                match error {
                    Error::Stored { .. } => self.expiry.forget_step(id),
                    _ => self.expiry.expect(id, self.clock.now() + RETRY),
                }
            }
            self.write_time(&mut written, LOOK).await;
            let wait = self.expiry.first().map(|at| at.since(self.clock.now()));
            tokio::select! {
                biased;
                () = self.expiry.sooner.notified() => {}
                () = tokio::time::sleep(wait.map_or(LOOK, |wait| wait.min(LOOK))) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.expiry.saw(self.clock.now());
        self.write_time(&mut written, Duration::ZERO).await;
    }

    /// What was written down last; nothing in a new store, and where it cannot be read.
    async fn last_seen(&self) -> Option<Stored<Seen>> {
        let seen = entity::load_any::<Seen>(&*self.store, Uuid::nil()).await;
        seen.unwrap_or_else(|error| {
            let error = crate::chain(&error);
            tracing::error!(error, "nobody knows whether the clock was set back");
            None
        })
    }

    /// Writes down what the time is, where that is so much later than what was, or earlier. Until
    /// everything was moved back it is what it was before.
    async fn write_time(&self, written: &mut Written, every: Duration) {
        let time = {
            let plan = self.expiry.plan();
            let Some(newest) = plan.newest else {
                return;
            };
            newest + plan.not_moved()
        };
        let is_fresh = |seen: &Stored<Seen>| {
            let before = seen.value.time;
            (before..before + every).contains(&time)
        };
        let has_just_failed = |at: Instant| at.elapsed() < every;
        if written.seen.as_ref().is_some_and(is_fresh)
            || written.failed_at.is_some_and(has_just_failed)
        {
            return;
        }
        let org = OrgId(Uuid::nil());
        let fresh = || Stored::new(Uuid::nil(), org, time, Seen { time });
        let mut seen = written.seen.take().unwrap_or_else(fresh);
        seen.value.time = time;
        match seen.save(&*self.store, time).await {
            Ok(()) => written.seen = Some(seen),
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(error, "the time could not be written down");
                written.failed_at = Some(Instant::now());
                written.seen = self.last_seen().await;
            }
        }
    }

    async fn expect_everybody(&self, by: Duration) {
        loop {
            match entity::ids(&*self.store, Kind::Consumer).await {
                Ok(ids) => {
                    let now = self.clock.now();
                    let ids = ids.into_iter().map(ConsumerId);
                    let ids: Vec<ConsumerId> = ids.collect();
                    if !by.is_zero() {
                        let mut plan = self.expiry.plan();
                        for id in &ids {
                            let step = plan.set_back.entry(*id).or_default();
                            step.by += by;
                            step.delays = true;
                        }
                        plan.jumped -= by;
                    }
                    self.expiry.moved.notify_waiters();
                    return ids.into_iter().for_each(|id| self.expiry.expect(id, now));
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
            self.expiry.forget_step(id);
            return Ok(());
        };
        let policy = consumer.value.policy();
        match self.end_windows(id, &policy).await {
            Ok(()) => {}
            Err(StoreError::NoConsumer) => {
                self.expiry.forget_step(id);
                return Ok(());
            }
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
        while let Some(moving) = self.expiry.begin_moving(id) {
            let moved = self.move_back(id, moving.step, policy).await;
            self.expiry.end_moving(id, moving, moved.is_ok());
            moved?;
        }
        let now = self.clock.now();
        self.store.expire(id, now, policy).await.map(drop)
    }

    async fn move_back(
        &self,
        id: ConsumerId,
        Step { by, delays }: Step,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let set_back = &mut |state: &mut Consumer| {
            // The time when it is this consumer's turn: what began while it was waited for counts from then.
            let now = self.clock.now();
            match delays {
                true => state.set_back(now, by, policy),
                false => state.set_windows_back(now, by, policy),
            }
        };
        self.store.update(id, set_back).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const BUSY: ConsumerId = ConsumerId(Uuid::from_u128(1));
    const OTHER: ConsumerId = ConsumerId(Uuid::from_u128(2));

    #[test]
    fn a_step_of_the_clock_counts_once_however_many_were_at_work() {
        let expiry = Expiry::default();
        let then = Timestamp::default() + 9 * HOUR;
        let now = then - 3 * HOUR;
        expiry.saw(then);
        for _ in 0..3 {
            expiry.began(BUSY, then, now, true);
        }
        assert_eq!(expiry.plan().jumped, 3 * HOUR);
        assert!(expiry.plan().set_back.is_empty());
    }

    #[test]
    fn who_comes_too_late_for_a_step_is_moved_alone() {
        let expiry = Expiry::default();
        let then = Timestamp::default() + 9 * HOUR;
        let now = then - 3 * HOUR;
        let step = |delays| Step {
            by: 3 * HOUR,
            delays,
        };
        expiry.saw(then);
        expiry.saw(now);
        // The timer knows of everybody.
        let mut plan = expiry.plan();
        plan.jumped = Duration::ZERO;
        plan.set_back = HashMap::from([(BUSY, step(true)), (OTHER, step(true))]);
        drop(plan);
        let moving = |delays, is_late| Moving {
            step: step(delays),
            is_late,
        };
        assert_eq!(expiry.begin_moving(BUSY), Some(moving(true, false)));
        for id in [BUSY, OTHER] {
            expiry.began(id, then, now, false);
        }
        assert_eq!(expiry.plan().late, HashMap::from([(BUSY, step(false))]));
        expiry.end_moving(BUSY, moving(true, false), true);
        assert!(!expiry.plan().is_moved(BUSY));
        // While that is moved, and where it cannot be, it is not done yet.
        assert_eq!(expiry.begin_moving(BUSY), Some(moving(false, true)));
        assert!(!expiry.plan().is_moved(BUSY));
        expiry.end_moving(BUSY, moving(false, true), false);
        assert!(!expiry.plan().is_moved(BUSY));
        expiry.began(BUSY, then, now, true);
        let plan = expiry.plan();
        assert_eq!(plan.late, HashMap::from([(BUSY, step(true))]));
        assert_eq!(plan.set_back, HashMap::from([(OTHER, step(true))]));
        assert_eq!(plan.jumped, Duration::ZERO);
        assert_eq!(plan.queue.first(), Some(&(now, BUSY)));
    }
}
