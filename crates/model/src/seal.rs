//! Sealing: secrets are kept encrypted and bound to the place where they belong.
//!
//! An envelope is base64 text of `version ‖ key id ‖ nonce ‖ ciphertext` (XChaCha20-Poly1305). What
//! it belongs to (the *associated data*, such as the id of a credential) is not in it, but it opens
//! only with the same: an envelope copied to another object is useless there. The id of the key lets
//! a new key be introduced while old envelopes still open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
/// The version and the id of the key.
const HEADER: usize = 1 + 4;

/// The keys of an installation. The first seals; all of them open.
#[derive(Clone)]
pub struct Keyring {
    primary: Key,
    others: Vec<Key>,
}

/// Why a key file could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file has no key.
    #[error("the key file has no key: expected a line such as `1f2e3d4c <32 bytes in base64>`")]
    NoKey,
    /// A line is not a key. Its text is not shown: it may be nearly one.
    #[error(
        "line {line} of the key file is not a key: expected `<id, 8 hex digits> <32 bytes in base64>`"
    )]
    NotAKey {
        /// The line, from 1.
        line: usize,
    },
    /// Two keys have the same id.
    #[error("line {line} of the key file repeats the id of an earlier key")]
    SameId {
        /// The line, from 1.
        line: usize,
    },
}

/// Why an envelope could not be sealed or opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// It is no envelope, or one of a newer form.
    #[error("the sealed text is not an envelope this version knows")]
    NotAnEnvelope,
    /// It was sealed with a key that the key file does not have.
    #[error("it was sealed with the key {id:08x}, which is not in the key file")]
    UnknownKey {
        /// The id of the missing key.
        id: u32,
    },
    /// The envelope was changed, or belongs to something else.
    #[error("the envelope was changed or belongs to something else")]
    Refused,
    /// The data is too large to be sealed.
    #[error("the data is too large to be sealed")]
    TooLarge,
}

impl Keyring {
    /// Reads a key file: a key per line as `id base64`, the first seals. Empty lines and lines that
    /// begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys: Vec<Key> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), n + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(KeyFileError::NotAKey { line: number })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyFileError::SameId { line: number });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let primary = keys.next().ok_or(KeyFileError::NoKey)?;
        let others = keys.collect();
        Ok(Self { primary, others })
    }

    /// The line of a key file for a new key made of these random bytes.
    pub fn line(random: [u8; 36]) -> String {
        let (id, key) = random.split_at(4);
        let id = id
            .iter()
            .fold(0, |id: u32, byte| id << 8 | u32::from(*byte));
        format!("{id:08x} {}", BASE64.encode(key))
    }

    /// Seals `secret` for what `aad` names. `nonce` must be random: it may never repeat under a key.
    pub fn seal(&self, aad: &[u8], nonce: [u8; NONCE], secret: &[u8]) -> Result<String, SealError> {
        let header = self.primary.header();
        let bound = bind(&header, aad);
        let payload = Payload {
            msg: secret,
            aad: &bound,
        };
        let cipher = self.primary.cipher();
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::TooLarge)?;
        let mut envelope = Vec::with_capacity(HEADER + NONCE + sealed.len());
        envelope.extend_from_slice(&header);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&sealed);
        Ok(BASE64.encode(envelope))
    }

    /// Opens an envelope that was sealed for what `aad` names.
    pub fn open(&self, aad: &[u8], envelope: &str) -> Result<Vec<u8>, SealError> {
        let envelope = BASE64
            .decode(envelope)
            .ok()
            .filter(|bytes| bytes.len() >= HEADER + NONCE + TAG && bytes.first() == Some(&VERSION))
            .ok_or(SealError::NotAnEnvelope)?;
        let (header, rest) = envelope.split_at(HEADER);
        let (nonce, sealed) = rest.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::NotAnEnvelope)?;
        let id = header
            .iter()
            .skip(1)
            .fold(0, |id: u32, byte| id << 8 | u32::from(*byte));
        let key = self.key(id).ok_or(SealError::UnknownKey { id })?;
        let bound = bind(header, aad);
        let payload = Payload {
            msg: sealed,
            aad: &bound,
        };
        key.cipher()
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::Refused)
    }

    /// Whether an envelope was sealed with a key other than the first, and should be sealed anew.
    pub fn is_outdated(&self, envelope: &str) -> bool {
        let header = BASE64.decode(envelope).unwrap_or_default();
        !header.starts_with(&self.primary.header())
    }

    fn key(&self, id: u32) -> Option<&Key> {
        std::iter::once(&self.primary)
            .chain(&self.others)
            .find(|key| key.id == id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = std::iter::once(&self.primary)
            .chain(&self.others)
            .map(|key| format!("{:08x}", key.id));
        f.write_str("Keyring")?;
        f.debug_list().entries(ids).finish()
    }
}

