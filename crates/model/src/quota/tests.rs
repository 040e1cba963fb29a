//! The guarantees of the quota, under random loads.

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

/// Asks again as soon as somebody went, and answers how often the backfill did.
#[test]
fn what_follows_changes_leaves_a_backfill_its_turn() {
    let mut quota = Quota::new(limit(90, 1.0, 0));
    let mut backfilled = 0;
    quota.ask(Priority::Changes, None);
    quota.ask(Priority::Backfill, None);
    for round in 0..900 {
        // The budget is used up all the time.
        let now = ms(round * 10);
        if let Grant::Go(ticket) = quota.grant(now) {
            backfilled += u32::from(ticket.priority == Priority::Backfill);
            quota.done(now, None, Ended::Normal);
            quota.ask(ticket.priority, None);
        }
    }
    assert!((70..110).contains(&backfilled), "{backfilled}");
}

#[test]
fn nobody_goes_before_a_write() {
    let mut quota = Quota::new(limit(100, 1.0, 0));
    let backfill = quota.ask(Priority::Backfill, None);
    for _ in 0..20 {
        let write = quota.ask(Priority::Write, None);
        assert_eq!(quota.grant(ms(0)), Grant::Go(write));
    }
    assert_eq!(quota.grant(ms(0)), Grant::Go(backfill));
}

#[test]
fn the_rest_that_the_provider_tells_of_is_kept_for_writes() {
    let mut quota = Quota::new(limit(1_000, 1.0, 0));
    let resets_in = Duration::from_secs(9);
    let mut told = |requests| {
        let write = quota.ask(Priority::Write, None);
        assert_eq!(quota.grant(ms(0)), Grant::Go(write));
        let left = Ended::Left {
            requests,
            resets_in,
        };
        quota.done(ms(0), None, left);
        let backfill = quota.ask(Priority::Backfill, None);
        let goes = quota.grant(ms(0)) == Grant::Go(backfill);
        quota.forget(backfill);
        goes.then(|| quota.done(ms(0), None, Ended::Normal));
        goes
    };
    // Of 100, a fifth is not for a backfill, whatever the limit says.
    assert!(told(100));
    assert!(told(21));
    assert!(!told(20));
    assert!(!told(1));
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
