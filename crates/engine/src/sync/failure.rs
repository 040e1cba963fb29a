//! Why a reconciler did not get on, what it does next, and how to say so.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::provider::{Failure as Upstream, PageError, RequestError};
use headrace_model::retry::Class;
use headrace_store::StoreError;

use crate::outbound::CallError;

/// Why a step of a reconciler failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The provider did not give what was asked for.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The provider gave something that cannot be understood. Nothing of it was used.
    #[error("{0}")]
    Page(#[from] PageError),
    /// What would have to be asked cannot be put into a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of a record, or what it was to be read after, is gone: the record has changed.
    #[error("a part of it has changed: {0}")]
    Part(#[source] CallError),
    /// What a reading noted is not there.
    #[error("the note {name} is missing: start a backfill of the collection")]
    NoNote {
        /// Its name.
        name: String,
    },
    /// The provider shows another record in the place of the one that was asked for, or nothing.
    #[error("the provider shows {} in the place of {asked}", .shown.as_deref().unwrap_or("nothing"))]
    Instead {
        /// What it shows.
        shown: Option<String>,
        /// What was asked for.
        asked: String,
        /// When it was asked.
        seen_at: Timestamp,
    },
    /// Records change faster than they can be read again.
    #[error("{count} records kept changing while they were read")]
    Unsettled {
        /// How many.
        count: usize,
    },
    /// The state could not be written as JSON, or read.
    #[error("the state of the sync cannot be written or read")]
    State(#[from] serde_json::Error),
    /// The sync is being stopped: not an error, but an end.
    #[error("the sync is being stopped")]
    Stopped,
}

/// What to do after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Try again by itself; not before this time has passed, where the provider says so.
    Retry(Option<Duration>),
    /// Somebody has to act. Look now and then whether it was done.
    StandStill,
    /// Another node has the sync.
    Yield,
    /// End.
    Stop,
}

impl Failure {
    pub(super) fn next(&self) -> Next {
        match self {
            Self::Call(error) => match error.class() {
                Class::Retry { after } => Next::Retry(after),
                Class::Reauthorize | Class::Rejected | Class::Bug => Next::StandStill,
            },
            Self::Request(_) | Self::NoNote { .. } => Next::StandStill,
            Self::Store(StoreError::Fenced) => Next::Yield,
            Self::Store(StoreError::Closed) | Self::Stopped => Next::Stop,
            Self::Part(_)
            | Self::Instead { .. }
            | Self::Page(_)
            | Self::Store(_)
            | Self::Unsettled { .. }
            | Self::State(_) => Next::Retry(None),
        }
    }

    /// The failure of a request for a part of a record.
    pub(super) fn of_a_part(self) -> Self {
        match self {
            Self::Call(error)
                if matches!(
                    error.failure(),
                    Some(Upstream::Gone | Upstream::Hidden | Upstream::UnknownCursor)
                ) =>
            {
                Self::Part(error)
            }
            failure => failure,
        }
    }

    /// What the provider answered, if it did.
    pub(super) fn upstream(&self) -> Option<Upstream> {
        match self {
            Self::Call(error) => error.failure(),
            _ => None,
        }
    }

    /// Whether a record has to be read anew because a part of it has changed.
    pub(super) fn is_of_a_part(&self) -> bool {
        matches!(self, Self::Part(_))
    }

    /// When it was said that the record is not where it was, which is said of what may not be seen too.
    pub(super) fn hidden_at(&self) -> Option<Timestamp> {
        match self {
            Self::Call(CallError::Upstream { error, seen_at, .. }) => {
                (error.failure == Upstream::Hidden).then_some(*seen_at)
            }
            Self::Instead { seen_at, .. } => Some(*seen_at),
            _ => None,
        }
    }

    /// Whether a list of one parent cannot be read: those of others may.
    pub(super) fn is_of_what_was_asked(&self) -> bool {
        let is_refused = matches!(self.upstream(), Some(Upstream::Forbidden | Upstream::Gone));
        is_refused || self.is_of_this_record()
    }

    /// Whether it is one record that cannot be read: others may.
    pub(super) fn is_of_this_record(&self) -> bool {
        match self {
            Self::Request(_) | Self::Instead { .. } => true,
            Self::Call(error) => matches!(
                error.failure(),
                Some(Upstream::Rejected | Upstream::Hidden | Upstream::UnknownCursor)
            ),
            _ => false,
        }
    }

    /// What is wrong and what to do, in plain words. `what` is what was being read.
    pub(super) fn words(&self, what: &str) -> String {
        match self {
            Self::Call(error) => call_words(error, what),
            Self::Page(error) => format!(
                "A page of {what} cannot be understood: {error}. Nothing of it was used; it is asked for again."
            ),
            Self::Store(error) => format!("What was read of {what} could not be stored: {error}."),
            Self::NoNote { .. }
            | Self::Instead { .. }
            | Self::Part(_)
            | Self::Request(_)
            | Self::Unsettled { .. }
            | Self::State(_)
            | Self::Stopped => {
                format!("Reading {what}: {self}.")
            }
        }
    }
}

fn call_words(error: &CallError, what: &str) -> String {
    match error.failure() {
        Some(Upstream::Reauthorize) => {
            format!(
                "The credential is refused: reauthorise the account, or put in a new key. {error}."
            )
        }
        Some(Upstream::Forbidden) => format!(
            "The credential may not read {what}: give it the permission, or take the collection out of the sync. {error}."
        ),
        Some(Upstream::Hidden) => format!(
            "{what} cannot be seen any more: they are gone, or the credential may not see them. {error}."
        ),
        Some(Upstream::Throttled(_)) => {
            format!("Reading {what} is slowed down by the provider. {error}.")
        }
        Some(Upstream::Retry(_)) | None if error.class().is_retry() => {
            format!("Reading {what} failed and is tried again. {error}.")
        }
        _ => format!("Reading {what} is rejected. {error}."),
    }
}
