//! The backend, chosen by URL.

use std::path::Path;
use std::sync::Arc;

use crate::sqlite::{self, SqliteStore};
use crate::{Result, Store, StoreError};

/// Opens the store behind `url`: `sqlite:DIRECTORY` is the embedded one.
pub async fn open(url: &str) -> Result<Arc<dyn Store>> {
    match url.split_once(':') {
        Some(("sqlite", directory)) => {
            let directory = directory.to_owned();
            Ok(Arc::new(SqliteStore::open(directory.as_ref()).await?))
        }
        _ => Err(StoreError::UnknownBackend {
            url: without_password(url),
        }),
    }
}

/// Opens the store behind `url` like [`open`], but makes none where there is none.
pub async fn open_existing(url: &str) -> Result<Arc<dyn Store>> {
    if let Some(("sqlite", directory)) = url.split_once(':')
        && !sqlite::has_data(directory.as_ref())
    {
        return Err(StoreError::NoData {
            path: directory.to_owned(),
        });
    }
    open(url).await
}

/// Makes a [`Store::back_up`] the store behind `url`, which holds nothing yet, or what is to be
/// replaced. The file is looked through first. A process that ends early leaves what was there, or all
/// of the backup.
///
/// What was written after the backup is gone, but not from the memory of others. So the restored store
/// goes on where it cannot be mistaken: indexes, generations and numbers of consumers go on above those
/// that may have been handed out since, and what workers had is delivered again.
pub async fn restore(url: &str, backup: &Path, replace: bool) -> Result<()> {
    match url.split_once(':') {
        Some(("sqlite", directory)) => sqlite::restore(directory.as_ref(), backup, replace).await,
        _ => Err(StoreError::UnknownBackend {
            url: without_password(url),
        }),
    }
}

/// Looks through what came from elsewhere as a [`Store::back_up`], as [`restore`] does: the error says
/// what is wrong with it, and calls it `backup`. Takes a while.
pub async fn check_backup(copy: &Path, backup: &Path) -> Result<()> {
    sqlite::check(copy, backup).await
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let (before, after) = url.split_at(at);
            format!(
                "{}://…{after}",
                before.split("://").next().unwrap_or_default()
            )
        }
        _ => url.to_owned(),
    }
}
