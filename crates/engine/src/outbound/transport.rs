//! The way of a request to its provider, and of the answer back.

use std::net::IpAddr;

use async_trait::async_trait;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{ClientBuilder, Error, Request, Response, Url};

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

/// The network, through the proxy that the environment names. To this machine there is no way through
/// a proxy: it would find itself.
#[derive(Debug)]
pub(super) struct Network {
    proxied: reqwest::Client,
    direct: reqwest::Client,
}

impl Network {
    pub(super) fn new(settings: &OutboundSettings) -> Result<Self, Error> {
        Ok(Self {
            proxied: builder(settings).build()?,
            direct: builder(settings).no_proxy().build()?,
        })
    }
}

#[async_trait]
impl Transport for Network {
    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let client = match is_this_machine(request.url()) {
            true => &self.direct,
            false => &self.proxied,
        };
        client.execute(request).await
    }
}

fn builder(settings: &OutboundSettings) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        .redirect(Policy::custom(within_the_host))
        .referer(false)
}

/// Whether a URL is of the machine it is used on.
pub fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
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
