//! Appending what was seen, and settling the doubts that the stream has about it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headrace_model::provider::Row;
use headrace_model::quota::Priority;
use headrace_model::record::{Content, Mark, Observation, Origin, Version};
use headrace_model::{RecordId, Timestamp};
use headrace_store::{CursorWrite, Outcome};

use super::context::{Found, Watched};
use super::failure::Failure;
use super::poll::FUTURE;

/// Reads by id that are under way at once for one collection. The budget may allow fewer.
pub(super) const AT_ONCE: usize = 4;

/// A record that is in doubt again and again changes faster than it can be read; it is left for later
/// after so many times.
const ROUNDS: u32 = 6;

/// What reads by id found.
#[derive(Default)]
pub(super) struct Looked {
    /// What is there or is gone.
    pub(super) seen: Vec<Observation>,
    /// What may be gone or not to be seen any more, and when that was said: the provider says the same
    /// of both.
    pub(super) hidden: Vec<(String, Timestamp)>,
    /// What the provider refuses to read.
    pub(super) refused: Vec<String>,
}

impl Looked {
    /// Takes all that is hidden for gone.
    pub(super) fn hidden_is_gone(&mut self) {
        let gone = self.hidden.drain(..).map(|(id, at)| gone_read(id, at));
        self.seen.extend(gone);
    }

    /// What was found, and all that was not.
    pub(super) fn or_refused(mut self) -> (Vec<Observation>, Vec<String>) {
        self.refused
            .extend(self.hidden.into_iter().map(|(id, _)| id));
        (self.seen, self.refused)
    }
}

/// A record as it was seen in a list or by a read at this time.
pub(super) fn read(row: Row, seen_at: Timestamp) -> Observation {
    observation(row, seen_at, Origin::Read)
}

/// A record as an event of this time shows it.
pub(super) fn event(row: Row, at: Timestamp) -> Observation {
    let mut seen = observation(row, at, Origin::Event);
    seen.updated_at = seen.updated_at.or(Some(at));
    seen
}

/// A record that an event of this time says is gone.
pub(super) fn gone_event(upstream_id: String, at: Timestamp) -> Observation {
    let mut seen = gone(upstream_id, at, Origin::Event);
    seen.updated_at = Some(at);
    seen
}

/// A record that a read of this time says is gone.
pub(super) fn gone_read(upstream_id: String, at: Timestamp) -> Observation {
    gone(upstream_id, at, Origin::Read)
}

/// A record that was read by id.
pub(super) fn found(upstream_id: &str, found: Found, origin: Origin) -> Observation {
    match found.row {
        Some(row) => observation(*row, found.seen_at, origin),
        None => gone(upstream_id.to_owned(), found.seen_at, origin),
    }
}

