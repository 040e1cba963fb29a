//! How long to wait: between two looks, and after failures.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::config::Frequency;
use headrace_model::retry::Backoff;

use super::failure::Next;
use super::supervisor::SyncSettings;
use crate::clock::{Clock, draw};
use crate::outbound::LONGEST_PAUSE;

/// The pauses of one reconciler.
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    settings: SyncSettings,
    frequency: Frequency,
    pause: Duration,
    failures: u32,
}

impl Pace {
    pub(super) fn new(clock: Arc<dyn Clock>, settings: SyncSettings, frequency: Frequency) -> Self {
        Self {
            clock,
            settings,
            frequency,
            pause: settings.poll,
            failures: 0,
        }
    }

    /// The pause after a look that went well: longer and longer while nothing changes.
    pub(super) fn after_look(&mut self, found_something: bool) -> Duration {
        self.failures = 0;
        self.pause = if found_something {
            self.settings.poll
        } else {
            let longer = self.pause + self.pause / 2;
            longer.min(self.settings.poll_idle.max(self.settings.poll))
        };
        let pause = match self.frequency {
            Frequency::Continuous => self.pause,
            Frequency::Every(seconds) => Duration::from_secs(seconds),
        };
        self.jittered(pause)
    }

    /// Something went well again.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The pause after a failure.
    pub(super) fn after_failure(&mut self, next: Next) -> Duration {
        let backoff = Backoff {
            base: self.settings.poll.min(Duration::from_secs(1)),
            cap: self.settings.retry_cap,
        };
        let wait = backoff.wait(self.failures, u64::from_le_bytes(draw(&*self.clock)));
        self.failures = self.failures.saturating_add(1);
        match next {
            Next::Retry(after) => {
                let told = after.map(|after| after.min(LONGEST_PAUSE));
                told.unwrap_or(wait).max(backoff.base / 2)
            }
            Next::StandStill => self.jittered(self.settings.failed_pause),
            Next::Yield | Next::Stop => Duration::ZERO,
        }
    }

    /// The pause, a tenth longer at most: many syncs must not fall into step.
    fn jittered(&self, pause: Duration) -> Duration {
        let [part] = draw(&*self.clock);
        pause + pause / 10 * u32::from(part) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn pace(frequency: Frequency) -> Pace {
        Pace::new(Arc::new(SystemClock), SyncSettings::default(), frequency)
    }

    fn is_about(pause: Duration, seconds: u64) -> bool {
        let least = Duration::from_secs(seconds);
        least <= pause && pause <= least + least / 9
    }

    #[test]
    fn looks_become_rarer_up_to_a_minute_and_often_again() {
        let mut pace = pace(Frequency::Continuous);
        assert!(is_about(pace.after_look(false), 15));
        for _ in 0..10 {
            pace.after_look(false);
        }
        assert!(is_about(pace.after_look(false), 60));
        assert!(is_about(pace.after_look(true), 10));
        assert!(is_about(
            super::tests::pace(Frequency::Every(14_400)).after_look(false),
            14_400
        ));
    }

    #[test]
    fn failures_wait_longer_and_never_not_at_all() {
        let mut pace = pace(Frequency::Continuous);
        for _ in 0..40 {
            let pause = pace.after_failure(Next::Retry(None));
            assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(60));
        }
        let told = Duration::from_secs(600);
        assert_eq!(pace.after_failure(Next::Retry(Some(told))), told);
        let absurd = Next::Retry(Some(Duration::MAX));
        assert_eq!(pace.after_failure(absurd), LONGEST_PAUSE);
        assert!(is_about(pace.after_failure(Next::StandStill), 300));
    }
}
