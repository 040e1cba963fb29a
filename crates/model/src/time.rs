//! Time: an instant in microseconds since the Unix epoch, and spans as users write them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in whole microseconds since 1970-01-01T00:00:00Z. Written as ISO 8601 UTC with `Z`
/// and six decimals; read from any RFC 3339 offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest instant that can be told apart: stands for "never".
    pub const MAX: Self = Self(i64::MAX);

    /// The instant so many microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant so many seconds after the epoch; far values saturate.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Reads RFC 3339, and the offset without a colon that Salesforce writes (`+0000`).
    pub fn parse(text: &str) -> Option<Self> {
        let instant: jiff::Timestamp = match text.parse() {
            Ok(instant) => instant,
            Err(_) => jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text)
                .and_then(|parsed| parsed.to_timestamp())
                .ok()?,
        };
        Some(Self(instant.as_microsecond()))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Timestamp {
    /// RFC 3339 text in whole seconds, rounded down.
    pub fn in_seconds(self) -> String {
        let text = Self::from_seconds(self.as_seconds()).to_string();
        text.replace(".000000", "")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant:.6}"),
            Err(_) => f.write_str("9999-12-30T22:00:00.999999Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("expected a time such as 2026-01-31T12:00:00Z"))
    }
}

/// Reads a span such as `500ms`, `30s`, `5m`, `4h` or `7d`; `None` for anything else.
pub fn parse_span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_microseconds_and_z() {
        let text = "2024-11-10T18:38:00.070453Z";
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        assert_eq!(
            Timestamp::from_seconds(0).to_string(),
            "1970-01-01T00:00:00.000000Z"
        );
    }

    #[test]
    fn reads_offsets_with_and_without_colon() {
        let utc = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(Timestamp::parse("2026-01-01T02:00:00+02:00"), Some(utc));
        assert_eq!(Timestamp::parse("2026-01-01T00:00:00.000+0000"), Some(utc));
        assert_eq!(Timestamp::parse("2026-01-01"), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(
            Timestamp::from_micros(1).since(Timestamp::from_micros(5)),
            Duration::ZERO
        );
        assert!(!Timestamp::MAX.to_string().is_empty());
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(parse_span("4h"), Some(Duration::from_secs(14_400)));
        assert_eq!(parse_span("500ms"), Some(Duration::from_millis(500)));
        for bad in [
            "",
            "h",
            "4",
            "4 h",
            "-4h",
            "4y",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }
}
