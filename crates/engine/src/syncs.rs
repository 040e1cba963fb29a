//! Syncs: made, changed, removed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use headrace_model::config::{self, Frequency, Metadata, RateLimit};
use headrace_model::{CredentialId, OrgId, StreamId, SyncId};
use headrace_store::{Kind, StoreError};

use uuid::Uuid;

use crate::credentials::{ATTEMPTS, Examined, NewCredential, came_second};
use crate::entity::{self, Stored};
use crate::error::Problems;
use crate::names::{check_metadata, check_name, check_slug};
use crate::removal::{Purge, Removal};
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

/// Records by collection, of each sync of the streams that were looked at: a stream is asked once for
/// all of its syncs.
type LaneCounts = HashMap<StreamId, HashMap<SyncId, Vec<(String, u64)>>>;

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
    /// Makes a sync, which begins at once. With a new credential both are stored, or neither; the sync's
    /// own `credential_id` does not count then. `id` is the one it is to have.
    pub async fn create_sync(
        &self,
        org: OrgId,
        mut sync: config::Sync,
        credential: Option<NewCredential>,
        id: Option<Uuid>,
    ) -> Result<SyncView, Error> {
        let id = id.unwrap_or_else(|| self.new_id());
        if let Some(made) = entity::find::<config::Sync>(&*self.store, org, id).await? {
            // By the same request, which did not live to answer, nor perhaps to start it.
            self.sync_changed(org, SyncId(id));
            return self.sync_view(made).await;
        }
        entity::load::<config::Stream>(&*self.store, org, sync.stream_id.0).await?;
        sync.collection_ids = self.check(&sync)?;
        if let Some(slug) = &sync.slug
            && self
                .store
                .object_named(Kind::Sync, org, slug)
                .await?
                .is_some()
        {
            return Err(slug_taken(slug));
        }
        // Before the gate: a provider that is slow must not hold up who removes the stream.
        let examined = match credential {
            Some(new) => Some(self.examine_for(&sync.provider, new).await?),
            None => None,
        };
        let is_given = examined.is_some();
        let mut sync = Stored::new(id, org, self.clock.now(), sync);
        let credential = self.save_with_credential(&mut sync, examined).await?;
        // First of all: what is stored runs, whatever fails after it.
        self.sync_changed(org, SyncId(id));
        if is_given {
            self.credential_changed(&credential).await?;
        }
        self.sync_view(sync).await
    }

    async fn examine_for(&self, wanted: &str, new: NewCredential) -> Result<Examined, Error> {
        let (provider, _) = self.kind(&new.kind).map_err(|e| e.within("credential"))?;
        is_for(&provider.definition.name, wanted, "credential.kind")?;
        let examined = self.examine(new).await;
        examined.map_err(|e| e.within("credential"))
    }

    /// Stores a sync together with its credential. One that is there already is written as well: who
    /// removes it at the same time is refused, or refuses this.
    async fn save_with_credential(
        &self,
        sync: &mut Stored<config::Sync>,
        examined: Option<Examined>,
    ) -> Result<Stored<config::Credential>, Error> {
        let gate = self.gates.of(sync.value.stream_id.0);
        let _open = gate.read().await;
        entity::load::<config::Stream>(&*self.store, sync.org, sync.value.stream_id.0).await?;
        let mut attempt = 0;
        loop {
            let credential = match &examined {
                Some(examined) => self.merged(sync.org, examined).await?.0,
                None => {
                    let id = sync.value.credential_id.0;
                    let credential = self.credential(sync.org, id).await?;
                    let provider = &credential.value.provider;
                    is_for(provider, &sync.value.provider, "credential_id")?;
                    credential
                }
            };
            sync.value.credential_id = CredentialId(credential.id);
            attempt += 1;
            let writes = vec![credential.put()?];
            match sync.save_with(writes, &*self.store, self.clock.now()).await {
                Err(error) if came_second(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(taken(error)),
                Ok(()) => return Ok(credential),
            }
        }
    }

    /// A sync was made or changed: what runs follows, and who waits looks again.
    fn sync_changed(&self, org: OrgId, sync: SyncId) {
        self.card_cache.changed(org);
        self.reconfigured.notify_waiters();
        self.sync.supervisor.changed(sync);
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
        let mut counts = LaneCounts::default();
        self.view(sync, &mut counts).await
    }

    /// Syncs with how they are doing.
    pub async fn sync_views(
        &self,
        syncs: Vec<Stored<config::Sync>>,
    ) -> Result<Vec<SyncView>, Error> {
        let mut counts = LaneCounts::default();
        let mut views = Vec::with_capacity(syncs.len());
        for sync in syncs {
            match self.view(sync, &mut counts).await {
                Ok(view) => views.push(view),
                // Removed since the list was read: it is not part of it.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(views)
    }

    async fn view(
        &self,
        sync: Stored<config::Sync>,
        counts: &mut LaneCounts,
    ) -> Result<SyncView, Error> {
        let status = self.sync_status(&sync).await?;
        let stream = sync.value.stream_id;
        if let Entry::Vacant(unknown) = counts.entry(stream) {
            let by_sync = unknown.insert(HashMap::new());
            for lane in self.store.stats(stream).await?.lanes {
                let of_sync: &mut Vec<_> = by_sync.entry(lane.lane.sync).or_default();
                of_sync.push((lane.lane.collection.to_string(), lane.records));
            }
        }
        let by_sync = counts.get(&stream);
        let records = by_sync.and_then(|by_sync| by_sync.get(&SyncId(sync.id)));
        let records = records.cloned().unwrap_or_default();
        Ok(SyncView {
            sync,
            status,
            records,
        })
    }

    /// How a sync is doing; `NotFound` once it was removed.
    pub async fn sync_status(&self, sync: &Stored<config::Sync>) -> Result<SyncStatus, Error> {
        let status = self.sync.supervisor.status(SyncId(sync.id)).await;
        status.map_err(|error| match error {
            SyncError::NoSuchSync => Error::not_found("sync", sync.id),
            other => not_syncing(other),
        })
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
        let id = SyncId(sync.id);
        let wanted = &sync.value.collection_ids;
        let takes_in = wanted.iter().any(|collection| !before.contains(collection));
        let gone = |collection: &String| !sync.value.collection_ids.contains(collection);
        let purges = before.into_iter().filter(gone).map(|collection| Purge {
            stream: sync.value.stream_id,
            sync: id,
            collection: Some(collection),
        });
        let purges: Vec<Purge> = purges.filter(|_| purge_removed).collect();
        let now = self.clock.now();
        let gate = self.gates.of(sync.id);
        let closed = match takes_in {
            // A purge that is under way ends first: it may be of what comes back.
            true => Some(gate.write().await),
            false => None,
        };
        let recalled = match takes_in {
            true => {
                let taken_in = |id: &String| sync.value.collection_ids.contains(id);
                self.recalled(id, taken_in).await?
            }
            false => Vec::new(),
        };
        // What consumers' filters take of the sync changes between two steps of a sweep.
        let stream = self.gates.of(sync.value.stream_id.0);
        let open = stream.read().await;
        if purges.is_empty() {
            let saved = sync.save_with(recalled, &*self.store, now).await;
            saved.map_err(taken)?;
            self.sync_changed(sync.org, id);
            return self.sync_view(sync).await;
        }
        sync.updated_at = now.max(sync.updated_at);
        let removal = Removal {
            purges,
            ..Removal::default()
        };
        let writes = recalled.into_iter().chain([sync.put()?]).collect();
        let noted = self.note_removal(sync.org, writes, removal);
        let note = noted.await.map_err(taken)?;
        sync.revision += 1;
        self.sync.supervisor.changed(id);
        drop((open, closed));
        self.finish_removal(note).await?;
        self.sync_view(sync).await
    }

    /// Removes a sync. Its records stay readable, or are purged.
    pub async fn remove_sync(&self, sync: Stored<config::Sync>, purge: bool) -> Result<(), Error> {
        let id = SyncId(sync.id);
        let records = Purge {
            stream: sync.value.stream_id,
            sync: id,
            collection: None,
        };
        let removal = Removal {
            syncs: vec![id],
            purges: purge.then_some(records).into_iter().collect(),
            ..Removal::default()
        };
        let writes = vec![sync.delete()];
        let noted = self.note_removal(sync.org, writes, removal).await;
        if noted.is_err() {
            // It may be written all the same: a sync that is no more must not go on.
            self.sync.supervisor.changed(id);
        }
        self.finish_removal(noted?).await
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
        }) => slug_taken(&name),
        other => other,
    }
}

fn slug_taken(slug: &str) -> Error {
    Error::Conflict(format!("there is a sync with the slug {slug:?} already"))
}

fn is_for(provider: &str, wanted: &str, field: &str) -> Result<(), Error> {
    match provider == wanted {
        true => Ok(()),
        false => Err(Error::invalid(
            field,
            format!("is for {provider}, not for {wanted}"),
        )),
    }
}

pub(crate) fn not_syncing(error: SyncError) -> Error {
    match error {
        SyncError::NoSuchSync => Error::Conflict("the sync was removed meanwhile".to_owned()),
        SyncError::NoSuchCollection(id) => Error::not_found("collection of the sync", id),
        SyncError::NotRunning => Error::Conflict(error.to_string()),
        SyncError::Stopped => Error::ShuttingDown,
        SyncError::Store(error) => Error::Store(error),
        other => Error::Syncing(Box::new(other)),
    }
}
