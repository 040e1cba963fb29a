//! Streams: made, listed, changed, removed.

use headrace_model::{ConsumerId, OrgId, StreamId, SyncId, config};
use headrace_store::{Kind, StoreError, StreamStats};
use uuid::Uuid;

use crate::entity::{self, Stored};
use crate::error::Problems;
use crate::names::check_slug;
use crate::removal::Removal;
use crate::{Engine, Error};

const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 1..=36_500;

/// What is changed of a stream; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default)]
pub struct StreamPatch {
    /// Its address besides its id.
    pub slug: Option<String>,
    /// How long tombstones stay; `Some(None)` for ever.
    pub tombstone_retention_days: Option<Option<u32>>,
}

/// A stream with what is in it.
#[derive(Clone, Debug)]
pub struct StreamView {
    /// The stream.
    pub stream: Stored<config::Stream>,
    /// Counts of its log.
    pub log: StreamStats,
    /// Its consumers.
    pub consumers: usize,
    /// Its syncs.
    pub syncs: usize,
}

impl Engine {
    /// Makes a stream. `id` is the one it is to have.
    pub async fn create_stream(
        &self,
        org: OrgId,
        value: config::Stream,
        id: Option<Uuid>,
    ) -> Result<Stored<config::Stream>, Error> {
        check(&value)?;
        let id = id.unwrap_or_else(|| self.new_id());
        if let Some(made) = entity::find(&*self.store, org, id).await? {
            // By the same request, which did not live to answer.
            return Ok(made);
        }
        let now = self.clock.now();
        let mut stream = Stored::new(id, org, now, value);
        stream.save(&*self.store, now).await.map_err(taken)?;
        Ok(stream)
    }

    /// The organisation's streams.
    pub async fn streams(&self, org: OrgId) -> Result<Vec<Stored<config::Stream>>, Error> {
        entity::all(&*self.store, Some(org)).await
    }

    /// A stream by id or slug.
    pub async fn stream(&self, org: OrgId, name: &str) -> Result<Stored<config::Stream>, Error> {
        entity::load_named(&*self.store, org, name).await
    }

    /// Whether the organisation has this stream (still).
    pub async fn has_stream(&self, org: OrgId, id: StreamId) -> Result<bool, Error> {
        let found = entity::find::<config::Stream>(&*self.store, org, id.0).await?;
        Ok(found.is_some())
    }

    /// A stream with its counts.
    pub async fn stream_view(&self, org: OrgId, name: &str) -> Result<StreamView, Error> {
        let stream = self.stream(org, name).await?;
        let log = self.store.stats(StreamId(stream.id)).await?;
        let (syncs, consumers) = self.users_of(org, StreamId(stream.id)).await?;
        Ok(StreamView {
            stream,
            log,
            consumers: consumers.len(),
            syncs: syncs.len(),
        })
    }

    /// Changes a stream's settings.
    pub async fn update_stream(
        &self,
        org: OrgId,
        name: &str,
        patch: StreamPatch,
    ) -> Result<Stored<config::Stream>, Error> {
        let mut stream = self.stream(org, name).await?;
        let StreamPatch {
            slug,
            tombstone_retention_days,
        } = patch;
        let value = &mut stream.value;
        value.slug = slug.unwrap_or_else(|| value.slug.clone());
        value.tombstone_retention_days =
            tombstone_retention_days.unwrap_or(value.tombstone_retention_days);
        check(value)?;
        stream
            .save(&*self.store, self.clock.now())
            .await
            .map_err(taken)?;
        self.retention.changed();
        Ok(stream)
    }

    /// Removes a stream and everything in it. One that still has syncs or consumers only with `cascade`.
    pub async fn delete_stream(&self, org: OrgId, name: &str, cascade: bool) -> Result<(), Error> {
        let stream = self.stream(org, name).await?;
        let id = StreamId(stream.id);
        let gate = self.gates.of(stream.id);
        let closed = gate.write().await;
        let (syncs, consumers) = self.users_of(org, id).await?;
        let in_use = !syncs.is_empty() || !consumers.is_empty();
        if in_use && !cascade {
            return Err(Error::Conflict(format!(
                "the stream still has {} syncs and {} consumers: remove them first, or pass ?cascade=true",
                syncs.len(),
                consumers.len()
            )));
        }
        let removal = Removal {
            stream: Some(id),
            consumers: consumers.iter().map(|one| ConsumerId(one.id)).collect(),
            syncs: syncs.iter().map(|one| SyncId(one.id)).collect(),
            purges: Vec::new(),
        };
        let mut writes = vec![stream.delete()];
        writes.extend(syncs.iter().map(Stored::delete));
        writes.extend(consumers.iter().map(Stored::delete));
        let note = self.note_removal(org, writes, removal).await?;
        drop(closed);
        self.finish_removal(note).await
    }

    async fn users_of(
        &self,
        org: OrgId,
        stream: StreamId,
    ) -> Result<(Vec<Stored<config::Sync>>, Vec<Stored<config::HttpConsumer>>), Error> {
        let mut syncs = entity::all::<config::Sync>(&*self.store, Some(org)).await?;
        syncs.retain(|sync| sync.value.stream_id == stream);
        let mut consumers = entity::all::<config::HttpConsumer>(&*self.store, Some(org)).await?;
        consumers.retain(|consumer| consumer.value.stream_id == stream);
        Ok((syncs, consumers))
    }
}

fn check(stream: &config::Stream) -> Result<(), Error> {
    let config::Stream {
        slug,
        tombstone_retention_days,
    } = stream;
    let mut problems = Problems::default();
    check_slug("slug", slug, &mut problems);
    if tombstone_retention_days.is_some_and(|days| !RETENTION_DAYS.contains(&days)) {
        let reason = "must be between 1 and 36500, or null (unlimited)";
        problems.add("tombstone_retention_days", reason);
    }
    problems.check()
}

fn taken(error: Error) -> Error {
    match error {
        Error::Store(StoreError::NameTaken {
            kind: Kind::Stream,
            name,
        }) => Error::Conflict(format!("there is a stream with the slug {name:?} already")),
        other => other,
    }
}
