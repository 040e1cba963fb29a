//! Streams: made, listed, changed, removed.

use headrace_model::{OrgId, StreamId, config};
use headrace_store::{Kind, StoreError, StreamStats};

use crate::entity::{self, Stored};
use crate::error::Problems;
use crate::names::check_slug;
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
    /// Makes a stream.
    pub async fn create_stream(
        &self,
        org: OrgId,
        value: config::Stream,
    ) -> Result<Stored<config::Stream>, Error> {
        check(&value)?;
        let now = self.clock.now();
        let mut stream = Stored::new(self.new_id(), org, now, value);
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
        let (syncs, consumers) = self.users_of(org, id).await?;
        let in_use = !syncs.is_empty() || !consumers.is_empty();
        if in_use && !cascade {
            return Err(Error::Conflict(format!(
                "the stream still has {} syncs and {} consumers: remove them first, or pass ?cascade=true",
                syncs.len(),
                consumers.len()
            )));
        }
        for sync in syncs {
            self.remove_sync(sync, false).await?;
        }
        for consumer in consumers {
            self.remove_consumer(consumer).await?;
        }
        self.store.write(vec![stream.delete()]).await?;
        Ok(self.store.drop_log(id).await?)
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
