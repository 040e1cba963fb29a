//! Ack tokens: the name of one delivery.
//!
//! A token is opaque to workers and not a secret: whoever may settle a consumer's messages may settle
//! any of them. Its checksum only tells our tokens from other strings.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Names one delivery: consumer, generation, index, and which delivery of that version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// The consumer's number.
    pub consumer: u64,
    /// The consumer's generation at the delivery.
    pub generation: u32,
    /// The version's index.
    pub idx: u64,
    /// Which delivery of the version, from 1.
    pub attempts: u32,
}

/// The text is not one of our tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an ack token: pass the ack_token of a delivered message, unchanged")]
pub struct NotAToken;

const BODY: usize = 24;
const SIZE: usize = BODY + 3;
/// Characters of a token's text: 27 bytes, six bits each.
const TEXT: usize = SIZE * 4 / 3;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Token {
    /// Reads a token's text.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let bytes = decode(text.as_bytes()).ok_or(NotAToken)?;
        if checksum(&bytes) != [bytes[24], bytes[25], bytes[26]] {
            return Err(NotAToken);
        }
        let [consumer, idx] = [0, 8].map(|at| u64::from_be_bytes(take(&bytes, at)));
        let [generation, attempts] = [16, 20].map(|at| u32::from_be_bytes(take(&bytes, at)));
        Ok(Self {
            consumer,
            generation,
            idx,
            attempts,
        })
    }

    /// Appends the token's text: 36 characters that need no escaping in JSON or a URL.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.consumer.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.idx.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.attempts.to_be_bytes());
        let sum = checksum(&bytes);
        bytes[BODY..].copy_from_slice(&sum);
        for chunk in bytes.chunks_exact(3) {
            let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
            out.extend([18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(TEXT);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

fn decode(text: &[u8]) -> Option<[u8; SIZE]> {
    if text.len() != TEXT {
        return None;
    }
    let mut bytes = [0; SIZE];
    for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0;
        for c in four {
            bits = bits << 6 | u32::from(value(*c)?);
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn value(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

fn checksum(bytes: &[u8; SIZE]) -> [u8; 3] {
    let hash = xxh3_64(&bytes[..BODY]).to_be_bytes();
    [hash[0], hash[1], hash[2]]
}

fn take<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back() {
        let token = Token {
            consumer: u64::MAX,
            generation: 3,
            idx: 605,
            attempts: 1,
        };
        assert_eq!(Token::parse(&token.to_string()), Ok(token));
        assert_eq!(token.to_string().len(), TEXT);
    }

    #[test]
    fn other_strings_are_not_tokens() {
        let good = Token {
            consumer: 1,
            generation: 1,
            idx: 1,
            attempts: 1,
        }
        .to_string();
        let mut changed = good.clone().into_bytes();
        changed[3] = if changed[3] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        for bad in [
            "",
            "NjA1",
            "é",
            good.strip_prefix('A').unwrap(),
            &format!("{good}A"),
            &changed,
            &"!".repeat(36),
        ] {
            assert_eq!(Token::parse(bad), Err(NotAToken), "{bad}");
        }
    }
}
