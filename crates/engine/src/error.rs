//! What a use case can answer other than success.

use headrace_store::StoreError;

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing, or it belongs to another organisation.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What was looked for, such as `stream`.
        what: &'static str,
        /// The id or slug given.
        id: String,
    },
    /// The input does not make sense: reasons by field.
    #[error("{}", summary(.0))]
    Invalid(Vec<Invalid>),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// Too many are at it already.
    #[error("{0}")]
    TooMany(String),
    /// The caller's token was revoked while it waited.
    #[error("this token was revoked")]
    Revoked,
    /// The server is stopping.
    #[error("the server is shutting down: try again in a moment")]
    ShuttingDown,
    /// The provider did not answer, or not usefully.
    #[error("{0}")]
    Upstream(String),
    /// The provider did not answer in time.
    #[error("{0}")]
    UpstreamTimeout(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret could not be sealed or opened.
    #[error("could not {action} a secret")]
    Sealing {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sync engine failed.
    #[error("could not steer the sync")]
    Syncing(#[source] Box<crate::sync::SyncError>),
    /// What is stored cannot be read.
    #[error("could not read the stored {what}")]
    Stored {
        /// What was read.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
}

/// One field and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The field, dotted where nested.
    pub field: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Error {
    /// Input with one wrong field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid {
            field: field.into(),
            reason: reason.into(),
        }])
    }

    /// The same error with the fields it names put below `field`.
    pub fn within(self, field: &str) -> Self {
        let Self::Invalid(mut problems) = self else {
            return self;
        };
        for problem in &mut problems {
            problem.field = format!("{field}.{}", problem.field);
        }
        Self::Invalid(problems)
    }

    /// There is no such thing.
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }
}

/// Collects what is wrong with an input, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Invalid>);

impl Problems {
    /// Notes that a field is wrong.
    pub fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Invalid {
            field: field.into(),
            reason: reason.into(),
        });
    }

    /// Ok when nothing was noted.
    pub fn check(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.0))
        }
    }
}

fn summary(problems: &[Invalid]) -> String {
    match problems {
        [one] => format!("{} {}", one.field, one.reason),
        many => format!("{} fields are not valid", many.len()),
    }
}
