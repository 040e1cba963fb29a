//! How fast each consumer is going: what it was given and what it settled in the last minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use headrace_model::{ConsumerId, Timestamp};

/// Seconds that are looked back on.
const WINDOW: usize = 60;

/// Messages per second, over the last minute.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rate {
    /// Handed to workers.
    pub delivered: f64,
    /// Settled by workers.
    pub settled: f64,
}

/// The meters of the consumers that were used since the start.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<ConsumerId, Meter>>);

#[derive(Debug)]
struct Meter {
    /// Counts by second, modulo the window: (second, delivered, settled).
    seconds: [(i64, u64, u64); WINDOW],
}

impl Rates {
    /// Counts messages handed out and settled now.
    pub(crate) fn count(&self, consumer: ConsumerId, now: Timestamp, delivered: u64, settled: u64) {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = meters.entry(consumer).or_insert(Meter {
            seconds: [(0, 0, 0); WINDOW],
        });
        let second = now.as_seconds();
        let slot = &mut meter.seconds[slot(second)];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 += delivered;
        slot.2 += settled;
    }

    /// The rate over the last minute.
    pub(crate) fn of(&self, consumer: ConsumerId, now: Timestamp) -> Rate {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(meter) = meters.get(&consumer) else {
            return Rate::default();
        };
        let oldest = now.as_seconds() - WINDOW as i64;
        let recent = meter.seconds.iter().filter(|(second, ..)| *second > oldest);
        let (delivered, settled) =
            recent.fold((0, 0), |sum, slot| (sum.0 + slot.1, sum.1 + slot.2));
        let per_second = |count: u64| count as f64 / WINDOW as f64;
        Rate {
            delivered: per_second(delivered),
            settled: per_second(settled),
        }
    }

    /// Forgets a consumer that was removed.
    pub(crate) fn forget(&self, consumer: ConsumerId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&consumer);
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(WINDOW as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let consumer = ConsumerId::new(Timestamp::from_seconds(0), [1; 10]);
        let rates = Rates::default();
        rates.count(consumer, Timestamp::from_seconds(1_000), 60, 0);
        rates.count(consumer, Timestamp::from_seconds(1_030), 60, 30);
        let at = |second| rates.of(consumer, Timestamp::from_seconds(second));
        assert_eq!(
            at(1_031),
            Rate {
                delivered: 2.0,
                settled: 0.5
            }
        );
        assert_eq!(
            at(1_070),
            Rate {
                delivered: 1.0,
                settled: 0.5
            }
        );
        assert_eq!(at(1_200), Rate::default());
    }
}
