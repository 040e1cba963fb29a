//! Health, in plain words.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How something is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well: everything that should be there was read.
    Healthy,
    /// Not known yet, or the first backfill is running.
    Initializing,
    /// It goes on, but something needs a look.
    Warning,
    /// It stands still until somebody acts.
    Error,
}

/// Health with its reasons.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// How it is doing.
    pub status: HealthStatus,
    /// Why, and what to do, one plain sentence each.
    pub notes: Vec<String>,
    /// When this was found.
    pub time: Timestamp,
}

impl Health {
    /// Health of this kind, without notes.
    pub fn plain(status: HealthStatus, time: Timestamp) -> Self {
        Self {
            status,
            notes: Vec::new(),
            time,
        }
    }

    /// Health of this kind with one note.
    pub fn noted(status: HealthStatus, note: impl Into<String>, time: Timestamp) -> Self {
        Self {
            status,
            notes: vec![note.into()],
            time,
        }
    }
}
