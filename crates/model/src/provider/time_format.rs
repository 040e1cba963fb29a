//! Instants as providers write them.

use super::format::{TimeFile, TimeFormat, VersionFile};
use crate::Timestamp;
use crate::json::{self, Path};

impl TimeFormat {
    /// Reads an instant; `None` when the text is not one in this format.
    pub fn read(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Unix => text.parse().ok().map(Timestamp::from_seconds),
            Self::UnixMs => {
                let millis: i64 = text.parse().ok()?;
                Some(Timestamp::from_micros(millis.saturating_mul(1_000)))
            }
            Self::Rfc3339 | Self::Rfc3339Seconds => Timestamp::parse(text),
        }
    }

    /// Writes an instant, rounded down to what the format can say.
    pub fn write(self, at: Timestamp) -> String {
        match self {
            Self::Unix => at.as_seconds().to_string(),
            Self::UnixMs => at.as_micros().div_euclid(1_000).to_string(),
            Self::Rfc3339 => at.to_string(),
            Self::Rfc3339Seconds => at.in_seconds(),
        }
    }
}

impl TimeFile {
    pub(super) fn read(&self, record: &[u8]) -> Option<Timestamp> {
        read_at(record, &self.take, self.format)
    }
}

impl VersionFile {
    pub(super) fn read(&self, record: &[u8]) -> Option<i64> {
        match self {
            Self::Number(take) => json::text(record, take)?.parse().ok(),
            Self::Time { take, format } => read_at(record, take, *format).map(Timestamp::as_micros),
        }
    }
}

fn read_at(record: &[u8], take: &Path, format: TimeFormat) -> Option<Timestamp> {
    format.read(&json::text(record, take)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_what_they_write() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        for (format, text) in [
            (TimeFormat::Unix, "1700000000"),
            (TimeFormat::UnixMs, "1700000000123"),
            (TimeFormat::Rfc3339, "2023-11-14T22:13:20.123456Z"),
            (TimeFormat::Rfc3339Seconds, "2023-11-14T22:13:20Z"),
        ] {
            assert_eq!(format.write(at), text);
            assert_eq!(format.write(format.read(text).unwrap()), text);
            assert_eq!(format.read("soon"), None);
        }
    }
}
