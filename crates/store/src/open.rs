//! The backend, chosen by URL.

use std::sync::Arc;

use crate::sqlite::SqliteStore;
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
