//! The budget of one credential: how many requests may be made, by whom, and who goes first.
//!
//! Guarantee: in no window of the limit's interval, on whatever clock it is measured between here and
//! the provider, do more than the allowed requests arrive. That needs more than counting starts: a
//! request arrives at some time between its start and its answer, so its place becomes free one
//! interval after it *ended*. There is no refill on top of a burst.
//!
//! Who waits is granted by [`Priority`], then by arrival. Lower priorities may not use the whole
//! budget, so that a write finds room at once, also when a backfill runs at full speed.

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
    paused_until: Timestamp,
    left: Option<Left>,
}

/// What the provider says is left.
#[derive(Debug)]
struct Left {
    requests: u32,
    until: Timestamp,
}

impl Quota {
    /// The budget of a credential with this limit.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            all: Budget::new(limit),
            shares: BTreeMap::new(),
            queue: BTreeMap::new(),
            arrivals: 0,
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
                self.left = Some(Left { requests, until });
            }
            Ended::Throttled { pause } => self.paused_until = self.paused_until.max(now + pause),
        }
    }

    /// Until when the provider asked for a pause; `None` when it did not, or it is over.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.paused_until).filter(|until| *until > now)
    }

    /// From when on such a request may go.
    fn open_from(&self, priority: Priority, sync: Option<SyncId>, now: Timestamp) -> Timestamp {
        let share = sync.and_then(|sync| self.shares.get(&sync));
        let told = match &self.left {
            Some(left) if left.requests == 0 => left.until,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(allowed_requests: u32, interval: f64, max_concurrent_requests: u32) -> RateLimit {
        RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        }
    }

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn sync(n: u128) -> SyncId {
        SyncId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_backfill_leaves_room_for_a_write() {
        let mut quota = Quota::new(limit(10, 1.0, 0));
        for _ in 0..10 {
            quota.ask(Priority::Backfill, None);
        }
        let mut gone = 0;
        while let Grant::Go(_) = quota.grant(ms(0)) {
            gone += 1;
        }
        assert_eq!(gone, 8);
        let write = quota.ask(Priority::Write, None);
        assert_eq!(quota.grant(ms(0)), Grant::Go(write));
    }

    #[test]
    fn a_throttle_stops_all_until_it_is_over() {
        let mut quota = Quota::new(limit(10, 1.0, 0));
        let first = quota.ask(Priority::Changes, None);
        assert_eq!(quota.grant(ms(0)), Grant::Go(first));
        let pause = Duration::from_secs(5);
        quota.done(ms(100), None, Ended::Throttled { pause });
        let write = quota.ask(Priority::Write, None);
        assert_eq!(quota.grant(ms(200)), Grant::WaitUntil(ms(5_100)));
        assert_eq!(quota.paused_until(ms(200)), Some(ms(5_100)));
        assert_eq!(quota.grant(ms(5_100)), Grant::Go(write));
    }

    #[test]
    fn what_the_provider_says_is_left_counts() {
        let mut quota = Quota::new(limit(100, 1.0, 0));
        let resets_in = Duration::from_secs(9);
        quota.ask(Priority::Changes, None);
        quota.grant(ms(0));
        let requests = 1;
        quota.done(
            ms(1_000),
            None,
            Ended::Left {
                requests,
                resets_in,
            },
        );
        quota.ask(Priority::Write, None);
        quota.ask(Priority::Write, None);
        assert!(matches!(quota.grant(ms(1_000)), Grant::Go(_)));
        assert_eq!(quota.grant(ms(1_000)), Grant::WaitUntil(ms(10_000)));
    }

    #[test]
    fn a_used_up_share_holds_back_its_own_sync_only() {
        let mut quota = Quota::new(limit(100, 1.0, 0));
        quota.set_share(sync(1), Some(limit(1, 60.0, 0)));
        quota.ask(Priority::Changes, Some(sync(1)));
        quota.ask(Priority::Changes, Some(sync(1)));
        let other = quota.ask(Priority::Backfill, Some(sync(2)));
        assert!(matches!(quota.grant(ms(0)), Grant::Go(_)));
        assert_eq!(quota.grant(ms(0)), Grant::Go(other));
        assert_eq!(quota.grant(ms(0)), Grant::WaitUntil(Timestamp::MAX));
        quota.set_share(sync(1), None);
        assert!(matches!(quota.grant(ms(0)), Grant::Go(_)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(u8, u8),
        Grant,
        End(usize),
        Wait(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u8..5, 0u8..3).prop_map(|(priority, sync)| Step::Ask(priority, sync)),
            4 => Just(Step::Grant),
            2 => any::<usize>().prop_map(Step::End),
            2 => (0u16..700).prop_map(Step::Wait),
        ]
    }

    fn priority(n: u8) -> Priority {
        [
            Priority::Write,
            Priority::Refetch,
            Priority::Changes,
            Priority::Backfill,
            Priority::Sweep,
        ][usize::from(n)]
    }

    /// A request's start and, once known, its end.
    type Span = (i64, Option<i64>);

    /// The most requests that can arrive within one interval, whatever each one's delay: those whose
    /// time on the way touches the window.
    fn most_in_a_window(spans: &[Span], interval: i64) -> usize {
        let touches = |from: i64, to: i64| {
            let touching = spans
                .iter()
                .filter(|(start, end)| *start <= to && end.is_none_or(|end| end >= from));
            touching.count()
        };
        let windows = spans
            .iter()
            .map(|(start, _)| touches(start - interval, *start));
        windows.max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_allotment(
            allowed in 1u32..12,
            concurrent in 0u32..4,
            steps in proptest::collection::vec(step(), 1..300),
        ) {
            let interval = 1_000;
            let mut quota = Quota::new(limit(allowed, 1.0, concurrent));
            quota.set_share(sync(1), Some(limit(2, 1.0, 1)));
            let (mut now, mut waiting) = (0, BTreeMap::new());
            let mut spans: Vec<(Option<SyncId>, Span)> = Vec::new();
            for step in steps {
                match step {
                    Step::Ask(n, s) => {
                        let sync = (s > 0).then(|| sync(u128::from(s)));
                        waiting.insert(quota.ask(priority(n), sync), sync);
                    }
                    Step::Grant => if let Grant::Go(ticket) = quota.grant(ms(now)) {
                        let sync = waiting.remove(&ticket).unwrap();
                        spans.push((sync, (now, None)));
                        let under_way = spans.iter().filter(|(_, (_, end))| end.is_none()).count();
                        prop_assert!(concurrent == 0 || under_way <= concurrent as usize);
                    },
                    Step::End(n) => {
                        let open: Vec<usize> = (0..spans.len()).filter(|i| spans[*i].1.1.is_none()).collect();
                        if let Some(i) = open.get(n % open.len().max(1)) {
                            spans[*i].1.1 = Some(now);
                            quota.done(ms(now), spans[*i].0, Ended::Normal);
                        }
                    }
                    Step::Wait(millis) => now += i64::from(millis),
                }
            }
            let all: Vec<Span> = spans.iter().map(|(_, span)| *span).collect();
            prop_assert!(most_in_a_window(&all, interval) <= allowed as usize);
            let share: Vec<Span> = spans.iter().filter(|(s, _)| *s == Some(sync(1))).map(|(_, span)| *span).collect();
            prop_assert!(most_in_a_window(&share, interval) <= 2);
        }

        #[test]
        fn a_write_waits_for_at_most_one_interval_and_no_wait_is_longer_than_needed(
            allowed in 1u32..12,
            latency in 1i64..500,
            load in proptest::collection::vec(1u8..5, 50..200),
        ) {
            let mut quota = Quota::new(limit(allowed, 1.0, 0));
            for n in &load {
                quota.ask(priority(*n), None);
            }
            let (mut now, mut ends, mut asked) = (0, VecDeque::new(), None);
            loop {
                while ends.front().is_some_and(|end| *end <= now) {
                    ends.pop_front();
                    quota.done(ms(now), None, Ended::Normal);
                }
                if now >= 1_500 && asked.is_none() {
                    asked = Some((quota.ask(Priority::Write, None), now));
                }
                match quota.grant(ms(now)) {
                    Grant::Go(ticket) => {
                        ends.push_back(now + latency);
                        if let Some((write, since)) = asked && write == ticket {
                            prop_assert!(now - since <= 1_000 + latency + 1);
                            break;
                        }
                    }
                    Grant::WaitUntil(until) => {
                        prop_assert!(until > ms(now));
                        let next_end = ends.front().copied().unwrap_or(i64::MAX);
                        let until = if until == Timestamp::MAX { i64::MAX } else { (until.as_micros() + 999) / 1_000 };
                        let next = until.min(next_end);
                        prop_assert!(next < i64::MAX, "everybody waits for nothing");
                        now = if asked.is_none() { next.min(1_500.max(now + 1)) } else { next };
                    }
                    Grant::Idle => {
                        prop_assert!(asked.is_none());
                        now = 1_500;
                    }
                }
            }
        }
    }
}
