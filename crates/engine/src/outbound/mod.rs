//! Everything that is asked of a provider goes through here.
//!
//! A call waits for the credential's budget, is made with the headers of the definition, goes to the
//! provider's own host only, and is repeated a few times where that may help. What comes back is
//! dated by the provider's clock ([`Response::seen_at`]).

mod account;
mod budget;
mod error;
mod monotonic;
mod provider_clock;
mod send;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use headrace_model::config::RateLimit;
use headrace_model::provider::{Answer, Request};
use headrace_model::quota::Priority;
use headrace_model::retry::Backoff;
use headrace_model::{CredentialId, SyncId, Timestamp};
use reqwest::header::{HeaderMap, HeaderValue, LINK};

use crate::clock::Clock;
use budget::Budgets;
use monotonic::Monotonic;
use provider_clock::ProviderClock;

pub(crate) use account::can_open;
pub use account::{Account, AccountError, MASK, default_limit, open_secrets, seal_secrets};
pub use error::CallError;
pub(crate) use send::LONGEST_PAUSE;
pub use transport::{Transport, is_this_machine};

/// The outbound HTTP client. One for the whole program.
pub struct Outbound {
    transport: Arc<dyn Transport>,
    settings: OutboundSettings,
    clock: Arc<dyn Clock>,
    monotonic: Monotonic,
    budgets: Budgets,
    /// By host and port.
    provider_clocks: Mutex<HashMap<String, ProviderClock>>,
}

/// How calls are made.
#[derive(Clone, Copy, Debug)]
pub struct OutboundSettings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take from beginning to end.
    pub timeout: Duration,
    /// The largest body that is read, in bytes, unpacked.
    pub max_body: usize,
    /// How often a call is made before its error is reported.
    pub attempts: u32,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// A pause that is longer than this is not waited for within a call: the error is reported.
    pub max_pause: Duration,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(90),
            max_body: 64 << 20,
            attempts: 4,
            backoff: Backoff {
                base: Duration::from_millis(500),
                cap: Duration::from_secs(20),
            },
            max_pause: Duration::from_secs(30),
        }
    }
}

/// A request with the credential it is made with.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Whose account.
    pub account: &'a Account,
    /// What to ask.
    pub request: &'a Request,
    /// What for.
    pub priority: Priority,
    /// The sync whose share of the budget it takes.
    pub sync: Option<SyncId>,
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status, 2xx.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unpacked.
    pub body: Bytes,
    /// When the request was begun, on the provider's clock: never later than it really was. On this
    /// machine's clock where the provider dates nothing.
    pub seen_at: Timestamp,
}

impl Response {
    /// What a page is read from.
    pub(crate) fn answer(&self) -> Answer<'_> {
        let links = self.headers.get_all(LINK).into_iter();
        Answer {
            body: &self.body,
            links: links.map(HeaderValue::as_bytes).collect(),
        }
    }
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the outbound HTTP client")]
pub struct OutboundError(#[source] reqwest::Error);

impl Outbound {
    /// A client that tells the time by `clock` where a provider does not.
    pub fn new(clock: Arc<dyn Clock>, settings: OutboundSettings) -> Result<Self, OutboundError> {
        let network = transport::Network::new(&settings).map_err(OutboundError)?;
        Ok(Self::over(Arc::new(network), clock, settings))
    }

    /// A client whose requests go this way.
    pub fn over(
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        settings: OutboundSettings,
    ) -> Self {
        Self {
            transport,
            settings,
            clock,
            monotonic: Monotonic::start(),
            budgets: Budgets::default(),
            provider_clocks: Mutex::new(HashMap::new()),
        }
    }

    /// Makes a call: waits for the budget, asks, and asks again a few times where that may help.
    /// Dropping the future gives the call up.
    pub async fn send(&self, call: Call<'_>) -> Result<Response, CallError> {
        self.call(call, self.settings.attempts).await
    }

    /// Makes a call once: for somebody who waits for the answer.
    pub async fn send_once(&self, call: Call<'_>) -> Result<Response, CallError> {
        self.call(call, 1).await
    }

    /// Changes the budget of a credential, also of what waits for it now.
    pub fn set_limit(&self, credential: CredentialId, limit: RateLimit) {
        if let Some(budget) = self.budgets.get(credential) {
            budget.change(|quota| quota.set_limit(limit));
        }
    }

    /// Caps or frees the share of a sync in the budget of its credential.
    pub fn set_share(&self, account: &Account, sync: SyncId, limit: Option<RateLimit>) {
        let budget = self.budgets.of(account.id(), account.limit());
        budget.change(|quota| quota.set_share(sync, limit));
    }

    /// Forgets the budget of a credential that was deleted.
    pub fn forget(&self, credential: CredentialId) {
        self.budgets.forget(credential);
    }

    /// What the time is at the account's provider, at the earliest; this machine's time while the
    /// provider has not answered yet.
    pub fn provider_now(&self, account: &Account) -> Timestamp {
        self.provider_time(account, self.monotonic.now())
            .unwrap_or_else(|| self.clock.now())
    }

    /// Whether the provider has told the time.
    pub(crate) fn knows_time(&self, account: &Account) -> bool {
        self.provider_time(account, self.monotonic.now()).is_some()
    }

    fn provider_time(&self, account: &Account, monotonic: Timestamp) -> Option<Timestamp> {
        self.clocks().get(account.base().authority())?.at(monotonic)
    }

    fn clocks(&self) -> MutexGuard<'_, HashMap<String, ProviderClock>> {
        let clocks = self.provider_clocks.lock();
        clocks.unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
