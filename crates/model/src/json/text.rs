//! The text that a token stands for.

use std::borrow::Cow;

use super::path::Path;
use super::scan::get;

/// The text at a path: a string without its quotes and escapes, a number or a boolean as it is
/// written. `None` for null, an object, an array, or when there is nothing.
pub fn text<'a>(json: &'a [u8], path: &Path) -> Option<Cow<'a, str>> {
    token_text(get(json, path)?)
}

/// The text that one token stands for, by the rules of [`text`].
pub fn token_text(token: &[u8]) -> Option<Cow<'_, str>> {
    match token.first()? {
        b'"' => {
            let inside = token.get(1..token.len().checked_sub(1)?)?;
            if inside.contains(&b'\\') {
                return Some(Cow::Owned(unescape(inside)));
            }
            Some(String::from_utf8_lossy(inside))
        }
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(String::from_utf8_lossy(token)),
        _ => None,
    }
}

/// Resolves the escapes between the quotes of a string. Half of a surrogate pair, which JSON permits
/// and text does not, becomes U+FFFD.
pub(super) fn unescape(inside: &[u8]) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escape) = rest.split_at(at);
        if !plain.is_empty() {
            flush(&mut units, &mut out);
            out.push_str(&String::from_utf8_lossy(plain));
        }
        let length = match escape.get(1) {
            Some(b'u') => {
                units.push(hex(escape.get(2..6)));
                6
            }
            Some(&byte) => {
                flush(&mut units, &mut out);
                out.push(short_escape(byte));
                2
            }
            None => 1,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    flush(&mut units, &mut out);
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    let decoded = char::decode_utf16(units.drain(..));
    out.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

fn hex(digits: Option<&[u8]>) -> u16 {
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    digits
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        .unwrap_or(0xfffd)
}

fn short_escape(byte: u8) -> char {
    match byte {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(other),
    }
}
