//! Syncs: made, changed, removed.

use headrace_model::config::{self, Frequency, Metadata, RateLimit};
use headrace_model::{CredentialId, OrgId, RecordId, StreamId, SyncId};
use headrace_store::{Batch, Kind, Range, Selection, StoreError};

use crate::entity::{self, Stored};
use crate::error::Problems;
use crate::names::{check_metadata, check_name, check_slug};
use crate::sync::{Reread, SyncError, SyncStatus};
use crate::{Engine, Error};

/// A sync with how it is doing.
#[derive(Clone, Debug)]
pub struct SyncView {
    /// The sync.
    pub sync: Stored<config::Sync>,
    /// How it is doing.
    pub status: SyncStatus,
    /// Records of each collection, by its id.
    pub records: Vec<(String, u64)>,
}

/// Changes of a sync; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SyncPatch {
    /// A name for people.
    pub name: Option<String>,
    /// Its address besides its id.
    pub slug: Option<Option<String>>,
    /// The collections it reads.
    pub collection_ids: Option<Vec<String>>,
    /// Its share of the credential's budget.
    pub rate_limit: Option<Option<RateLimit>>,
    /// The age it admits.
    pub max_age_days: Option<Option<u32>>,
    /// How often it looks for changes.
    pub sync_frequency: Option<Frequency>,
    /// The user's name for whose account it is.
    pub external_id: Option<Option<String>>,
    /// The user's own.
    pub metadata: Option<Metadata>,
    /// Whether it runs.
    pub enabled: Option<bool>,
}

impl Engine {
    /// Makes a sync, which begins at once.
    pub async fn create_sync(&self, org: OrgId, mut sync: config::Sync) -> Result<SyncView, Error> {
        entity::load::<config::Stream>(&*self.store, org, sync.stream_id.0).await?;
        let credential = self.credential(org, sync.credential_id.0).await?;
        if credential.value.provider != sync.provider {
            let reason = format!(
                "is for {}, not for {}",
                credential.value.provider, sync.provider
            );
            return Err(Error::invalid("credential_id", reason));
        }
        sync.collection_ids = self.check(&sync)?;
        let now = self.clock.now();
        let mut sync = Stored::new(self.new_id(), org, now, sync);
        sync.save(&*self.store, now).await.map_err(taken)?;
        self.card_cache.changed(org);
        self.reconfigured.notify_waiters();
        self.sync.supervisor.changed(SyncId(sync.id));
        self.sync_view(sync).await
    }

    /// The organisation's syncs.
    pub async fn syncs(&self, org: OrgId) -> Result<Vec<Stored<config::Sync>>, Error> {
        entity::all(&*self.store, Some(org)).await
    }

    /// A sync by id or slug.
    pub async fn sync(&self, org: OrgId, name: &str) -> Result<Stored<config::Sync>, Error> {
        entity::load_named(&*self.store, org, name).await
    }

    /// A sync with how it is doing.
    pub async fn sync_view(&self, sync: Stored<config::Sync>) -> Result<SyncView, Error> {
        let status = self.sync_status(&sync).await?;
        let lanes = self.store.stats(sync.value.stream_id).await?.lanes;
        let own = lanes.into_iter().filter(|lane| lane.lane.sync.0 == sync.id);
        let records = own
            .map(|lane| (lane.lane.collection.to_string(), lane.records))
            .collect();
        Ok(SyncView {
            sync,
            status,
            records,
        })
    }

    /// How a sync is doing.
    pub async fn sync_status(&self, sync: &Stored<config::Sync>) -> Result<SyncStatus, Error> {
        self.sync
            .supervisor
            .status(SyncId(sync.id))
            .await
            .map_err(not_syncing)
    }

