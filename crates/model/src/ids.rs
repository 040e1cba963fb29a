//! Identifiers. Each kind of object has a type of its own, so that one cannot stand for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id (UUIDv7): sorts by the time of creation. The caller brings time and randomness.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }

            /// Reads the canonical hyphenated form; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                parse_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }
    };
}

id!(
    /// An organisation: the border of isolation. Everything belongs to exactly one.
    OrgId
);
id!(
    /// A stream: one durable, ordered log of records.
    StreamId
);
id!(
    /// A credential for an account at a provider.
    CredentialId
);
id!(
    /// A sync: one connection of a provider's account to a stream.
    SyncId
);
id!(
    /// A consumer of a stream.
    ConsumerId
);
id!(
    /// An API token (its public id, not its secret value).
    TokenId
);

impl ConsumerId {
    /// The part of the id that its ack tokens carry: 62 random bits tell consumers apart.
    pub fn number(self) -> u64 {
        self.0.as_u64_pair().1
    }
}

/// The store's small number for one (stream, sync, collection): log entries carry it, so that
/// filters and counts work on integers. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneNo(pub u32);

/// A record's id: 128 bits (a version 8 UUID) hashed from the sync, the collection and the upstream id. It
/// needs no index of its own and is the same after a rebuild or copy. A sync belongs to one stream
/// for life, so the id also stands for the full key (stream, sync, collection, upstream id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u128);

impl RecordId {
    /// The id of the record with this key. SHA-256, truncated: upstream ids can be chosen by
    /// strangers, who must not be able to make two records share an id.
    pub fn of(sync: SyncId, collection: &str, upstream_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(sync.0.as_bytes());
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((collection.len() as u64).to_le_bytes());
        hash.update(collection.as_bytes());
        hash.update(upstream_id.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(Uuid::from_bytes(bytes_v8(bytes)).as_u128())
    }

    /// Reads the canonical hyphenated form; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(|uuid| Self(uuid.as_u128()))
    }

    /// The sixteen bytes, big-endian: what a store keeps.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from what a store kept.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a UUID in its canonical 36-character form only: one object has one address.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok()
}

fn uuid_v7(now: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn bytes_v8(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(n: u128) -> SyncId {
        SyncId(Uuid::from_u128(n))
    }

    #[test]
    fn record_id_depends_on_every_part_of_the_key() {
        let id = RecordId::of(sync(1), "stripe:customer", "cus_1");
        assert_eq!(id, RecordId::of(sync(1), "stripe:customer", "cus_1"));
        assert_ne!(id, RecordId::of(sync(2), "stripe:customer", "cus_1"));
        assert_ne!(id, RecordId::of(sync(1), "stripe:custome", "rcus_1"));
        assert_ne!(id, RecordId::of(sync(1), "stripe:customer", "cus_2"));
    }

    #[test]
    fn record_id_is_a_uuid_v8_and_reads_back() {
        let id = RecordId::of(sync(7), "stripe:invoice", "in_1");
        let uuid = Uuid::parse_str(&id.to_string()).unwrap();
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        assert_eq!(RecordId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn new_ids_sort_by_time() {
        let early = StreamId::new(Timestamp::from_micros(1_000_000), [255; 10]);
        let late = StreamId::new(Timestamp::from_micros(2_000_000), [0; 10]);
        assert!(early < late);
        assert_eq!(early.0.get_version_num(), 7);
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        assert!(StreamId::parse("018f2b5e7c6b7a3e9d1f0a2b3c4d5e6f").is_none());
        assert!(StreamId::parse("{018f2b5e-7c6b-7a3e-9d1f-0a2b3c4d5e6f}").is_none());
        assert!(StreamId::parse("018f2b5e-7c6b-7a3e-9d1f-0a2b3c4d5e6f").is_some());
    }
}