#[derive(Clone)]
struct Key {
    id: u32,
    bytes: [u8; 32],
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let (id, key) = line.split_once(char::is_whitespace)?;
        let is_id = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u32::from_str_radix(id, 16).ok().filter(|_| is_id)?;
        let bytes = BASE64.decode(key.trim()).ok()?.try_into().ok()?;
        Some(Self { id, bytes })
    }

    fn header(&self) -> [u8; HEADER] {
        let [a, b, c, d] = self.id.to_be_bytes();
        [VERSION, a, b, c, d]
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.bytes.into())
    }
}

/// The header takes part, so that nobody can turn an envelope into one of another version or key.
fn bind(header: &[u8], aad: &[u8]) -> Vec<u8> {
    [header, aad].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(seeds: &[u8]) -> Keyring {
        let lines: Vec<String> = seeds
            .iter()
            .map(|seed| Keyring::line([*seed; 36]))
            .collect();
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_thing_only() {
        let ring = ring(&[7]);
        let envelope = ring.seal(b"credential 1", [1; 24], b"sk_live_1").unwrap();
        assert!(!envelope.contains("sk_live"));
        assert_eq!(ring.open(b"credential 1", &envelope).unwrap(), b"sk_live_1");
        assert_eq!(
            ring.open(b"credential 2", &envelope),
            Err(SealError::Refused)
        );
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let ring = ring(&[7]);
        let envelope = BASE64
            .decode(ring.seal(b"", [1; 24], b"x").unwrap())
            .unwrap();
        for at in 0..envelope.len() {
            for bit in 0..8 {
                let mut changed = envelope.clone();
                changed[at] ^= 1 << bit;
                assert!(ring.open(b"", &BASE64.encode(changed)).is_err(), "{at}");
            }
        }
        for short in ["", "AQ==", "not base64"] {
            assert_eq!(ring.open(b"", short), Err(SealError::NotAnEnvelope));
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
        let envelope = old.seal(b"a", [0; 24], b"secret").unwrap();
        assert_eq!(both.open(b"a", &envelope).unwrap(), b"secret");
        assert!(both.is_outdated(&envelope));
        let id = 0x0101_0101;
        assert_eq!(new.open(b"a", &envelope), Err(SealError::UnknownKey { id }));
        let again = both.seal(b"a", [0; 24], b"secret").unwrap();
        assert!(!both.is_outdated(&again));
        assert_eq!(new.open(b"a", &again).unwrap(), b"secret");
    }

    #[test]
    fn a_key_file_says_which_line_is_wrong_without_showing_it() {
        let good = Keyring::line([9; 36]);
        assert_eq!(
            Keyring::parse("# empty\n\n").unwrap_err(),
            KeyFileError::NoKey
        );
        let twice = Keyring::parse(&format!("{good}\n{good}"));
        assert_eq!(twice.unwrap_err(), KeyFileError::SameId { line: 2 });
        for bad in ["zz", "1234567 aGk=", "+1234567 aGk=", "01020304 c2hvcnQ="] {
            let error = Keyring::parse(&format!("{good}\n{bad}")).unwrap_err();
            assert_eq!(error, KeyFileError::NotAKey { line: 2 });
            assert!(!error.to_string().contains(bad));
        }
    }

    #[test]
    fn debug_shows_ids_only() {
        assert_eq!(format!("{:?}", ring(&[7])), "Keyring[\"07070707\"]");
    }
}
