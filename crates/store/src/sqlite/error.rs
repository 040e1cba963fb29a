//! What `SQLite`'s errors mean to a caller.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi::{
    Error as Failure, SQLITE_CORRUPT, SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC,
    SQLITE_IOERR_SHMSIZE,
};

use crate::StoreError;

/// The name of the database file in the data directory.
pub(super) const FILE: &str = "headrace.db";

/// Why work inside a transaction failed: refused by a rule, or by `SQLite`.
pub(super) enum Fault {
    Refused(StoreError),
    Sql(rusqlite::Error),
}

/// What work inside a transaction answers.
pub(super) type Tx<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// The error for a caller who attempted `action`.
    pub(super) fn during(self, action: &'static str) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => sql_error(action, &Arc::new(error)),
        }
    }
}

/// The error for one of many callers who attempted `action` together.
pub(super) fn sql_error(action: &'static str, error: &Arc<rusqlite::Error>) -> StoreError {
    match &**error {
        error if is_damage(error) => damaged(error),
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::DiskFull,
            // A reader's, in the middle of a long read.
            ErrorCode::OperationInterrupted => StoreError::Closed,
            // The shared-memory index could not grow: the one full disk SQLite reports as an I/O error.
            _ if failure.extended_code == SQLITE_IOERR_SHMSIZE => StoreError::DiskFull,
            _ if is_failed_sync(failure) => StoreError::DiskFailed,
            _ => backend(action, Arc::clone(error)),
        },
        _ => backend(action, Arc::clone(error)),
    }
}

/// Whether what is stored is not what was: in the order of pages, or in what a value can be.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
        ),
        _ => false,
    }
}

/// `SQLite`'s error for damage, in words of our own.
pub(super) fn corrupt(what: String) -> rusqlite::Error {
    let code = Failure {
        code: ErrorCode::DatabaseCorrupt,
        extended_code: SQLITE_CORRUPT,
    };
    rusqlite::Error::SqliteFailure(code, Some(what))
}

/// The error for a failure of a file beside the database.
pub(super) fn io_error(action: &'static str, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull,
        _ => backend(action, error),
    }
}

/// Whether a sync failed: what was written since the one before may be on disk or not.
pub(super) fn is_failed_sync(failure: &Failure) -> bool {
    [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&failure.extended_code)
}

/// A file or directory that cannot be opened for writing, or made.
pub(super) fn not_writable(path: &Path, source: std::io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::NotWritable {
            path: path.display().to_string(),
            source,
        },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull,
        _ => backend("open a file in the data directory", source),
    }
}

/// A failure of what is around the database.
pub(super) fn backend(
    action: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Backend {
        action,
        source: source.into(),
    }
}

fn damaged(error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged {
        what: format!("{FILE}: {error}"),
    }
}
