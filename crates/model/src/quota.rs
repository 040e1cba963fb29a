//! The budget of one credential: how many requests may be made, by whom, and who goes first.
//!
//! Guarantee: in no window of the limit's interval, on whatever clock it is measured between here and
//! the provider, do more than the allowed requests arrive. That needs more than counting starts: a
//! request arrives at some time between its start and its answer, so its place becomes free one
//! interval after it *ended*. There is no refill on top of a burst.
//!
//! Who waits is granted by [`Priority`], then by arrival. Lower priorities may not use the whole
//! budget, so that a write finds room at once, also when a backfill runs at full speed. Nobody but the
//! writes keeps those behind from getting on: now and then one of them goes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::RateLimit;
use crate::{SyncId, Timestamp};

/// What a request is for. The first goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// A user waits for it: a mutation, the proxy, the check of a credential.
    Write,
    /// A record is read again because something happened to it.
    Refetch,
    /// Looking for changes.
    Changes,
    /// The first reading of everything.
    Backfill,
    /// Looking for what nothing tells.
    Sweep,
}

/// A place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket {
    priority: Priority,
    arrival: u64,
}

/// Who may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// This one, now. [`Quota::done`] must follow.
    Go(Ticket),
    /// Nobody before this time, unless a request ends or the limit is changed earlier.
    /// [`Timestamp::MAX`] when only that can help.
    WaitUntil(Timestamp),
    /// Nobody waits.
    Idle,
}

/// How a request ended, as far as the budget is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// As usual, or in an error that says nothing of the budget.
    Normal,
    /// The answer told what is left of the provider's own count.
    Left {
        /// Requests that may still be made.
        requests: u32,
        /// How long until the provider counts anew.
        resets_in: Duration,
    },
    /// The provider asks for a pause.
    Throttled {
        /// How long, from now.
        pause: Duration,
    },
}

/// The budget and its queue.
#[derive(Debug)]
pub struct Quota {
    all: Budget,
    shares: BTreeMap<SyncId, Budget>,
    queue: BTreeMap<Ticket, Option<SyncId>>,
    arrivals: u64,
    /// How many went since, while others waited behind them.
    passed: u32,
    paused_until: Timestamp,
    left: Option<Left>,
}

/// What the provider says is left.
#[derive(Debug)]
struct Left {
    requests: u32,
    until: Timestamp,
    /// The most that it said until then.
    most: u32,
}

/// So many go before one that waits behind them does.
const PASSED: u32 = 8;

impl Quota {
    /// The budget of a credential with this limit.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            all: Budget::new(limit),
            shares: BTreeMap::new(),
            queue: BTreeMap::new(),
            arrivals: 0,
            passed: 0,
            paused_until: Timestamp::default(),
            left: None,
        }
    }

    /// Changes the limit. What was used counts against the new one.
    pub fn set_limit(&mut self, limit: RateLimit) {
        self.all.set_limit(limit);
    }

    /// Changes or removes the cap of a sync's share.
    pub fn set_share(&mut self, sync: SyncId, limit: Option<RateLimit>) {
        match (limit, self.shares.get_mut(&sync)) {
            (Some(limit), Some(share)) => share.set_limit(limit),
            (Some(limit), None) => {
                self.shares.insert(sync, Budget::new(limit));
            }
            (None, _) => {
                self.shares.remove(&sync);
            }
        }
    }

    /// Queues a request, of a sync's share where one is given.
    pub fn ask(&mut self, priority: Priority, sync: Option<SyncId>) -> Ticket {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let ticket = Ticket { priority, arrival };
        self.queue.insert(ticket, sync);
        ticket
    }

    /// Takes a request out of the queue: nobody waits for it any more.
    pub fn forget(&mut self, ticket: Ticket) {
        self.queue.remove(&ticket);
    }

    /// Lets the first one go that may. A share that is used up holds back its own sync only.
    pub fn grant(&mut self, now: Timestamp) -> Grant {
        if self.queue.is_empty() {
            return Grant::Idle;
        }
        self.all.advance(now);
        self.shares
            .values_mut()
            .for_each(|share| share.advance(now));
        let mut earliest = Timestamp::MAX;
        let mut first = None;
        for (ticket, sync) in &self.queue {
            let from = self.open_from(ticket.priority, *sync, now);
            if from <= now {
                first = Some((*ticket, *sync));
                break;
            }
            earliest = earliest.min(from);
        }
        let Some((ticket, sync)) = first else {
            return Grant::WaitUntil(earliest);
        };
        let (ticket, sync) = self.in_turn(ticket, now).unwrap_or((ticket, sync));
        self.queue.remove(&ticket);
        self.all.under_way += 1;
        if let Some(share) = sync.and_then(|sync| self.shares.get_mut(&sync)) {
            share.under_way += 1;
        }
        if let Some(left) = &mut self.left {
            left.requests = left.requests.saturating_sub(1);
        }
        Grant::Go(ticket)
    }

    /// A granted request has ended.
    pub fn done(&mut self, now: Timestamp, sync: Option<SyncId>, ended: Ended) {
        self.all.done(now);
        if let Some(share) = sync.and_then(|sync| self.shares.get_mut(&sync)) {
            share.done(now);
        }
        match ended {
            Ended::Normal => {}
            Ended::Left {
                requests,
                resets_in,
            } => {
                // Requests under way may or may not be in the provider's count: assume they are not.
                let requests = requests.saturating_sub(self.all.under_way);
                let until = now + resets_in;
                let known = self.left.take().filter(|known| now < known.until);
                let most = known.map_or(requests, |known| known.most.max(requests));
                self.left = Some(Left {
                    requests,
                    until,
                    most,
                });
            }
            Ended::Throttled { pause } => self.paused_until = self.paused_until.max(now + pause),
        }
    }

    /// Until when the provider asked for a pause; `None` when it did not, or it is over.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.paused_until).filter(|until| *until > now)
    }

    /// Who goes in the place of this one, because too many went before.
    fn in_turn(&mut self, ticket: Ticket, now: Timestamp) -> Option<(Ticket, Option<SyncId>)> {
        let is_behind = |waiting: &Ticket| waiting.priority > ticket.priority;
        let mut behind = self.queue.iter().filter(|(waiting, _)| is_behind(waiting));
        if ticket.priority == Priority::Write {
            return None;
        }
        // As much of the budget is theirs then as this one may use.
        let goes = |sync| self.open_from(ticket.priority, sync, now) <= now;
        let next = behind.find(|(_, sync)| goes(**sync))?;
        let next = (*next.0, *next.1);
        self.passed = (self.passed + 1) % (PASSED + 1);
        (self.passed == 0).then_some(next)
    }

    /// From when on such a request may go.
    fn open_from(&self, priority: Priority, sync: Option<SyncId>, now: Timestamp) -> Timestamp {
        let share = sync.and_then(|sync| self.shares.get(&sync));
        let told = match &self.left {
            Some(left) if left.requests <= self.all.kept_of(left.most, priority) => left.until,
            _ => now,
        };
        let own = share.map_or(now, |share| share.open_from(Priority::Write, now));
        self.all
            .open_from(priority, now)
            .max(own)
            .max(told)
            .max(self.paused_until)
    }
}

