//! What can go wrong in a store.

use crate::Kind;

/// Why the store did not do what was asked. Nothing of a refused call was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The unique name belongs to another object.
    #[error("the name {name:?} is taken")]
    NameTaken {
        /// The kind of object that owns it.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The object was changed since it was read, or is gone.
    #[error("the {kind:?} was changed meanwhile")]
    Changed {
        /// The kind of object.
        kind: Kind,
    },
    /// The lease belongs to another owner now.
    #[error("the lease was taken over by another node")]
    Fenced,
    /// There is no such consumer.
    #[error("the consumer does not exist")]
    NoConsumer,
    /// Another process has the data directory.
    #[error(
        "the data directory {path} is in use by another process ({holder}): stop it, or give this one a directory of its own with --data-dir"
    )]
    InUse {
        /// The data directory.
        path: String,
        /// What is known of the other process.
        holder: String,
    },
    /// Written by a newer version of Headrace.
    #[error(
        "the data was written by a newer version of Headrace (format {found}, this version knows up to {known}): upgrade Headrace to that version"
    )]
    TooNew {
        /// The format found.
        found: i64,
        /// The newest format this version knows.
        known: i64,
    },
    /// There is a file of this name.
    #[error("{path} exists: choose another name")]
    Exists {
        /// The file.
        path: String,
    },
    /// So much was written while a backup was made that it was given up.
    #[error(
        "the backup was given up: too much is being written meanwhile. Try again while less is"
    )]
    Overtaken,
    /// A backup does not fit on the disk beside what others need.
    #[error(
        "the disk has no room for a backup: it takes {needed} bytes, with some to spare for what is written meanwhile, and {free} are free"
    )]
    NoRoom {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// There is data where a backup was to be restored.
    #[error(
        "{path} has data already: restore into a directory of its own, or give up what is there with --replace"
    )]
    NotEmpty {
        /// The data directory.
        path: String,
    },
    /// There is no store.
    #[error("{path} has no data: name the data directory with --data-dir")]
    NoData {
        /// The data directory.
        path: String,
    },
    /// The file is no backup.
    #[error("{path} is no backup: restore takes a file that `headrace backup` has written")]
    NotABackup {
        /// The file.
        path: String,
    },
    /// The file is a backup, but not as it was written.
    #[error("the backup {path} is damaged or not whole: take another one")]
    BrokenBackup {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The URL names no backend.
    #[error("no store is known for {url:?}: expected sqlite:DIRECTORY")]
    UnknownBackend {
        /// The URL, without any password.
        url: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk is full.
    #[error("the disk is full: make room, the store goes on by itself")]
    DiskFull,
    /// The disk did not keep what it was given. Nothing is written any more: what is in memory may
    /// not be what is on disk.
    #[error(
        "the disk failed to store what was written, and nothing more is written: look after the disk, then start Headrace again"
    )]
    DiskFailed,
    /// Writing is not allowed.
    #[error(
        "{path} cannot be written: let the user that runs Headrace write it, or choose another --data-dir"
    )]
    NotWritable {
        /// The file or directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not Headrace's.
    #[error("{path} belongs to another program: choose another --data-dir")]
    Foreign {
        /// The file.
        path: String,
    },
    /// What is stored cannot be understood.
    #[error(
        "stored data is damaged: {what}; stop Headrace and put the data back from a backup: headrace restore --data-dir DIR BACKUP"
    )]
    Damaged {
        /// What and where.
        what: String,
    },
    /// Reading or writing failed.
    #[error("could not {action}")]
    Backend {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
