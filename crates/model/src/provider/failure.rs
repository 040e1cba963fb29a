//! Answers that are not what was asked for, sorted by what to do next.

use std::time::Duration;

use super::Definition;
use super::format::{ErrorsFile, Sign};
use crate::Timestamp;
use crate::json::{self, Path};

/// Characters that are kept of a provider's message.
const MESSAGE: usize = 500;

/// How a definition tells failures apart.
pub(super) type Signs = std::sync::Arc<ErrorsFile>;

/// What a provider answered instead of what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamError {
    /// The HTTP status.
    pub status: u16,
    /// The provider's code, such as `resource_missing`.
    pub code: Option<String>,
    /// The provider's message.
    pub message: Option<String>,
    /// The provider's id of the request, for its support.
    pub request_id: Option<String>,
    /// What to do next.
    pub failure: Failure,
    /// The provider asks not to repeat the request at once, even where it may go well later.
    pub leave_alone: bool,
}

/// What an answer tells of the budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// So many requests may still be made …
    pub requests: u32,
    /// … until this long after the answer.
    pub resets_in: Duration,
}

/// What to do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Too fast: wait, this long if the provider says so, then ask again. Nothing is wrong.
    Throttled(Option<Duration>),
    /// It may go well another time; after this long if the provider says so.
    Retry(Option<Duration>),
    /// The credential is refused: it has to be renewed.
    Reauthorize,
    /// The credential is good, but may not do this.
    Forbidden,
    /// The record does not exist (any more).
    Gone,
    /// The record does not exist any more, or the credential may not see it any more: the provider says
    /// the same of both.
    Hidden,
    /// The record that a page cursor points at does not exist any more: see
    /// [`super::Collection::resume`].
    UnknownCursor,
    /// It will go wrong every time.
    Rejected,
}

impl Definition {
    /// Reads an answer whose status is not 2xx, or one that [`Self::is_failure`] tells to be a
    /// failure in disguise. `header` finds a header by its name, in any case of letters.
    pub fn error<'h>(
        &self,
        status: u16,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> UpstreamError {
        let errors = &self.errors;
        let said = Said::read(errors, status, body);
        let after = errors
            .after
            .as_deref()
            .and_then(|name| wait(header(name)?, header("Date")));
        let used_up = || self.left(&header).filter(|left| left.requests == 0);
        let after = after.or_else(|| Some(used_up()?.resets_in));
        let decided = errors
            .decide
            .as_deref()
            .and_then(&header)
            .and_then(|text| text.parse().ok());
        let request_id = errors
            .request_id
            .as_deref()
            .and_then(&header)
            .map(str::to_owned);
        let failure = said.failure(errors, &header, decided, after);
        UpstreamError {
            status,
            code: said.code,
            message: said.message,
            request_id,
            failure,
            leave_alone: decided == Some(false),
        }
    }

    /// How much of the budget is left, where the headers of an answer tell.
    pub fn left<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) -> Option<Left> {
        let told = self.limits_left.as_ref()?;
        let requests = header(&told.remaining)?.trim().parse().ok()?;
        let resets_at = told.format.read(header(&told.resets)?.trim())?;
        // By the provider's clock, whatever this machine's says.
        let resets_in = resets_at.since(http_date(header("Date")?)?);
        Some(Left {
            requests,
            resets_in,
        })
    }

    /// Whether an answer with status 2xx is a failure all the same: some providers hide throttles
    /// and refusals so.
    pub fn is_failure(&self, status: u16, body: &[u8]) -> bool {
        let errors = &self.errors;
        if let Some(within) = &errors.within
            && has_errors(within, body)
        {
            return true;
        }
        let signs = [
            &errors.throttled,
            &errors.reauthorize,
            &errors.forbidden,
            &errors.gone,
            &errors.hidden,
            &errors.retry,
        ];
        // Most definitions say nothing about such answers: then the body is not looked at.
        let suspicious = |sign: &Sign| sign.status.is_some_and(|wanted| wanted.holds(status));
        if !signs.iter().any(|signs| signs.iter().any(suspicious)) {
            return false;
        }
        let said = Said::read(errors, status, body);
        signs.iter().any(|signs| {
            signs
                .iter()
                .any(|sign| suspicious(sign) && said.shows(sign, &|_| None))
        })
    }
}

/// Whether an answer has errors at this path.
fn has_errors(within: &Path, body: &[u8]) -> bool {
    let mut json = Vec::new();
    let is_json = json::compact(body, &mut json).is_ok();
    let found = json::get(&json, within).filter(|_| is_json);
    found.is_some_and(|found| ![&b"null"[..], b"[]", b"{}", b"false"].contains(&found))
}

/// Reads the date of an HTTP header, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let instant = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// What the body of a failure says.
struct Said {
    status: u16,
    code: Option<String>,
    message: Option<String>,
    param: Option<String>,
}

impl Said {
    fn read(errors: &ErrorsFile, status: u16, body: &[u8]) -> Self {
        let mut json = Vec::new();
        let text = String::from_utf8_lossy(body);
        // A body that is not JSON, such as a proxy's page, says nothing: the status has to do.
        let known = json::compact(text.as_bytes(), &mut json).is_ok();
        let json = if known { json } else { Vec::new() };
        Self {
            status,
            code: first(&json, &errors.code),
            message: first(&json, &errors.message).map(shortened),
            param: first(&json, errors.param.as_slice()),
        }
    }

    fn failure<'h>(
        &self,
        errors: &ErrorsFile,
        header: &impl Fn(&str) -> Option<&'h str>,
        decided: Option<bool>,
        after: Option<Duration>,
    ) -> Failure {
        let shows = |signs: &[Sign]| signs.iter().any(|sign| self.shows(sign, header));
        if shows(&errors.unknown_cursor) {
            Failure::UnknownCursor
        } else if shows(&errors.throttled) {
            Failure::Throttled(after)
        } else if shows(&errors.reauthorize) {
            Failure::Reauthorize
        } else if shows(&errors.gone) {
            Failure::Gone
        } else if shows(&errors.hidden) {
            Failure::Hidden
        } else if shows(&errors.forbidden) {
            Failure::Forbidden
        } else if self.status >= 500 || shows(&errors.retry) || decided == Some(true) {
            // Also where the provider says not to try again: it means this call, not this time.
            Failure::Retry(after)
        } else {
            Failure::Rejected
        }
    }

    fn shows<'h>(&self, sign: &Sign, header: &impl Fn(&str) -> Option<&'h str>) -> bool {
        let status = sign.status.is_none_or(|status| status.holds(self.status));
        let code = sign.code.is_none() || sign.code == self.code;
        let message = sign.message.as_deref().is_none_or(|sign| {
            let message = self.message.as_deref();
            message.is_some_and(|message| match sign.strip_suffix('*') {
                Some(beginning) => message.starts_with(beginning),
                None => message == sign,
            })
        });
        let param = sign.param.is_none() || sign.param == self.param;
        let header = sign.header.as_ref().is_none_or(|sign| {
            let found = header(&sign.name);
            found.is_some_and(|found| sign.value.as_deref().is_none_or(|value| value == found))
        });
        status && code && message && param && header
    }
}

fn first(json: &[u8], paths: &[Path]) -> Option<String> {
    let mut found = paths.iter().filter_map(|path| json::text(json, path));
    found
        .find(|text| !text.is_empty())
        .map(std::borrow::Cow::into_owned)
}

/// Enough to understand what is wrong.
fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// How long a header such as `Retry-After` asks to wait: seconds, or a date compared with the
/// answer's own.
fn wait(after: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = after.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    Some(http_date(after)?.since(http_date(date?)?))
}
