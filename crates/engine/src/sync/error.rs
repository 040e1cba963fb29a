//! What can go wrong in syncing.

use headrace_store::StoreError;

use crate::outbound::AccountError;

/// Why syncing did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// There is no such sync.
    #[error("the sync does not exist")]
    NoSuchSync,
    /// The sync does not read this collection, or the provider does not have it.
    #[error("the sync does not read the collection {0}")]
    NoSuchCollection(String),
    /// The sync or the collection stands still.
    #[error("it stands still: enable the sync and resume the collection first")]
    NotRunning,
    /// A mistake in the program ended the reading.
    #[error("a part of it has panicked, which is a mistake in the program; it is started again")]
    Broken,
    /// Syncing has ended.
    #[error("syncing has ended")]
    Stopped,
    /// What is stored of the sync cannot be read.
    #[error("the stored {what} is damaged")]
    Damaged {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The sync's credential was deleted.
    #[error("the credential of the sync does not exist any more")]
    NoCredential,
    /// The credential cannot be used.
    #[error("the credential cannot be used")]
    Account(#[from] AccountError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The error with its causes, as one sentence.
pub(super) fn in_words(error: &SyncError) -> String {
    let mut words = format!("The sync cannot run: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        words.push_str(": ");
        words.push_str(&source.to_string());
        cause = source.source();
    }
    words.push('.');
    words
}