    /// Changes a sync. An added collection is backfilled; a removed one stops and keeps its records,
    /// unless they are to be purged.
    pub async fn patch_sync(
        &self,
        mut sync: Stored<config::Sync>,
        patch: SyncPatch,
        purge_removed: bool,
    ) -> Result<SyncView, Error> {
        let before = sync.value.collection_ids.clone();
        let SyncPatch {
            name,
            slug,
            collection_ids,
            rate_limit,
            max_age_days,
            ..
        } = patch;
        let SyncPatch {
            sync_frequency,
            external_id,
            metadata,
            enabled,
            ..
        } = patch;
        let value = &mut sync.value;
        value.name = name.unwrap_or_else(|| value.name.clone());
        value.slug = slug.unwrap_or_else(|| value.slug.clone());
        value.collection_ids = collection_ids.unwrap_or_else(|| value.collection_ids.clone());
        value.rate_limit = rate_limit.unwrap_or(value.rate_limit);
        value.max_age_days = max_age_days.unwrap_or(value.max_age_days);
        value.sync_frequency = sync_frequency.unwrap_or(value.sync_frequency);
        value.external_id = external_id.unwrap_or_else(|| value.external_id.clone());
        value.metadata = metadata.unwrap_or_else(|| value.metadata.clone());
        value.enabled = enabled.unwrap_or(value.enabled);
        sync.value.collection_ids = self.check(&sync.value)?;
        sync.save(&*self.store, self.clock.now())
            .await
            .map_err(taken)?;
        self.card_cache.changed(sync.org);
        self.reconfigured.notify_waiters();
        let id = SyncId(sync.id);
        self.sync.supervisor.changed(id);
        for gone in before
            .iter()
            .filter(|id| !sync.value.collection_ids.contains(id))
        {
            if purge_removed {
                self.sync.supervisor.in_effect(id).await;
                self.purge(sync.value.stream_id, id, Some(gone)).await?;
            }
        }
        self.sync_view(sync).await
    }

    /// Removes a sync. Its records stay readable, or are purged.
    pub async fn remove_sync(&self, sync: Stored<config::Sync>, purge: bool) -> Result<(), Error> {
        let id = SyncId(sync.id);
        self.store.write(vec![sync.delete()]).await?;
        self.card_cache.changed(sync.org);
        self.reconfigured.notify_waiters();
        self.sync.supervisor.forget(id).await.map_err(not_syncing)?;
        if purge {
            self.purge(sync.value.stream_id, id, None).await?;
        }
        Ok(())
    }

    /// Lets one collection stand still, or go on.
    pub async fn pause_collection(
        &self,
        mut sync: Stored<config::Sync>,
        collection: &str,
        pause: bool,
    ) -> Result<SyncView, Error> {
        has(&sync.value, collection)?;
        match pause {
            true => sync.value.paused.insert(collection.to_owned()),
            false => sync.value.paused.remove(collection),
        };
        sync.save(&*self.store, self.clock.now()).await?;
        self.sync.supervisor.changed(SyncId(sync.id));
        self.sync_view(sync).await
    }

    /// Reads a collection again, all or a part, without hiding what is there.
    pub async fn reread_collection(
        &self,
        sync: &Stored<config::Sync>,
        collection: &str,
        reread: Reread,
    ) -> Result<(), Error> {
        has(&sync.value, collection)?;
        let id = SyncId(sync.id);
        self.sync
            .supervisor
            .backfill(id, collection, reread)
            .await
            .map_err(not_syncing)
    }

    /// Looks for changes of a collection now.
    pub async fn check_collection(
        &self,
        sync: &Stored<config::Sync>,
        collection: &str,
    ) -> Result<(), Error> {
        has(&sync.value, collection)?;
        self.sync
            .supervisor
            .check(SyncId(sync.id), collection)
            .await
            .map_err(not_syncing)
    }

    pub(crate) async fn syncs_of_credential(
        &self,
        org: OrgId,
        credential: CredentialId,
    ) -> Result<Vec<Stored<config::Sync>>, Error> {
        let mut syncs = self.syncs(org).await?;
        syncs.retain(|sync| sync.value.credential_id == credential);
        Ok(syncs)
    }

