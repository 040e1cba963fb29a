//! Whether the database can be trusted. Once it cannot, nothing is written any more.
//!
//! A damaged page is no matter of the request that came upon it: what is written on top of damage
//! makes more of it. And after a failed sync nobody knows what of the file is on disk: the system may
//! have dropped what it could not write, and says so once only.

use std::sync::{Arc, OnceLock};

use super::error::{FILE, Fault, is_damage, is_failed_sync};
use crate::StoreError;

/// What writer and readers found.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<OnceLock<Trouble>>);

#[derive(Clone, Debug)]
enum Trouble {
    Damaged(String),
    DiskFailed,
}

impl Health {
    /// Notes what an error tells of the database.
    pub(super) fn note(&self, error: &rusqlite::Error) {
        let trouble = match error {
            error if is_damage(error) => Trouble::Damaged(format!("{FILE}: {error}")),
            rusqlite::Error::SqliteFailure(failure, _) if is_failed_sync(failure) => {
                Trouble::DiskFailed
            }
            _ => return,
        };
        self.set(trouble);
    }

    /// Notes that a sync failed which `SQLite` knows nothing of.
    pub(super) fn note_failed_sync(&self) {
        self.set(Trouble::DiskFailed);
    }

    fn set(&self, trouble: Trouble) {
        if self.0.set(trouble).is_ok()
            && let Some(refusal) = self.refusal()
        {
            tracing::error!("{refusal}");
        }
    }

    /// The same for what work inside a transaction ended with.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if let Fault::Sql(error) = fault {
            self.note(error);
        }
    }

    /// Why nothing may be written any more.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        Some(match self.0.get()? {
            Trouble::Damaged(what) => StoreError::Damaged { what: what.clone() },
            Trouble::DiskFailed => StoreError::DiskFailed,
        })
    }
}
