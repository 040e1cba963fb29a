//! The way of a request to its provider, and of the answer back.

use async_trait::async_trait;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Error, Request, Response, Url};

use super::OutboundSettings;

const USER_AGENT: &str = concat!("Headrace/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 3;

/// Carries one request over: the network, or a simulation of it. It ends what takes longer than
/// [`OutboundSettings::timeout`], the reading of the answer's body included.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Exchanges a request for its answer. The body may still be on its way.
    async fn exchange(&self, request: Request) -> Result<Response, Error>;
}

#[async_trait]
impl Transport for reqwest::Client {
    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        self.execute(request).await
    }
}

pub(super) fn client(settings: &OutboundSettings) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        .redirect(Policy::custom(within_the_host))
        .referer(false)
        .build()
}

fn within_the_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let came_from = attempt.previous().last();
    if came_from.is_some_and(|from| same_host(from, attempt.url()))
        && attempt.previous().len() <= MAX_REDIRECTS
    {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

pub(super) fn same_host(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}
