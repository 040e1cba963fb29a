//! What to do after a request failed: sorted by what comes next, and how long to wait.

use std::time::Duration;

/// What comes next after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The same request may succeed later.
    Retry {
        /// When the provider said so: not before this time has passed.
        after: Option<Duration>,
    },
    /// The credential does not work (any more): somebody has to connect the account again.
    Reauthorize,
    /// The provider understood the request and refuses it. The same one will be refused again.
    Rejected,
    /// What came back can only be a mistake of ours or of the provider's.
    Bug,
}

impl Class {
    /// Whether the same request may succeed later.
    pub fn is_retry(self) -> bool {
        matches!(self, Self::Retry { .. })
    }
}

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The most that the first wait can be; doubled with each attempt.
    pub base: Duration,
    /// No wait is longer.
    pub cap: Duration,
}

impl Backoff {
    /// How long to wait after the attempt with this number (from 0) failed: anything from zero to
    /// `base` · 2^attempt, at most `cap`. `random` is uniform; the waits of many spread out evenly,
    /// so that they do not all come back at once.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let factor = 1u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        let most = self.base.saturating_mul(factor).min(self.cap);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(scale(random, micros))
    }
}

/// A uniform number from 0 to `most`.
fn scale(random: u64, most: u64) -> u64 {
    let product = u128::from(random) * (u128::from(most) + 1);
    u64::try_from(product >> 64).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
    };

    #[test]
    fn waits_double_up_to_the_cap() {
        let most = |attempt| BACKOFF.wait(attempt, u64::MAX);
        assert_eq!(most(0), Duration::from_millis(500));
        assert_eq!(most(3), Duration::from_secs(4));
        assert_eq!(most(6), Duration::from_secs(30));
        assert_eq!(most(u32::MAX), Duration::from_secs(30));
        assert_eq!(BACKOFF.wait(6, 0), Duration::ZERO);
        assert_eq!(BACKOFF.wait(0, u64::MAX / 2), Duration::from_millis(250));
    }
}
