//! What the time is at a provider, told from the `Date` headers of its answers.
//!
//! An answer that was asked for at `sent`, arrived at `received` and is dated `D` was dated at some
//! time in between, when the provider's clock showed something in `[D, D + 1 s)`: the header has whole
//! seconds. So the provider's clock is ahead of ours by at least `D - received` and by less than
//! `D + 1 s - sent`. The largest lower bound of the last minutes is used. It is never too large, so
//! the time that is told is **never later** than what the provider's clock showed, and most of the
//! time earlier by only a part of a second. Too early costs a re-read ([`headrace_model::record`]
//! takes nothing for old without one); too late would let an old page overwrite newer data.
//!
//! Our side of the comparison is the monotonic clock: setting the machine's clock changes nothing.

use std::time::Duration;

use headrace_model::Timestamp;

/// Bounds older than twice this are forgotten: two clocks drift apart, some by seconds a day.
const KEPT: Duration = Duration::from_secs(300);
const RESOLUTION: Duration = Duration::from_secs(1);
/// A date that is further ahead of what is known is believed when a second answer says so too, within
/// this.
const AGREE: Duration = Duration::from_secs(5);

/// How far a provider's clock is ahead of ours, at least.
#[derive(Debug, Default)]
pub(super) struct ProviderClock {
    current: Option<Bound>,
    previous: Option<Bound>,
    /// How far ahead the clock is by an answer that is not believed yet.
    unbelieved: Option<Ahead>,
}

/// Between what a single answer puts how far the clock is ahead, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    least: i64,
    most: i64,
}

impl Ahead {
    fn of(date: Timestamp, sent: Timestamp, received: Timestamp) -> Self {
        let least = date.as_micros().saturating_sub(received.as_micros());
        let latest = (date + RESOLUTION).as_micros();
        let most = latest.saturating_sub(sent.as_micros());
        Self { least, most }
    }

    fn agrees_with(self, other: Self) -> bool {
        let (least, most) = (self.least.max(other.least), self.most.min(other.most));
        let apart = u64::try_from(least.saturating_sub(most)).unwrap_or_default();
        Duration::from_micros(apart) <= AGREE
    }
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    /// Microseconds to add to our monotonic clock.
    ahead: i64,
    /// When the first answer of this bound arrived.
    since: Timestamp,
}

impl ProviderClock {
    /// Learns from an answer, unless it alone is dated ahead of what is known of the provider's clock,
    /// or else of this machine's (`local`): that is a slip, and would pass for the future.
    pub(super) fn hear(
        &mut self,
        date: Timestamp,
        sent: Timestamp,
        received: Timestamp,
        local: Timestamp,
    ) {
        let known = self.at(received).unwrap_or(local);
        if date.since(known) > AGREE {
            let ahead = Ahead::of(date, sent, received);
            let earlier = self.unbelieved.replace(ahead);
            if !earlier.is_some_and(|earlier| earlier.agrees_with(ahead)) {
                tracing::debug!(%date, "a provider's answer is dated ahead: not believed yet");
                return;
            }
        }
        self.unbelieved = None;
        self.observe(date, sent, received);
    }

    /// Learns from an answer. `sent` and `received` are monotonic.
    pub(super) fn observe(&mut self, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let Ahead { least, most } = Ahead::of(date, sent, received);
        if self.ahead().is_some_and(|ahead| ahead > most) {
            // The two cannot both be right: somebody set the provider's clock.
            *self = Self::default();
        }
        match &mut self.current {
            Some(bound) if received.since(bound.since) < KEPT => {
                bound.ahead = bound.ahead.max(least)
            }
            _ => {
                self.previous = self
                    .current
                    .take()
                    .filter(|bound| received.since(bound.since) < 2 * KEPT);
                let (ahead, since) = (least, received);
                self.current = Some(Bound { ahead, since });
            }
        }
    }

    /// What the provider's clock showed, at the earliest, at this monotonic time. `None` when the
    /// provider dates nothing.
    pub(super) fn at(&self, monotonic: Timestamp) -> Option<Timestamp> {
        let ahead = self.ahead()?;
        Some(Timestamp::from_micros(
            monotonic.as_micros().saturating_add(ahead),
        ))
    }

    fn ahead(&self) -> Option<i64> {
        let bounds = [self.current, self.previous];
        bounds.iter().flatten().map(|bound| bound.ahead).max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn us(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn one_answer_from_the_future_is_a_slip_and_two_are_a_clock() {
        let mut clock = ProviderClock::default();
        let second = Timestamp::from_seconds;
        // This machine's clock is a day behind; the monotonic one began at 0.
        let local = second(1_000_000);
        let right = second(1_086_400);
        clock.hear(right, us(0), us(1_000), local);
        assert_eq!(clock.at(us(1_000)), None, "one alone is not believed");
        clock.hear(right, us(2_000), us(3_000), local);
        assert!(
            clock
                .at(us(3_000))
                .is_some_and(|at| local.since(at).is_zero())
        );
        for ahead in [50 * 60, 90 * 86_400] {
            let slip = right + Duration::from_secs(ahead);
            clock.hear(slip, us(4_000), us(5_000), local);
            clock.hear(right, us(6_000), us(7_000), local);
            assert!(
                clock.at(us(7_000)).unwrap() <= right + RESOLUTION,
                "{ahead}"
            );
        }
    }

    #[test]
    fn answers_that_take_long_agree_too() {
        let mut clock = ProviderClock::default();
        let second = Timestamp::from_seconds;
        // This machine's clock is an hour behind. The first answer takes 17 s.
        clock.hear(second(4_000), us(0), us(17_000_000), second(400));
        assert_eq!(clock.at(us(17_000_000)), None);
        clock.hear(second(4_017), us(17_000_000), us(17_100_000), second(417));
        assert!(clock.at(us(17_100_000)).is_some());
    }

    #[test]
    fn a_provider_that_dates_nothing_has_no_time() {
        assert_eq!(ProviderClock::default().at(us(5)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed() {
        let mut clock = ProviderClock::default();
        clock.observe(us(100_000_000), us(0), us(10));
        clock.observe(us(40_000_000), us(1_000), us(1_010));
        assert_eq!(clock.at(us(1_010)), Some(us(40_000_000)));
    }

    proptest! {
        #[test]
        fn the_time_told_is_never_late_and_soon_within_a_second(
            offset in 0i64..5_000_000_000,
            answers in proptest::collection::vec((0i64..60_000_000, 0i64..400_000, 0i64..400_000), 1..80),
        ) {
            let mut clock = ProviderClock::default();
            let mut now = 0;
            for (pause, there, back) in answers {
                let sent = now + pause;
                let stamped = sent + there;
                let received = stamped + back;
                let date = Timestamp::from_seconds((stamped + offset).div_euclid(1_000_000));
                clock.observe(date, us(sent), us(received));
                let told = clock.at(us(sent)).unwrap().as_micros();
                prop_assert!(told <= sent + offset);
                prop_assert!(sent + offset - told < 1_000_000 + 400_000);
                now = received;
            }
        }
    }
}
