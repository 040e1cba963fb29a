//! A stateful imitation of the Stripe API (`/v1`).
//!
//! Lists, cursors, filters, writes, idempotency, events, errors and limits follow the real API,
//! its traps included: there is no time of last change, canceled subscriptions hide from lists,
//! nested lists stop at ten, changes to payment intents' details make no event, and events are
//! gone after thirty days. A change and its event become visible together.
//!
//! Of the many collections beyond these it shows what was [put](Stripe::put) into them, without rules.

mod collection;
mod error;
mod expand;
mod fake;
mod http;
mod limit;
mod objects;
mod operations;
mod params;
mod plain;
mod query;
mod seed;
mod state;
mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub use collection::Collection;
pub use error::Error;

use crate::clock::{Clock, wall_clock};
use crate::fault::Faults;
use crate::requests::Requests;
use crate::rng::Rng;
use limit::Limit;
use state::{Cause, State};

/// The API version answers are rendered in unless a request names another.
pub const API_VERSION: &str = "2026-10-28.endive";

/// How a sandbox is made.
#[derive(Clone)]
pub struct StripeOptions {
    /// The secret key requests must carry.
    pub key: String,
    /// What ids and made-up data are drawn from.
    pub seed: u64,
    /// The account's API version: events are rendered in it.
    pub api_version: String,
    /// Requests allowed per second; unlimited when absent.
    pub rate: Option<u32>,
    /// Value of `Stripe-Should-Retry` on answers over the limit; left out when absent.
    pub should_retry: Option<bool>,
    /// The sandbox's time.
    pub clock: Clock,
}

impl Default for StripeOptions {
    fn default() -> Self {
        Self {
            key: "sk_test_sandbox".to_owned(),
            seed: 1,
            api_version: API_VERSION.to_owned(),
            rate: None,
            should_retry: None,
            clock: wall_clock(),
        }
    }
}

impl fmt::Debug for StripeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeOptions")
            .field("seed", &self.seed)
            .field("api_version", &self.api_version)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// The handle of a Stripe sandbox. Clones share one sandbox, and so do its routers.
#[derive(Clone, Debug)]
pub struct Stripe(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: StripeOptions,
    key: Mutex<String>,
    limit: Option<Limit>,
    state: Mutex<State>,
    request_ids: Mutex<Rng>,
    faults: Faults,
    requests: Requests,
}

impl Stripe {
    /// An empty sandbox.
    pub fn new(options: StripeOptions) -> Self {
        Self(Arc::new(Inner {
            key: Mutex::new(options.key.clone()),
            limit: options.rate.map(Limit::per_second),
            state: Mutex::new(State::new(
                options.seed,
                &options.api_version,
                (options.clock)(),
            )),
            request_ids: Mutex::new(Rng::new(!options.seed)),
            faults: Faults::default(),
            requests: Requests::default(),
            options,
        }))
    }

    /// The HTTP side, to be served at the root: its paths start with `/v1`.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// The rules by which requests go wrong.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What has been asked over HTTP.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    /// The id of the account, which the seed determines.
    pub fn account_id(&self) -> String {
        self.state().account().to_owned()
    }

    /// Replaces the key that is accepted, as when a key is rolled.
    pub fn set_key(&self, key: &str) {
        key.clone_into(&mut self.key());
    }

    /// Creates an object as `POST /v1/{collection}` does, from an object of parameters.
    pub fn create(&self, collection: Collection, params: Value) -> Result<Value, Error> {
        let params = into_params(params)?;
        operations::create(&mut self.state(), collection, params, &self.cause())
    }

    /// Updates an object as `POST /v1/{collection}/{id}` does.
    pub fn update(&self, collection: Collection, id: &str, params: Value) -> Result<Value, Error> {
        let params = into_params(params)?;
        operations::update(&mut self.state(), collection, id, params, &self.cause())
    }

    /// Deletes an object as `DELETE /v1/{collection}/{id}` does; subscriptions are canceled.
    pub fn delete(&self, collection: Collection, id: &str) -> Result<Value, Error> {
        operations::delete(&mut self.state(), collection, id, &self.cause())
    }

    /// Performs `POST /v1/{collection}/{id}/{action}`: `finalize`, `pay` and `void` of invoices,
    /// `confirm` and `cancel` of payment intents.
    pub fn act(&self, collection: Collection, id: &str, action: &str) -> Result<Value, Error> {
        operations::act(&mut self.state(), collection, id, action, &self.cause())
    }

    /// An object as `GET /v1/{collection}/{id}` shows it.
    pub fn get(&self, collection: Collection, id: &str) -> Result<Value, Error> {
        let text = self.state().retrieve(collection, id, self.now())?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Every object there is, newest first: canceled subscriptions and expired events too.
    pub fn list_all(&self, collection: Collection) -> Vec<Value> {
        let state = self.state();
        let texts = state.table(collection).texts();
        texts
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect()
    }

    /// How many objects [`Stripe::list_all`] would answer.
    pub fn count(&self, collection: Collection) -> usize {
        self.state().table(collection).len()
    }

    /// Puts an object into the plain list at this path, such as `checkout/sessions`, in place of the one with its id. It is
    /// shown as it is, and not announced. Collections that the sandbox imitates are not plain.
    pub fn put(&self, path: &str, object: Value) {
        self.state().plain.put(path, object);
    }

    /// Takes an object out of the plain list at this path, unannounced.
    pub fn take(&self, path: &str, id: &str) {
        self.state().plain.remove(path, id);
    }

    /// Writes an event that shows this object.
    pub fn announce(&self, kind: &str, object: Value) {
        let data = serde_json::json!({ "object": object });
        self.state().write_event(kind, data, &self.cause());
    }

    /// Adds `count` objects with what they depend on, created at even intervals over the past
    /// year. Those of the last thirty days have events. Collections that cannot be written to,
    /// such as balance transactions, get none.
    pub fn seed(&self, collection: Collection, count: usize) {
        seed::collection(&mut self.state(), collection, count, self.now());
    }

    /// Adds `count` customers, and about as many of everything else, linked to each other.
    pub fn seed_all(&self, count: usize) {
        seed::everything(&mut self.state(), count, self.now());
    }

    /// Makes `count` random changes of all kinds, now.
    pub fn mutate_randomly(&self, count: usize) {
        let cause = self.cause();
        let mut state = self.state();
        for _ in 0..count {
            seed::mutate(&mut state, &cause);
        }
    }

    fn now(&self) -> i64 {
        (self.0.options.clock)()
    }

    fn cause(&self) -> Cause {
        Cause {
            at: self.now(),
            announced: true,
            request_id: None,
            idempotency_key: None,
        }
    }

    fn new_request_id(&self) -> String {
        lock(&self.0.request_ids).id("req_", 14)
    }

    fn key(&self) -> MutexGuard<'_, String> {
        lock(&self.0.key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

fn into_params(params: Value) -> Result<params::Params, Error> {
    match params {
        Value::Object(params) => Ok(params),
        _ => Err(Error::NotAForm),
    }
}

/// A panic elsewhere leaves the sandbox usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
