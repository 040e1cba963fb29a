//! The time a sandbox believes in.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Answers the current time in Unix seconds. It may stand still, jump, or run backwards.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The time of the machine.
pub fn wall_clock() -> Clock {
    Arc::new(machine_seconds)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a sandbox looks at the machine's time; tests pass their own clock"
)]
fn machine_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

/// `seconds` in the form of an HTTP `Date` header.
pub(crate) fn http_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_have_the_http_form() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
