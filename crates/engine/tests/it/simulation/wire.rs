//! The network and the provider's moods: requests go to the sandbox in this process, and some of them,
//! or their answers, get lost on the way.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http;
use bytes::Bytes;
use futures_util::stream;
use headrace_engine::outbound::{OutboundSettings, Transport};
use serde_json::json;
use tower::ServiceExt as _;

use super::world::{World, lock};

/// When requests arrived in the last second.
#[derive(Default)]
pub(super) struct Arrivals {
    last: VecDeque<i64>,
    pub(super) count: u64,
}

impl Arrivals {
    /// Another process knows nothing of the requests of the last one.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    fn add(&mut self, now: i64) -> usize {
        self.count += 1;
        self.last.push_back(now);
        while self.last.front().is_some_and(|at| at + 1_000_000 <= now) {
            self.last.pop_front();
        }
        self.last.len()
    }
}

/// What happens to a request.
enum Fate {
    Fine,
    Throttled(Option<u64>),
    Failed(u16),
    NeverArrives,
    AnswerLost,
    AnswerCut,
    TimesOut,
    Garbled,
}

pub(super) struct Wire {
    pub(super) world: Arc<World>,
    pub(super) router: axum::Router,
}

#[async_trait]
impl Transport for Wire {
    async fn exchange(&self, request: reqwest::Request) -> reqwest::Result<reqwest::Response> {
        let world = &self.world;
        let there = world.chance().millis(1, 60);
        tokio::time::sleep(there).await;
        still_up(world).await;
        let (path, query) = (request.url().path(), request.url().query());
        let address = format!("{path}?{}", query.unwrap_or_default());
        world.note(|| format!("GET {address}"));
        // What checks a credential is not of the sync's share.
        let is_shared = path != "/v1/account" && path != "/v1/balance";
        let now = world.time.elapsed();
        let arrived = if is_shared {
            lock(&world.arrivals).add(now)
        } else {
            0
        };
        if arrived > world.plan.rate as usize {
            world.violated(format!("{arrived} requests within a second"));
        }
        let fate = self.fate();
        let answer = match fate {
            Fate::NeverArrives => return Err(failure(ErrorKind::ConnectionReset).await),
            Fate::TimesOut => {
                tokio::time::sleep(OutboundSettings::default().timeout).await;
                return Err(failure(ErrorKind::TimedOut).await);
            }
            Fate::Throttled(after) => refusal(429, after),
            Fate::Failed(status) => refusal(status, None),
            _ => self.ask(&address, &request).await,
        };
        let takes = match world.strikes(world.plan.slow_answer) {
            true => world.chance().millis(1_000, 40_000),
            false => world.chance().millis(1, 60),
        };
        tokio::time::sleep(takes).await;
        still_up(world).await;
        let (parts, body) = answer.into_parts();
        let body = match fate {
            Fate::AnswerLost => return Err(failure(ErrorKind::ConnectionReset).await),
            Fate::Garbled => Bytes::from_static(b"<html>down for maintenance</html>"),
            _ => body,
        };
        let whole = !matches!(fate, Fate::AnswerCut);
        let body = match whole {
            true => reqwest::Body::from(body),
            false => cut(&body),
        };
        Ok(http::Response::from_parts(parts, body).into())
    }
}

impl Wire {
    fn fate(&self) -> Fate {
        let world = &self.world;
        if !world.strikes(world.plan.broken_answer) {
            return Fate::Fine;
        }
        let mut chance = world.chance();
        match chance.below(10) {
            0 => Fate::Throttled(Some(chance.between(1, 20))),
            1 => Fate::Throttled(None),
            2 => Fate::Failed(500),
            3 => Fate::Failed(503),
            4 => Fate::NeverArrives,
            5 => Fate::AnswerLost,
            6 => Fate::AnswerCut,
            7 => Fate::TimesOut,
            8 => Fate::Failed(400),
            _ => Fate::Garbled,
        }
    }

    async fn ask(&self, address: &str, request: &reqwest::Request) -> http::Response<Bytes> {
        let mut asked = http::Request::new(Body::empty());
        *asked.method_mut() = request.method().clone();
        *asked.uri_mut() = self.without_late_events(address).parse().unwrap();
        *asked.headers_mut() = request.headers().clone();
        let answering: Result<_, Infallible> = self.router.clone().oneshot(asked).await;
        let (parts, body) = answering.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        http::Response::from_parts(parts, body)
    }

    /// The provider shows its newest events a little later.
    fn without_late_events(&self, address: &str) -> String {
        let world = &self.world;
        let late = world.plan.late_events;
        if world.is_calm() || late.is_zero() || !address.starts_with("/v1/events?") {
            return address.to_owned();
        }
        let late = Duration::from_secs(world.chance().below(late.as_secs()));
        let shown = (world.time.now() - late).as_seconds();
        // The sandbox takes the last of two bounds.
        format!("{address}&created[lt]={shown}")
    }
}

/// Where the process is at its end, nothing comes back.
pub(super) async fn still_up(world: &World) {
    if world.is_down() {
        std::future::pending::<()>().await;
    }
}

fn refusal(status: u16, retry_after: Option<u64>) -> http::Response<Bytes> {
    let error = json!({ "error": { "type": "api_error", "message": "not now" } });
    let mut answer = http::Response::builder().status(status);
    if let Some(seconds) = retry_after {
        answer = answer.header("Retry-After", seconds);
    }
    answer.body(error.to_string().into()).unwrap()
}

/// The first half of a body, and the end of the connection.
fn cut(body: &Bytes) -> reqwest::Body {
    let half = Ok(body.slice(..body.len() / 2));
    let broken = Err(std::io::Error::from(ErrorKind::UnexpectedEof));
    reqwest::Body::wrap_stream(stream::iter([half, broken]))
}

/// An error of the client, which only itself can make.
async fn failure(kind: ErrorKind) -> reqwest::Error {
    let broken = Err::<Bytes, _>(std::io::Error::from(kind));
    let body = reqwest::Body::wrap_stream(stream::iter([broken]));
    let answer = reqwest::Response::from(http::Response::new(body));
    answer.bytes().await.unwrap_err()
}