    /// Checks a sync's settings; answers its collections by their full ids, each once.
    fn check(&self, sync: &config::Sync) -> Result<Vec<String>, Error> {
        let mut problems = Problems::default();
        let Some(provider) = self.sync.providers.get(&sync.provider) else {
            return Err(Error::invalid(
                "provider",
                format!("there is no provider {:?}", sync.provider),
            ));
        };
        check_name("name", &sync.name, &mut problems);
        check_metadata(Some(&sync.metadata), &mut problems);
        if let Some(external_id) = &sync.external_id {
            check_name("external_id", external_id, &mut problems);
        }
        if sync.name.trim().is_empty() {
            problems.add("name", "must not be empty");
        }
        if let Some(slug) = &sync.slug {
            check_slug("slug", slug, &mut problems);
        }
        let mut collections: Vec<String> = Vec::new();
        for (at, name) in sync.collection_ids.iter().enumerate() {
            match provider.definition.collection(name) {
                Some(found) if collections.contains(&found.id) => {}
                Some(found) => collections.push(found.id.clone()),
                None => problems.add(
                    format!("collection_ids[{at}]"),
                    format!("{name:?} is no collection of {}", sync.provider),
                ),
            }
        }
        if sync.collection_ids.is_empty() {
            problems.add("collection_ids", "must name at least one collection");
        }
        if sync.max_age_days == Some(0) {
            problems.add("max_age_days", "must be at least 1");
        }
        if let Some(limit) = &sync.rate_limit {
            check_limit("rate_limit", limit, &mut problems);
        }
        problems.check()?;
        Ok(collections)
    }

    /// Purges what a sync has brought: all, or of one collection.
    async fn purge(
        &self,
        stream: StreamId,
        sync: SyncId,
        collection: Option<&str>,
    ) -> Result<(), Error> {
        let lanes = self.store.lanes(stream).await?;
        let own = lanes.iter().filter(|lane| {
            lane.sync == sync && collection.is_none_or(|collection| *lane.collection == *collection)
        });
        let selection = Selection {
            lanes: Some(own.map(|lane| lane.no).collect()),
            deleted: None,
        };
        // What comes later is of a collection that was taken in again: it is not meant.
        let upto = self.store.last_idx(stream).await?;
        let mut after = 0;
        loop {
            let range = Range {
                after,
                limit: 1_000,
                max_bytes: 8 << 20,
                newest_first: false,
            };
            let mut rows = self.store.read(stream, &selection, range).await?.rows;
            rows.retain(|row| row.idx <= upto);
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.idx;
            let purge: Vec<RecordId> = rows.iter().map(|row| row.record).collect();
            let batch = Batch {
                sync,
                fence: None,
                seen: Vec::new(),
                purge,
                cursors: Vec::new(),
            };
            for result in self
                .store
                .append(stream, self.clock.now(), vec![batch])
                .await?
            {
                result?;
            }
        }
    }
}

/// Notes what is wrong with a rate limit.
pub fn check_limit(field: &str, limit: &RateLimit, problems: &mut Problems) {
    let RateLimit {
        allowed_requests,
        interval,
        max_concurrent_requests: _,
    } = limit;
    if *allowed_requests == 0 {
        problems.add(format!("{field}.allowed_requests"), "must be at least 1");
    }
    if !interval.is_finite() || *interval < 0.001 || *interval > 86_400.0 {
        problems.add(
            format!("{field}.interval"),
            "must be between 0.001 and 86400 seconds",
        );
    }
}

fn has(sync: &config::Sync, collection: &str) -> Result<(), Error> {
    match sync.collection_ids.iter().any(|id| id == collection) {
        true => Ok(()),
        false => Err(Error::not_found("collection of the sync", collection)),
    }
}

fn taken(error: Error) -> Error {
    match error {
        Error::Store(StoreError::NameTaken {
            kind: Kind::Sync,
            name,
        }) => Error::Conflict(format!("there is a sync with the slug {name:?} already")),
        other => other,
    }
}

fn not_syncing(error: SyncError) -> Error {
    match error {
        SyncError::NoSuchSync => Error::Conflict("the sync was removed meanwhile".to_owned()),
        SyncError::NoSuchCollection(id) => Error::not_found("collection of the sync", id),
        SyncError::NotRunning => Error::Conflict(error.to_string()),
        SyncError::Stopped => Error::ShuttingDown,
        SyncError::Store(error) => Error::Store(error),
        other => Error::Syncing(Box::new(other)),
    }
}
