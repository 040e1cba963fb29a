//! A clock that only ever goes on: for pacing, and for measuring answers.

use headrace_model::Timestamp;
use tokio::time::Instant;

/// Time since the program began to make requests. Not the time of day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monotonic {
    start: Instant,
}

impl Monotonic {
    pub(super) fn start() -> Self {
        let start = Instant::now();
        Self { start }
    }

    pub(super) fn now(self) -> Timestamp {
        Timestamp::default() + self.start.elapsed()
    }

    pub(super) async fn sleep_until(self, until: Timestamp) {
        tokio::time::sleep(until.since(self.now())).await;
    }
}
