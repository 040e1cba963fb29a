//! Filters: which entries of a stream a consumer is given.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::SyncId;
use crate::config::SyncFacts;

/// Conditions on an entry; all must hold. `None` is no condition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Providers, by name.
    pub provider: Option<BTreeSet<String>>,
    /// Syncs, by id.
    pub sync_id: Option<BTreeSet<String>>,
    /// Collections, such as `stripe:customer`.
    pub collection_id: Option<BTreeSet<String>>,
    /// Syncs, by external id.
    pub external_id: Option<BTreeSet<String>>,
    /// Only tombstones, or only what is not deleted.
    pub deleted: Option<bool>,
}

impl Filter {
    /// Whether every entry of every sync matches, apart from `deleted`.
    pub fn takes_all_lanes(&self) -> bool {
        let Self {
            provider,
            sync_id,
            collection_id,
            external_id,
            deleted: _,
        } = self;
        [provider, sync_id, collection_id, external_id]
            .iter()
            .all(|condition| condition.is_none())
    }

    /// Whether entries of this sync can match.
    pub fn takes_sync(&self, sync: &SyncFacts<'_>) -> bool {
        let within = |set: &Option<BTreeSet<String>>, value: Option<&str>| {
            set.as_ref()
                .is_none_or(|set| value.is_some_and(|value| set.contains(value)))
        };
        within(&self.provider, Some(sync.provider))
            && within(&self.external_id, sync.external_id)
            && self.takes_sync_id(sync.id)
    }

    /// Asked of every lane of a stream: makes no text on the heap.
    fn takes_sync_id(&self, id: SyncId) -> bool {
        let mut buffer = uuid::Uuid::encode_buffer();
        self.sync_id.as_ref().is_none_or(|ids| {
            let id: &str = id.0.hyphenated().encode_lower(&mut buffer);
            ids.contains(id)
        })
    }

    /// Whether entries of this collection can match.
    pub fn takes_collection(&self, collection: &str) -> bool {
        self.collection_id
            .as_ref()
            .is_none_or(|set| set.contains(collection))
    }
}
