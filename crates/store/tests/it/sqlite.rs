//! The embedded backend: the conformance suite, and what is its own.

use std::sync::Arc;

use headrace_store::{Store, StoreError};

use crate::conformance::{Backend, conformance};

/// A data directory that lives as long as the test.
pub(crate) struct Sqlite(tempfile::TempDir);

impl Backend for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Arc<dyn Store> {
        headrace_store::open(&self.url()).await.unwrap()
    }
}

impl Sqlite {
    fn url(&self) -> String {
        format!("sqlite:{}", self.0.path().join("data").display())
    }
}

conformance!(crate::sqlite::Sqlite);

#[tokio::test]
async fn a_directory_belongs_to_one_store_at_a_time() {
    let sqlite = Sqlite::new();
    let first = sqlite.open().await;
    let Err(error) = headrace_store::open(&sqlite.url()).await else {
        panic!("opened twice");
    };
    assert!(matches!(&error, StoreError::InUse { .. }), "{error}");
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error}");
    first.close().await.unwrap();
    sqlite.open().await;
}
