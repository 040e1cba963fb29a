//! A served sandbox and a client for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use headrace_sandbox::serve;
use headrace_sandbox::stripe::{Stripe, StripeOptions};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

pub(crate) const KEY: &str = "sk_test_it";

/// A Sunday in the past.
pub(crate) const START: i64 = 1_700_000_000;

pub(crate) struct Client {
    pub(crate) stripe: Stripe,
    pub(crate) base: String,
    clock: Arc<AtomicI64>,
    http: reqwest::Client,
    server: JoinHandle<()>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Client {
    pub(crate) async fn new() -> Self {
        Self::with(StripeOptions::default()).await
    }

    pub(crate) async fn with(options: StripeOptions) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let hands = Arc::clone(&clock);
        let stripe = Stripe::new(StripeOptions {
            key: KEY.to_owned(),
            clock: Arc::new(move || hands.load(Ordering::Relaxed)),
            ..options
        });
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (bound, server) = serve(stripe.router(), any_port).await.unwrap();
        let base = format!("http://{bound}");
        Self {
            stripe,
            base,
            clock,
            http: reqwest::Client::new(),
            server,
        }
    }

    pub(crate) fn set_clock(&self, seconds: i64) {
        self.clock.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(KEY)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        answer(self.request(Method::POST, path).form(form)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    /// Creates and answers the new id.
    pub(crate) async fn create(&self, path: &str, form: &[(&str, &str)]) -> String {
        let created = self.post(path, form).await;
        assert_eq!(created.status, 200, "{}", created.body);
        created.body["id"].as_str().unwrap().to_owned()
    }

    /// Ids of the page at `path`.
    pub(crate) async fn ids(&self, path: &str) -> Vec<String> {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{}", page.body);
        page.ids()
    }

    /// A product with a monthly price; answers the price's id.
    pub(crate) async fn price(&self) -> String {
        let product = self.create("/v1/products", &[("name", "Water")]).await;
        let form = [
            ("product", product.as_str()),
            ("currency", "usd"),
            ("unit_amount", "500"),
            ("recurring[interval]", "month"),
        ];
        self.create("/v1/prices", &form).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Answer {
    pub(crate) fn ids(&self) -> Vec<String> {
        let data = self.body["data"].as_array().unwrap();
        data.iter()
            .map(|object| object["id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and parameter of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str, &str) {
        let error = &self.body["error"];
        let field = |name: &str| error[name].as_str().unwrap_or("");
        assert_ne!(field("message"), "");
        (self.status.as_u16(), field("code"), field("param"))
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.json().await.unwrap();
    Answer {
        status,
        headers,
        body,
    }
}
