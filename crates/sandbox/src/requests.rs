//! What a sandbox has been asked.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines kept for [`Requests::recent`].
const KEPT: usize = 1000;

/// A running record of the requests a sandbox received, faults and refusals included.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    count: u64,
    recent: VecDeque<String>,
}

impl Requests {
    /// Requests received since the sandbox was made.
    pub fn count(&self) -> u64 {
        self.log().count
    }

    /// The last 1000 requests, oldest first, as `GET /v1/customers?limit=100`.
    pub fn recent(&self) -> Vec<String> {
        self.log().recent.iter().cloned().collect()
    }

    pub(crate) fn push(&self, line: String) {
        let mut log = self.log();
        log.count += 1;
        if log.recent.len() == KEPT {
            log.recent.pop_front();
        }
        log.recent.push_back(line);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
