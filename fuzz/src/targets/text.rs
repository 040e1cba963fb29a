//! Texts that come back from outside: what we wrote is read as it was, and anything else is refused.

use headrace_model::delivery::Token;
use headrace_model::provider::{PageCursor, TimeFormat, http_date};
use headrace_model::time::{Timestamp, parse_span};
use headrace_model::{RecordId, ids};

use super::answers;

/// A token is read only if it is written just so.
pub(super) fn token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = Token::parse(text)
    {
        assert_eq!(token.to_string(), text);
    }
    let mut bytes = data.iter().copied().chain(std::iter::repeat(0));
    let mut number = || (0..8).fold(0, |n, _| n << 8 | u64::from(bytes.next().unwrap_or(0)));
    let token = Token {
        consumer: number(),
        idx: number(),
        generation: number() as u32,
        attempts: number() as u32,
    };
    let text = token.to_string();
    assert_eq!(Token::parse(&text), Ok(token));
    // A wrong character of the checksum, the last four, is found out. Any other makes the checksum wrong,
    // but for one in some millions of times: then it is another token.
    let at = number() as usize % text.len();
    let mut wrong = text.into_bytes();
    wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
    let wrong = String::from_utf8_lossy(&wrong).into_owned();
    if let Ok(found) = Token::parse(&wrong) {
        assert!(at < wrong.len() - 4, "{wrong}");
        assert_eq!(found.to_string(), wrong);
    }
}

/// Cursors of the API are ids; those of a sync are stored, and may be from another version.
pub(super) fn cursor(data: &[u8]) {
    if let Ok(cursor) = serde_json::from_slice::<PageCursor>(data) {
        let text = serde_json::to_vec(&cursor).expect("a cursor can be written");
        let again: PageCursor = serde_json::from_slice(&text).expect("and read");
        assert_eq!(again, cursor);
        answers(cursor.created());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(id) = ids::parse_uuid(text) {
        assert_eq!(ids::parse_uuid(&id.to_string()), Some(id));
    }
    if let Some(id) = RecordId::parse(text) {
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
    }
}

/// An instant that was read is written so that it is read again, and spans do not overflow.
pub(super) fn time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{text}");
    }
    if let Some(span) = parse_span(text) {
        answers(Timestamp::default() + span);
        answers(Timestamp::default() - span);
    }
    if let Some(time) = http_date(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{text}");
    }
    for format in [TimeFormat::Unix, TimeFormat::UnixMs, TimeFormat::Rfc3339] {
        if let Some(time) = format.read(text) {
            // Far instants saturate; what is written is read as the same.
            let written = format.write(time);
            let again = format.read(&written).expect("what was written is read");
            assert_eq!(format.write(again), written, "{text}");
        }
    }
}