/// A limit and what is used of it.
#[derive(Debug)]
struct Budget {
    allowed: u32,
    interval: Duration,
    concurrent: u32,
    under_way: u32,
    /// Requests that ended less than an interval ago, oldest first.
    ended: VecDeque<Slot>,
    ended_count: u32,
}

/// Requests that ended close to each other. All count until the last one is an interval old.
#[derive(Debug)]
struct Slot {
    first: Timestamp,
    last: Timestamp,
    count: u32,
}

/// An interval is kept as this many slots at most, however many requests are allowed in it.
const SLOTS: u32 = 64;

impl Budget {
    fn new(limit: RateLimit) -> Self {
        let mut budget = Self {
            allowed: 1,
            interval: Duration::ZERO,
            concurrent: u32::MAX,
            under_way: 0,
            ended: VecDeque::new(),
            ended_count: 0,
        };
        budget.set_limit(limit);
        budget
    }

    fn set_limit(&mut self, limit: RateLimit) {
        let RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        } = limit;
        self.allowed = allowed_requests.max(1);
        self.interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::ZERO);
        self.concurrent = match max_concurrent_requests {
            0 => u32::MAX,
            cap => cap,
        };
    }

    /// Forgets what ended an interval ago.
    fn advance(&mut self, now: Timestamp) {
        while let Some(slot) = self.ended.front()
            && now.since(slot.last) > self.interval
        {
            self.ended_count -= slot.count;
            self.ended.pop_front();
        }
    }

    fn done(&mut self, now: Timestamp) {
        self.under_way = self.under_way.saturating_sub(1);
        self.ended_count += 1;
        match self.ended.back_mut() {
            Some(slot) if now.since(slot.first) < self.interval / SLOTS => {
                slot.last = slot.last.max(now);
                slot.count += 1;
            }
            _ => self.ended.push_back(Slot {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }

    /// How much of what the provider allows is kept for those before this priority.
    fn kept_of(&self, most: u32, priority: Priority) -> u32 {
        let allowed = self.allowed.min(most).max(1);
        allowed - usable(allowed, priority)
    }

    /// From when on a request of this priority has room; [`Timestamp::MAX`] when another must end first.
    fn open_from(&self, priority: Priority, now: Timestamp) -> Timestamp {
        if self.under_way >= usable(self.concurrent, priority) {
            return Timestamp::MAX;
        }
        let usable = usable(self.allowed, priority);
        let mut used = self.under_way.saturating_add(self.ended_count);
        if used < usable {
            return now;
        }
        for slot in &self.ended {
            used -= slot.count;
            if used < usable {
                return slot.last + self.interval + Duration::from_micros(1);
            }
        }
        Timestamp::MAX
    }
}

/// How much of a limit requests of this priority may use: something is always left for those before
/// them, but nobody is left with nothing.
fn usable(limit: u32, priority: Priority) -> u32 {
    let percent = match priority {
        Priority::Write => 0,
        Priority::Refetch => 5,
        Priority::Changes => 10,
        Priority::Backfill => 20,
        Priority::Sweep => 50,
    };
    let kept = u64::from(limit) * percent;
    let kept = u32::try_from(kept.div_ceil(100)).unwrap_or(limit);
    limit.saturating_sub(kept).max(1)
}

#[cfg(test)]
mod tests;
