//! placeholder
#[derive(Debug)]
pub(crate) struct SqliteStore;
