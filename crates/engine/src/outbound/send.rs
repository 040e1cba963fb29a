//! Making a call.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headrace_model::Timestamp;
use headrace_model::provider::{Left, Method, UpstreamError, http_date};
use headrace_model::quota::Ended;
use headrace_model::retry::Class;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};

use super::transport::same_host;
use super::{Account, Call, CallError, Outbound, Response};
use crate::clock::draw;

/// Whatever the provider says: to ask once an hour costs nothing, and a slip of its must not stop all.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
const MAX_ERROR_BODY: usize = 256 << 10;

impl Outbound {
    pub(super) async fn call(&self, call: Call<'_>, attempts: u32) -> Result<Response, CallError> {
        let url = address(call)?;
        let budget = self.budgets.of(call.account.id(), call.account.limit());
        let mut attempt = 0;
        loop {
            let permit = budget
                .permit(self.monotonic, call.priority, call.sync)
                .await;
            let answer = self.exchange(call, url.clone()).await;
            let wait = self
                .settings
                .backoff
                .wait(attempt, u64::from_le_bytes(draw(&*self.clock)));
            let pause = match &answer {
                Ok(_) => None,
                Err(error) => error.throttled(),
            };
            match pause {
                // A provider that does not say how long means: not at once.
                Some(after) => {
                    let pause = after.unwrap_or(wait.max(self.settings.backoff.base));
                    let pause = pause.min(LONGEST_PAUSE);
                    permit.end(Ended::Throttled { pause });
                }
                None => permit.end(match &answer {
                    Ok(response) => told(call.account, &response.headers),
                    Err(_) => Ended::Normal,
                }),
            }
            let error = match answer {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            attempt += 1;
            match error.class() {
                Class::Retry { after }
                    if attempt < attempts && self.is_short(after) && !error.leaves_alone() =>
                {
                    // A throttle is waited for with the whole budget, before the next permit.
                    if pause.is_none() {
                        tokio::time::sleep(after.unwrap_or(wait)).await;
                    }
                }
                _ => return Err(error),
            }
        }
    }

    fn is_short(&self, pause: Option<Duration>) -> bool {
        pause.is_none_or(|pause| pause <= self.settings.max_pause)
    }

    async fn exchange(&self, call: Call<'_>, url: Url) -> Result<Response, CallError> {
        let account = call.account;
        let network = |source: reqwest::Error| CallError::Network {
            title: account.definition().title.clone(),
            source: source.without_url(),
        };
        let method = match call.request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = account.headers().clone();
        if let Some(body) = &call.request.body {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.clone().into());
        }
        let (sent, begun_at) = (self.monotonic.now(), self.clock.now());
        let mut response = self.transport.exchange(request).await.map_err(network)?;
        self.learn_time(account, response.headers(), sent);
        let (status, headers) = (
            response.status().as_u16(),
            std::mem::take(response.headers_mut()),
        );
        let is_success = (200..300).contains(&status);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if !is_success && body.len() + chunk.len() > MAX_ERROR_BODY {
                // No error needs so many words; what it cannot be told by is its status.
                break;
            }
            if body.len() + chunk.len() > self.settings.max_body {
                return Err(CallError::TooLarge {
                    title: account.definition().title.clone(),
                    limit: self.settings.max_body,
                });
            }
            body.extend_from_slice(&chunk);
        }
        let seen_at = self.provider_time(account, sent).unwrap_or(begun_at);
        let body = body.freeze();
        if !is_success || account.definition().is_failure(status, &body) {
            return Err(upstream(account, status, &headers, &body, seen_at));
        }
        Ok(Response {
            status,
            headers,
            body,
            seen_at,
        })
    }

    fn learn_time(&self, account: &Account, headers: &HeaderMap, sent: Timestamp) {
        let received = self.monotonic.now();
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(http_date) {
            let host = account.base().authority().to_owned();
            let local = self.clock.now();
            self.clocks()
                .entry(host)
                .or_default()
                .hear(date, sent, received, local);
        }
    }
}

/// What an answer tells of the budget.
fn told(account: &Account, headers: &HeaderMap) -> Ended {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match account.definition().left(header) {
        Some(Left {
            requests,
            resets_in,
        }) => Ended::Left {
            requests,
            resets_in: resets_in.min(LONGEST_PAUSE),
        },
        None => Ended::Normal,
    }
}

/// The address of a request. It can only be on the provider's own host, below the base.
fn address(call: Call<'_>) -> Result<Url, CallError> {
    let base = call.account.base();
    let path = &call.request.path_and_query;
    let below = format!("{}/", base.path().trim_end_matches('/'));
    let text = match call.request.from_root {
        true => {
            let mut root = base.clone();
            root.set_path("");
            format!("{}{path}", root.as_str().trim_end_matches('/'))
        }
        false => format!("{}{path}", base.as_str().trim_end_matches('/')),
    };
    Url::parse(&text)
        .ok()
        .filter(|_| path.starts_with('/'))
        .filter(|url| same_host(base, url) && url.path().starts_with(&below))
        .ok_or_else(|| CallError::OtherHost {
            title: call.account.definition().title.clone(),
        })
}

fn upstream(
    account: &Account,
    status: u16,
    headers: &HeaderMap,
    body: &Bytes,
    seen_at: Timestamp,
) -> CallError {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let error = account.definition().error(status, header, body);
    // A provider may say back what it was given.
    let redact = |text: Option<String>| text.map(|text| account.redact(&text));
    CallError::Upstream {
        title: account.definition().title.clone(),
        error: UpstreamError {
            code: redact(error.code),
            message: redact(error.message),
            request_id: redact(error.request_id),
            ..error
        },
        seen_at,
    }
}
