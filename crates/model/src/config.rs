//! What users configure: the objects of the management API, as they are stored.
//!
//! Ids, organisation and times are the stored object's own; these are its bodies. Fields may be added
//! with a default; none may change its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delivery::Policy;
use crate::filter::Filter;
use crate::health::Health;
use crate::{CredentialId, StreamId, SyncId, Timestamp};

/// A free JSON object of the user's: kept, shown and filtered on, never interpreted.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// An organisation: everything else belongs to one, and sees nothing of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Org {
    /// Its name.
    pub name: String,
}

/// A stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Its address besides its id; unique in the organisation.
    pub slug: String,
    /// Days after which a tombstone that every consumer has passed leaves the stream; `None`: never.
    #[serde(default)]
    pub tombstone_retention_days: Option<u32>,
}

/// A credential for an account at a provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// The provider, such as `stripe`.
    pub provider: String,
    /// The kind, such as `stripe_key`.
    pub kind: String,
    /// A name for people.
    pub name: Option<String>,
    /// The account it opened when it was checked; `None` while unverified.
    pub account: Option<Account>,
    /// The last account that it was found to open: fields of another one are refused even after fields
    /// that nobody has checked.
    #[serde(default)]
    pub last_account: Option<Account>,
    /// The OAuth app it was made with.
    pub oauth_app_id: Option<Uuid>,
    /// Properties that are not secret.
    pub properties: BTreeMap<String, String>,
    /// The secret properties, sealed, in base64.
    pub sealed: String,
    /// The names of the secret properties, shown masked.
    pub secret_names: BTreeSet<String>,
    /// The user's own.
    pub metadata: Metadata,
    /// What the last check found.
    pub health: Health,
    /// The budget of the account, where it is not the provider's default.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// How the last look for its collections went; `None` before the first.
    #[serde(default)]
    pub refresh: Option<Refresh>,
}

/// How a look for a credential's collections went.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Refresh {
    /// When it began last.
    pub last_started_at: Option<Timestamp>,
    /// When it succeeded last.
    pub last_succeeded_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The account behind a credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The provider's id for it.
    pub id: String,
    /// Live or test mode, where the provider tells them apart.
    pub live: Option<bool>,
}

/// How many requests may be made.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RateLimit {
    /// Requests per interval.
    pub allowed_requests: u32,
    /// The interval, in seconds.
    pub interval: f64,
    /// Requests under way at once; 0 means no cap.
    #[serde(default)]
    pub max_concurrent_requests: u32,
}

/// A sync: one provider account connected to one stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sync {
    /// The provider.
    pub provider: String,
    /// A name for people.
    pub name: String,
    /// Its address besides its id; unique in the organisation.
    #[serde(default)]
    pub slug: Option<String>,
    /// The stream it fills. Fixed.
    pub stream_id: StreamId,
    /// The credential it reads with. Fixed.
    pub credential_id: CredentialId,
    /// The collections it reads, such as `stripe:customer`.
    pub collection_ids: Vec<String>,
    /// Its share of the credential's budget.
    pub rate_limit: Option<RateLimit>,
    /// Older records (by upstream creation, else first sight) are not admitted and age out.
    pub max_age_days: Option<u32>,
    /// How often changes are looked for.
    pub sync_frequency: Frequency,
    /// The user's name for whose account this is.
    pub external_id: Option<String>,
    /// The user's own.
    pub metadata: Metadata,
    /// Whether it runs.
    pub enabled: bool,
    /// Collections that stand still for now.
    #[serde(default)]
    pub paused: BTreeSet<String>,
}

/// How often a sync looks for changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frequency {
    /// As often as the provider's definition says.
    Continuous,
    /// Every so many seconds, 30 at least.
    Every(u64),
}

impl Frequency {
    /// Reads `continuous` or a span of at least 30 seconds such as `4h`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "continuous" {
            return Some(Self::Continuous);
        }
        let seconds = crate::time::parse_span(text)?.as_secs();
        (seconds >= 30).then_some(Self::Every(seconds))
    }
}

impl std::fmt::Display for Frequency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Continuous => f.write_str("continuous"),
            Self::Every(s) if s % 3_600 == 0 => write!(f, "{}h", s / 3_600),
            Self::Every(s) if s % 60 == 0 => write!(f, "{}m", s / 60),
            Self::Every(s) => write!(f, "{s}s"),
        }
    }
}

/// A consumer that workers ask over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpConsumer {
    /// The stream it reads. Fixed.
    pub stream_id: StreamId,
    /// A name for people.
    pub name: Option<String>,
    /// Its address besides its id; unique in the organisation.
    pub slug: Option<String>,
    /// Where it started.
    pub deliver_policy: DeliverPolicy,
    /// How long a worker has for a message, in milliseconds.
    pub ack_wait_ms: u64,
    /// Deliveries of a version in all; -1 for no maximum.
    pub max_deliver: i64,
    /// Outstanding at once.
    pub max_ack_pending: u32,
    /// Long polls at once.
    pub max_waiting: u32,
    /// What it is given.
    pub filters: Filter,
    /// The user's own.
    pub metadata: Metadata,
    /// Whether it hands out nothing for now.
    #[serde(default)]
    pub paused: bool,
    /// What a change of these settings still has to do to the consumer's state.
    #[serde(default)]
    pub unapplied: Unapplied,
}

/// What follows from settings that were saved and is not done yet. Stored with them, so that it is
/// done after a crash too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Unapplied {
    /// Start anew at this position.
    pub restart: Option<u64>,
    /// Drop what is outstanding and does not match the filter.
    pub refilter: bool,
}

impl Unapplied {
    /// Whether nothing is left to do.
    pub fn is_nothing(&self) -> bool {
        self.restart.is_none() && !self.refilter
    }
}

impl HttpConsumer {
    /// The settings that steer delivery.
    pub fn policy(&self) -> Policy {
        Policy {
            ack_wait: Duration::from_millis(self.ack_wait_ms),
            max_deliver: u32::try_from(self.max_deliver).ok(),
            max_ack_pending: self.max_ack_pending,
        }
    }
}

/// Where a consumer starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// From the beginning.
    All,
    /// With what changes from now on.
    New,
    /// With the newest matching entry.
    Last,
    /// With what changed in the last so many milliseconds.
    Window(u64),
    /// With the entry at this index.
    FromIdx(u64),
    /// With the first entry committed at or after this time.
    FromTime(crate::Timestamp),
}

/// What an API token may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Reading everything but secrets.
    Read,
    /// Taking messages from consumers and settling them.
    Consume,
    /// Sending mutations.
    Mutate,
    /// Calling providers through the proxy.
    Proxy,
}

/// An API token. Its value was shown once; what is kept is a hash, as the object's unique name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiToken {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Only these consumers, where given.
    #[serde(default)]
    pub consumer_ids: Option<BTreeSet<Uuid>>,
    /// Only these streams, where given.
    #[serde(default)]
    pub stream_ids: Option<BTreeSet<StreamId>>,
}

/// What a filter looks at of a sync.
#[derive(Clone, Copy, Debug)]
pub struct SyncFacts<'a> {
    /// Its id.
    pub id: SyncId,
    /// Its provider.
    pub provider: &'a str,
    /// Its external id.
    pub external_id: Option<&'a str>,
}