fn observation(row: Row, seen_at: Timestamp, origin: Origin) -> Observation {
    let version = row.own_version.map_or(Version::Seen(seen_at), Version::Own);
    let content = if row.gone {
        Content::Gone
    } else {
        Content::Present {
            data: row.data,
            hash: row.hash,
        }
    };
    Observation {
        upstream_id: row.upstream_id,
        parent_id: row.parent_id,
        content,
        version,
        origin,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn gone(upstream_id: String, seen_at: Timestamp, origin: Origin) -> Observation {
    Observation {
        upstream_id,
        parent_id: None,
        content: Content::Gone,
        version: Version::Seen(seen_at),
        origin,
        created_at: None,
        updated_at: None,
    }
}

impl Watched {
    /// Appends, and reads again what is in doubt until nothing is. Answers how many records changed.
    pub(super) async fn store(
        &self,
        seen: Vec<Observation>,
        cursors: Vec<CursorWrite>,
    ) -> Result<usize, Failure> {
        self.store_listed(0, seen, cursors).await
    }

    /// The same of what was listed when the stream had come to this index ([`Watched::reached`]).
    pub(super) async fn store_listed(
        &self,
        reached: u64,
        seen: Vec<Observation>,
        cursors: Vec<CursorWrite>,
    ) -> Result<usize, Failure> {
        self.settle(reached, seen, false, cursors).await
    }

    async fn settle(
        &self,
        reached: u64,
        seen: Vec<Observation>,
        hidden_is_gone: bool,
        cursors: Vec<CursorWrite>,
    ) -> Result<usize, Failure> {
        let mut seen = self.admitted(seen).await?;
        if seen.is_empty() && cursors.is_empty() {
            return Ok(0);
        }
        let mut cursors = cursors;
        let mut changed = 0;
        for round in 0..ROUNDS {
            let shown = seen.clone();
            let cursors = std::mem::take(&mut cursors);
            let outcomes = self
                .context
                .append(&self.id, seen, Vec::new(), cursors)
                .await?;
            changed += outcomes.iter().filter(|outcome| is_change(outcome)).count();
            let doubts =
                shown
                    .into_iter()
                    .zip(outcomes)
                    .filter_map(|(shown, outcome)| match outcome {
                        Outcome::Doubt(mark) => Some((shown, mark)),
                        Outcome::Appended { .. } | Outcome::Unchanged | Outcome::Stale => None,
                    });
            let doubts: Vec<_> = doubts.collect();
            seen = match self.collection().reads_by_id() {
                true => self.look_again(doubts, hidden_is_gone).await?,
                false => self.believed(reached, doubts)?,
            };
            if seen.is_empty() {
                return Ok(changed);
            }
            if round > 0 {
                // Changed between the doubt and the read: give it a moment.
                self.context
                    .pause(Duration::from_millis(100 << round))
                    .await?;
            }
        }
        Err(Failure::Unsettled { count: seen.len() })
    }

    /// Reads records by id, a few at once, and stores them. Answers how many records changed. One that
    /// the provider refuses to read is noted, and holds nothing up.
    pub(super) async fn refetch(
        &self,
        ids: impl IntoIterator<Item = String>,
        priority: Priority,
    ) -> Result<usize, Failure> {
        let (seen, refused) = self.look_each(ids, priority).await?;
        self.note_refused(refused).await?;
        self.store(seen, Vec::new()).await
    }

    /// Reads what a list does not show, and that list alone would have to. Answers how many records changed.
    pub(super) async fn look_for_missing(
        &self,
        ids: impl IntoIterator<Item = String>,
        priority: Priority,
    ) -> Result<usize, Failure> {
        let mut looked = self.look_for(reads(ids), priority).await?;
        looked.hidden_is_gone();
        self.note_refused(looked.refused).await?;
        self.store_gone(looked.seen).await
    }

    /// Stores what is gone. Of what is in doubt it is taken for gone, too, that it is hidden.
    pub(super) async fn store_gone(&self, gone: Vec<Observation>) -> Result<usize, Failure> {
        self.settle(0, gone, true, Vec::new()).await
    }

    /// Reads records by ids that a user gave or a late event names, and answers which of them the
    /// provider refuses to read.
    pub(super) async fn read_wanted(&self, ids: Vec<String>) -> Result<Vec<String>, Failure> {
        let (seen, refused) = self.look_each(ids, Priority::Refetch).await?;
        self.store_known(seen).await?;
        Ok(refused)
    }

    /// Stores what was read by id. A record that neither the provider nor the stream knows leaves no
    /// trace.
    pub(super) async fn store_known(&self, seen: Vec<Observation>) -> Result<(), Failure> {
        let mut known = Vec::new();
        for seen in seen {
            if seen.content != Content::Gone || self.is_held(&seen.upstream_id).await? {
                known.push(seen);
            }
        }
        self.store(known, Vec::new()).await.map(drop)
    }

    /// That one is gone which never changes says nothing: the provider may show it for a while only.
    async fn read_by_id(&self, id: &str, priority: Priority) -> Result<Option<Found>, Failure> {
        let read = self.read_one(id, priority).await?;
        Ok(read.filter(|read| read.row.is_some() || !self.collection().immutable))
    }

    /// What was found, and the ids that the provider refuses to read.
    pub(super) async fn look_each(
        &self,
        ids: impl IntoIterator<Item = String>,
        priority: Priority,
    ) -> Result<(Vec<Observation>, Vec<String>), Failure> {
        let looked = self.look_for(reads(ids), priority).await?;
        Ok(looked.or_refused())
    }

    /// Reads records by id, a few at once.
    pub(super) async fn look_for(
        &self,
        reads: impl IntoIterator<Item = (String, Origin)>,
        priority: Priority,
    ) -> Result<Looked, Failure> {
        let reads = reads.into_iter().map(|(id, origin)| async move {
            let read = self.read_by_id(&id, priority).await;
            Ok::<_, Failure>((id, origin, read))
        });
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(AT_ONCE));
        let mut looked = Looked::default();
        while let Some((id, origin, read)) = reads.try_next().await? {
            match read {
                Ok(read) => looked
                    .seen
                    .extend(read.map(|read| found(&id, read, origin))),
                Err(failure) => match failure.hidden_at() {
                    Some(at) => looked.hidden.push((id, at)),
                    None if failure.is_of_this_record() => looked.refused.push(id),
                    None => return Err(failure),
                },
            }
        }
        Ok(looked)
    }

    /// Reads what is in doubt. What the provider refuses to read is noted: what was in doubt is nowhere
    /// else.
    async fn look_again(
        &self,
        doubts: Vec<(Observation, Mark)>,
        hidden_is_gone: bool,
    ) -> Result<Vec<Observation>, Failure> {
        let reads = doubts
            .into_iter()
            .map(|(shown, mark)| (shown.upstream_id, Origin::Recheck(mark)));
        let mut looked = self.look_for(reads, Priority::Refetch).await?;
        if hidden_is_gone {
            looked.hidden_is_gone();
        }
        let (seen, refused) = looked.or_refused();
        self.note_refused(refused).await?;
        Ok(seen)
    }

    /// The newest index of the stream. What it holds up to there was seen before anything that is asked
    /// for from now on.
    pub(super) async fn reached(&self) -> Result<u64, Failure> {
        let store = &self.context.parts.store;
        Ok(store.last_idx(self.context.sync.stream_id).await?)
    }

    /// What is in doubt and cannot be read by id, as it was listed when the stream had come to this
    /// index: where it may be older than what the stream holds it has to be listed once more. It is not
    /// where that was stored before, and the versions say nothing or it is of the future, by a clock that
    /// was wrong.
    fn believed(
        &self,
        reached: u64,
        doubts: Vec<(Observation, Mark)>,
    ) -> Result<Vec<Observation>, Failure> {
        let now = self.context.provider_now();
        let may_be_older =
            |(shown, mark): &&(Observation, Mark)| match (shown.version, mark.version) {
                _ if mark.idx > reached => true,
                (Version::Seen(_), Version::Seen(known)) => known.since(now) <= FUTURE,
                _ => false,
            };
        let count = doubts.iter().filter(may_be_older).count();
        if count > 0 {
            return Err(Failure::Unsettled { count });
        }
        let believed = doubts.into_iter().map(|(shown, mark)| Observation {
            origin: Origin::Recheck(mark),
            ..shown
        });
        Ok(believed.collect())
    }

    /// What the sync's greatest age admits. That something is gone which the stream does not hold may
    /// be of something too old.
    async fn admitted(&self, seen: Vec<Observation>) -> Result<Vec<Observation>, Failure> {
        let Some(cutoff) = self.context.cutoff() else {
            return Ok(seen);
        };
        let mut admitted = Vec::with_capacity(seen.len());
        for seen in seen {
            let is_admitted = match seen.content {
                Content::Present { .. } => seen.created_at.is_none_or(|created| created >= cutoff),
                Content::Gone => self.is_held(&seen.upstream_id).await?,
            };
            if is_admitted {
                admitted.push(seen);
            }
        }
        Ok(admitted)
    }

    /// Whether the stream has an entry of this record.
    pub(super) async fn is_held(&self, upstream_id: &str) -> Result<bool, Failure> {
        Ok(self.held_data(upstream_id).await?.is_some())
    }

    /// What the stream has of this record.
    pub(super) async fn held_data(&self, upstream_id: &str) -> Result<Option<Bytes>, Failure> {
        let record = RecordId::of(self.context.id, &self.id, upstream_id);
        let store = &self.context.parts.store;
        let held = store.record(self.context.sync.stream_id, record).await?;
        Ok(held.map(|row| row.data))
    }
}

fn reads(ids: impl IntoIterator<Item = String>) -> impl Iterator<Item = (String, Origin)> {
    ids.into_iter().map(|id| (id, Origin::Read))
}

fn is_change(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Appended { .. })
}
