//! The rate limit: a bucket that holds one second's worth of requests.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Limit {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Limit {
    pub(crate) fn per_second(rate: u32) -> Self {
        let per_second = f64::from(rate);
        let bucket = Bucket {
            tokens: per_second,
            filled: Instant::now(),
        };
        Self {
            per_second,
            bucket: Mutex::new(bucket),
        }
    }

    /// Whether one more request is within the limit.
    pub(crate) fn admits(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.per_second);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}
