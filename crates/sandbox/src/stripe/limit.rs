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

    /// Whether one more request is within the limit at `now`.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Limit;

    #[test]
    fn a_second_admits_its_rate_and_saves_no_more() {
        let limit = Limit::per_second(2);
        let start = Instant::now();
        let admitted = |millis| {
            let now = start + Duration::from_millis(millis);
            (0..5).filter(|_| limit.admits(now)).count()
        };
        assert_eq!(admitted(0), 2);
        assert_eq!(admitted(400), 0);
        assert_eq!(admitted(600), 1);
        assert_eq!(admitted(9000), 2);
    }
}
