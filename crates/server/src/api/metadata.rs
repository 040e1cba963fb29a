//! `metadata` as it is given: free JSON, whose numbers are kept by their value, or refused.

use headrace_model::config::Metadata;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// For `#[serde(default, deserialize_with = "…")]`: absent and `null` are `None`.
pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Option<Metadata>, D::Error>
where
    D: Deserializer<'de>,
{
    let given = Option::<Box<RawValue>>::deserialize(deserializer)?;
    given
        .map(|given| read(given.get()).map_err(D::Error::custom))
        .transpose()
}

/// Reads a JSON object; tells why it is not taken.
pub(super) fn read(text: &str) -> Result<Metadata, String> {
    // First: a number that is too large is no number to whoever reads it into a double.
    if let Some(number) = numbers(text).find(|number| !is_kept(number)) {
        let shown: String = number.chars().take(40).collect();
        return Err(format!(
            "has the number {shown}, which would not be kept as it is: write it as a string"
        ));
    }
    let no_object = |_| r#"must be a JSON object, such as {"plan":"pro"}"#.to_owned();
    serde_json::from_str(text).map_err(no_object)
}

/// The numbers in JSON, as they are written.
fn numbers(json: &str) -> impl Iterator<Item = &str> {
    // Every other piece is inside quotes, once escaped ones are passed over.
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = rest.get(start..)?;
            if !rest.starts_with('"') {
                let in_number =
                    |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let end = rest.find(|c| !in_number(c)).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                rest = after;
                return Some(number);
            }
            rest = after_string(rest)?;
        }
    })
}

/// What follows the string that the text begins with.
fn after_string(text: &str) -> Option<&str> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    text.get(end?.0 + 1..)
}

/// Whether a number has the same value after it was read and written again.
fn is_kept(number: &str) -> bool {
    let is_whole = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    is_whole
        || number
            .parse::<f64>()
            .is_ok_and(|read| read.is_finite() && decimal(number) == decimal(&format!("{read:e}")))
}

/// A number's digits without zeros around them, and the power of ten of the last one.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (digits, power) = match number.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, power.parse().ok()?),
        None => (number, 0_i64),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{part}");
    let kept = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let power = power.checked_sub(i64::try_from(part.len()).ok()?)?;
    let kept = kept.trim_start_matches('0').to_owned();
    match kept.is_empty() {
        true => Some((false, kept, 0)),
        false => Some((is_negative, kept, power.checked_add(dropped)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_by_its_value_or_refused() {
        for kept in [
            "0",
            "-0.0",
            "1e2",
            "1.50",
            "0.30000000000000004",
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            "100000000000000000000",
            "5e-324",
        ] {
            read(&format!(r#"{{"n": [{kept}, "1e999\"-1e999"]}}"#)).unwrap();
        }
        for refused in [
            "1e400",
            "-1e400",
            "1e-400",
            "18446744073709551616000001",
            "100000000000000000001",
            "0.12345678901234567891",
            "1e99999999999999999999",
        ] {
            let told = read(&format!(r#"{{"n": [{refused}]}}"#)).unwrap_err();
            assert!(told.contains(refused), "{told}");
        }
    }
}
