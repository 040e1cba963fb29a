//! What a seed has in store. Each draws its own part of all that can go wrong: some worlds are calm but
//! for one thing, so that it is not drowned by the others.

use std::time::Duration;

use headrace_sandbox::stripe::Collection;

use super::rng::Rng;

/// The collections whose changes all arrive through events, or through their parent's.
pub(super) const COLLECTIONS: [(&str, Collection); 8] = [
    ("stripe:customer", Collection::Customer),
    ("stripe:product", Collection::Product),
    ("stripe:price", Collection::Price),
    ("stripe:subscription", Collection::Subscription),
    ("stripe:subscription_item", Collection::SubscriptionItem),
    ("stripe:invoice", Collection::Invoice),
    ("stripe:charge", Collection::Charge),
    ("stripe:refund", Collection::Refund),
];

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// How far ahead the machine's clock may be set.
pub(super) const STEPS: [i64; 7] = [-3 * DAY, -HOUR, -1_000_000, 0, 2_000_000, HOUR, 3 * DAY];

/// How often things go wrong, "once in so many times" each; 0 is never.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How long the troubles last.
    pub(super) troubles: Duration,
    pub(super) collections: Vec<usize>,
    /// Objects that the account begins with.
    pub(super) seeded: usize,
    pub(super) page_size: u32,
    /// Requests a second.
    pub(super) rate: u32,
    /// Whether the provider refuses what is over the rate.
    pub(super) provider_limits: bool,
    pub(super) changes_every: Duration,
    pub(super) consumers: u64,
    pub(super) workers: u64,
    /// Of requests.
    pub(super) broken_answer: u64,
    pub(super) slow_answer: u64,
    /// How late events are shown, at most.
    pub(super) late_events: Duration,
    /// Of transactions.
    pub(super) failed_commit: u64,
    pub(super) slow_disk: u64,
    /// Of calls of the store.
    pub(super) failed_call: u64,
    /// Of passed breakpoints.
    pub(super) crash: u64,
    /// Between two stops of the process.
    pub(super) stop_every: Option<Duration>,
    /// Of decisions of workers.
    pub(super) bad_worker: u64,
    pub(super) operator_every: Option<Duration>,
    /// Whether the process follows the machine's clock as the server does, without its steps.
    pub(super) is_steady: bool,
    /// How far the machine's clock is ahead at first, in microseconds.
    pub(super) clock_ahead: i64,
    /// Between two steps of the machine's clock.
    pub(super) clock_every: Option<Duration>,
    /// Whether nothing runs for a month: longer than the provider keeps its events.
    pub(super) absent: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut collections: Vec<usize> = (0..COLLECTIONS.len()).collect();
        for _ in 0..rng.below(7) {
            let at = rng.below(collections.len() as u64);
            collections.remove(usize::try_from(at).unwrap());
        }
        // Items are read below their subscriptions.
        if collections.contains(&4) && !collections.contains(&3) {
            collections.push(3);
            collections.sort_unstable();
        }
        let mut often = |times: &[u64]| match rng.below(5) < 3 {
            true => *rng.pick(times),
            false => 0,
        };
        let (broken_answer, slow_answer) = (often(&[4, 10, 40]), often(&[3, 15]));
        let (failed_commit, slow_disk) = (often(&[8, 30, 100]), often(&[3, 20]));
        let (failed_call, crash) = (often(&[20, 60, 200]), often(&[60, 200, 600]));
        let bad_worker = often(&[2, 5, 15]);
        let late = often(&[20, 90, 200]);
        let mut every = |seconds: &[u64]| match rng.below(5) < 2 {
            true => Some(Duration::from_secs(*rng.pick(seconds))),
            false => None,
        };
        Self {
            collections,
            broken_answer,
            slow_answer,
            late_events: Duration::from_secs(late),
            failed_commit,
            slow_disk,
            failed_call,
            crash,
            bad_worker,
            stop_every: every(&[20, 60, 200]),
            operator_every: every(&[5, 20, 60]),
            clock_every: every(&[30, 120]),
            absent: rng.once_in(4),
            troubles: Duration::from_secs(rng.between(30, 200)),
            seeded: usize::try_from(rng.between(0, 25)).unwrap(),
            page_size: u32::try_from(*rng.pick(&[2, 5, 10, 100])).unwrap(),
            rate: u32::try_from(*rng.pick(&[4, 10, 25])).unwrap(),
            provider_limits: rng.once_in(3),
            changes_every: Duration::from_secs(*rng.pick(&[5, 15, 40])),
            consumers: rng.between(1, 2),
            workers: rng.between(1, 3),
            is_steady: !rng.once_in(4),
            clock_ahead: match rng.once_in(8) {
                true => *rng.pick(&[-30 * DAY, -HOUR, HOUR]),
                false => 0,
            },
        }
    }
}
