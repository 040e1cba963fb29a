//! The time of day, without steps.
//!
//! The machine's clock may be set by an hour while the server works, or have stood still with the
//! machine. If time followed at once, all ack windows would end together while workers are at it, or
//! none would for an hour. So time goes on as it passes, and what the machine's clock is ahead or
//! behind is made up for slowly: a second in twenty, never back. What is further away than two hours,
//! such as a clock that was wrong since the machine began, would take days: it is followed at once where
//! it is behind, and after a minute where it is ahead. Time that went too far cannot be taken back from
//! what it has ended, and a clock may be wrong for a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headrace_model::Timestamp;
use tokio::time::Instant;

use crate::Clock;

/// Time passes at most by this part faster or slower than it does.
const PART: u32 = 20;
/// After so long the reading begins from a new place, with what was made up for by then.
const PACE: Duration = Duration::from_millis(100);
/// What is further away is not made up for slowly.
const FAR: Duration = Duration::from_secs(2 * 3_600);
/// What is so far ahead is followed when it has been for so long.
const LASTING: Duration = Duration::from_secs(60);
/// A difference that is told.
const TOLD: Duration = Duration::from_secs(10);

/// A clock that follows another one without its steps, unless they are of hours.
pub struct SteadyClock {
    followed: Arc<dyn Clock>,
    reading: Mutex<Reading>,
}

struct Reading {
    from: Instant,
    steady: Steady,
}

impl SteadyClock {
    /// Begins with the time of the other clock.
    pub fn following(followed: Arc<dyn Clock>) -> Self {
        let reading = Reading {
            from: Instant::now(),
            steady: Steady::new(followed.now()),
        };
        Self {
            followed,
            reading: Mutex::new(reading),
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (followed, now) = (self.followed.now(), Instant::now());
        let passed = now.saturating_duration_since(reading.from);
        let time = reading.steady.read(followed, passed);
        if passed < PACE {
            return time;
        }
        reading.from = now;
        reading.steady.go_on_from(time, followed, passed)
    }

    fn machine(&self) -> Timestamp {
        self.followed.now()
    }
}

/// The rule, without a clock.
struct Steady {
    from: Timestamp,
    newest: Timestamp,
    /// For how long the other clock has been far ahead.
    far_ahead_for: Option<Duration>,
    is_told: bool,
}

impl Steady {
    fn new(from: Timestamp) -> Self {
        Self {
            from,
            newest: from,
            far_ahead_for: None,
            is_told: false,
        }
    }

    /// The time, so long after the place from which it is read.
    fn read(&mut self, followed: Timestamp, passed: Duration) -> Timestamp {
        let (time, most) = (self.from + passed, passed / PART);
        let ahead = followed.since(time).min(most);
        let behind = time.since(followed).min(most);
        self.newest = self.newest.max(time + ahead - behind);
        self.newest
    }

    /// Begins the next reading at this time, or at the other clock's where that is far away for good.
    /// So much has passed since the last reading began.
    fn go_on_from(&mut self, time: Timestamp, followed: Timestamp, passed: Duration) -> Timestamp {
        let apart = followed.since(time).max(time.since(followed));
        let seconds = apart.as_secs();
        let is_ahead = followed.since(time) > FAR;
        self.far_ahead_for = is_ahead.then(|| match self.far_ahead_for {
            Some(before) => before + passed,
            // Nobody knows since when.
            None => Duration::ZERO,
        });
        if self.far_ahead_for.is_some_and(|lasted| lasted >= LASTING) || time.since(followed) > FAR
        {
            *self = Self::new(followed);
            tracing::warn!(seconds, "the machine's clock was set, and is followed");
            return followed;
        }
        self.from = time;
        if apart < TOLD {
            self.is_told = false;
        } else if !self.is_told {
            self.is_told = true;
            tracing::warn!(
                seconds,
                "the machine's clock was set: it is followed slowly, a second in {PART}"
            );
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Reads every second for so long while the other clock is wrong by this; answers what passed.
    fn pass(steady: &mut Steady, seconds: u32, followed: impl Fn(Timestamp) -> Timestamp) -> f64 {
        let begin = steady.newest;
        let mut passed = begin;
        for _ in 0..seconds {
            passed = passed + SECOND;
            let before = steady.newest;
            let time = steady.read(followed(passed), SECOND);
            assert!(time > before, "it stands still or goes back");
            steady.go_on_from(time, followed(passed), SECOND);
        }
        steady.newest.since(begin).as_secs_f64()
    }

    #[test]
    fn time_passes_as_it_does_while_the_clock_is_right() {
        let mut steady = Steady::new(Timestamp::from_seconds(1_000_000));
        assert_eq!(pass(&mut steady, 600, |right| right), 600.0);
    }

    #[test]
    fn a_step_either_way_is_followed_slowly() {
        let start = Timestamp::from_seconds(1_000_000);
        let mut steady = Steady::new(start);
        assert_eq!(pass(&mut steady, 600, |right| right + HOUR), 630.0);
        let mut steady = Steady::new(start);
        assert_eq!(pass(&mut steady, 600, |right| right - HOUR), 570.0);
    }

    #[test]
    fn in_the_end_it_is_caught_up_with() {
        let mut steady = Steady::new(Timestamp::from_seconds(1_000_000));
        let minute = 60.0;
        let passed = pass(&mut steady, 3_600, |right| right + 60 * SECOND);
        assert_eq!(passed, 3_600.0 + minute);
        let passed = pass(&mut steady, 3_600, |right| right - 60 * SECOND);
        assert_eq!(passed, 3_600.0 - minute);
    }

    #[test]
    fn it_never_goes_back_between_two_readings() {
        let from = Timestamp::from_seconds(1_000_000);
        let mut steady = Steady::new(from);
        let first = steady.read(from + HOUR, SECOND);
        let second = steady.read(from - HOUR, SECOND + Duration::from_millis(1));
        assert!(second >= first);
    }

    #[test]
    fn what_is_more_than_two_hours_behind_is_followed_at_once() {
        let start = Timestamp::from_seconds(100_000_000);
        let right = start - 720 * HOUR;
        let mut steady = Steady::new(start);
        let time = steady.read(right, SECOND);
        assert_eq!(steady.go_on_from(time, right, SECOND), right);
        assert_eq!(pass(&mut steady, 600, |right| right), 600.0);
    }

    #[test]
    fn what_is_more_than_two_hours_ahead_is_followed_when_it_lasts() {
        let start = Timestamp::from_seconds(100_000_000);
        let ahead = |right| right + 720 * HOUR;
        let mut steady = Steady::new(start);
        let slowly = 63.0;
        for _ in 0..3 {
            assert_eq!(pass(&mut steady, 60, ahead), slowly, "not after a moment");
            pass(&mut steady, 60, |right| right);
        }
        let passed = pass(&mut steady, 61, ahead);
        let month = 720.0 * HOUR.as_secs_f64();
        assert!(passed > month, "{passed}");
        assert!(passed < month + 120.0, "{passed}");
    }
}
