//! Why a call did not bring what was asked for.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::provider::{Failure, UpstreamError};
use headrace_model::retry::Class;

/// A call failed. No variant holds a secret: messages of the provider are masked, and addresses are
/// left out.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The provider answered something else.
    #[error("{title} answered {}", said(.error))]
    Upstream {
        /// The provider's name for people.
        title: String,
        /// What it answered.
        error: UpstreamError,
        /// When it was asked, as [`super::Response::seen_at`].
        seen_at: Timestamp,
    },
    /// The provider could not be reached, or the answer did not arrive whole.
    #[error("{title} could not be reached, or its answer broke off")]
    Network {
        /// The provider's name for people.
        title: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is larger than anything that is expected.
    #[error("the answer of {title} is larger than {limit} bytes")]
    TooLarge {
        /// The provider's name for people.
        title: String,
        /// The most that is read.
        limit: usize,
    },
    /// The request would leave the provider's own host.
    #[error("the request leads away from the host of {title}, and was not made")]
    OtherHost {
        /// The provider's name for people.
        title: String,
    },
}

impl CallError {
    /// What to do next.
    pub fn class(&self) -> Class {
        match self {
            Self::Upstream { error, .. } => match error.failure {
                Failure::Throttled(after) | Failure::Retry(after) => Class::Retry { after },
                Failure::Reauthorize => Class::Reauthorize,
                Failure::Forbidden
                | Failure::Gone
                | Failure::Hidden
                | Failure::UnknownCursor
                | Failure::Rejected => Class::Rejected,
            },
            Self::Network { .. } => Class::Retry { after: None },
            Self::TooLarge { .. } | Self::OtherHost { .. } => Class::Bug,
        }
    }

    /// Whether the answer did not come in time.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::Network { source, .. } if source.is_timeout())
    }

    /// What the provider answered, if it did.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Upstream { error, .. } => Some(error.failure),
            Self::Network { .. } | Self::TooLarge { .. } | Self::OtherHost { .. } => None,
        }
    }

    /// Whether the provider asks not to repeat the request at once.
    pub(super) fn leaves_alone(&self) -> bool {
        matches!(self, Self::Upstream { error, .. } if error.leave_alone)
    }

    /// The pause that the provider asked for.
    pub(super) fn throttled(&self) -> Option<Option<Duration>> {
        match self.failure() {
            Some(Failure::Throttled(after)) => Some(after),
            _ => None,
        }
    }
}

fn said(error: &UpstreamError) -> String {
    let mut text = error.status.to_string();
    if let Some(message) = error.message.as_ref().or(error.code.as_ref()) {
        text.push_str(": ");
        text.push_str(message);
    }
    if let Some(id) = &error.request_id {
        text.push_str(" (request ");
        text.push_str(id);
        text.push(')');
    }
    text
}
