//! The sweep: what the stream holds of a collection and a complete listing did not show.
//!
//! A reading of everything notes the ids it lists, in documents that are stored with its pages. When
//! all is listed, the records that the stream held at its beginning and that are not among them are
//! read by id. Only the provider's own word that one is gone makes a tombstone: a list that leaves
//! something out is never taken for a delete. And where more are gone than is likely, as with the key
//! of another account, none is deleted until somebody says that it is true.

use std::collections::HashSet;

use headrace_model::provider::Row;
use headrace_model::quota::Priority;
use headrace_model::record::{Content, Observation};
use headrace_model::{RecordId, Timestamp};
use headrace_store::{CursorWrite, Range, Selection};

use super::context::Watched;
use super::failure::Failure;
use super::state::{CollectionState, Doubtful, Sweep, seen_document, seen_of};

/// Entries that are looked at in one step.
const STEP: usize = 500;
const STEP_BYTES: usize = 8 << 20;
/// Bytes that are kept of an id. Two that share them would only hide a delete.
const KEPT: usize = 8;
/// So many may be gone at once, and this part of what the stream holds, before it is doubted.
const LIKELY: u64 = 5;
const LIKELY_PART: u64 = 5;

/// What the stream holds of a collection.
pub(super) struct Held {
    /// Records that are not deleted.
    pub(super) live: u64,
    /// The newest index.
    upto: u64,
}

impl Held {
    /// The sweep of a reading that begins now; `None` when there is nothing to look for.
    pub(super) fn sweep(&self) -> Option<Sweep> {
        (self.live > 0).then_some(Sweep {
            upto: self.upto,
            documents: 0,
            listed: false,
            confirmed: false,
        })
    }
}

/// What was found of the records that were not listed.
enum Rest {
    /// Those that are gone are tombstones now.
    Settled,
    /// Too many are gone; nothing was deleted.
    Doubtful(Doubtful),
}

impl Watched {
    /// Whether deletes can be found by a complete listing. Records that never change are not asked
    /// for again: the provider may show them for a while only, as Stripe does its events.
    pub(super) fn sweeps(&self) -> bool {
        let collection = self.collection();
        collection.reads_by_id() && !collection.immutable
    }

    /// What the stream holds of the collection now.
    pub(super) async fn held(&self) -> Result<Held, Failure> {
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        let upto = store.last_idx(stream).await?;
        let stats = store.stats(stream).await?;
        let mine = stats
            .lanes
            .iter()
            .find(|stats| stats.lane.sync == self.context.id && *stats.lane.collection == *self.id);
        let live = mine.map_or(0, |stats| stats.live);
        Ok(Held { live, upto })
    }

    /// The document with the ids of a page.
    pub(super) fn seen_ids<'a>(
        &self,
        number: u32,
        ids: impl Iterator<Item = &'a str>,
    ) -> CursorWrite {
        let record = |id| RecordId::of(self.context.id, &self.id, id);
        let mut body: Vec<u8> = ids.flat_map(|id| kept(record(id))).collect();
        if body.is_empty() {
            // An empty document would not be written.
            body.push(0);
        }
        CursorWrite {
            collection: seen_document(&self.id, number).into(),
            body,
        }
    }

    /// Looks for what was not listed, and completes the reading.
    pub(super) async fn sweep(&self, state: &mut CollectionState) -> Result<(), Failure> {
        let Some((run, sweep)) = state
            .run
            .clone()
            .and_then(|run| Some((run.clone(), run.sweep?)))
        else {
            return Ok(());
        };
        let (names, seen) = self.listed(sweep.documents).await?;
        let held = run.extent.held.unwrap_or_default();
        let rest = self.ask_for_the_rest(sweep, held, &seen).await?;
        let mut after = state.clone();
        let gap = after.gap;
        self.finish(&mut after, run);
        after.doubtful = match rest {
            Rest::Settled => None,
            Rest::Doubtful(doubtful) => {
                after.gap = gap;
                Some(doubtful)
            }
        };
        let removed = names.into_iter().map(|name| CursorWrite {
            collection: name.into(),
            body: Vec::new(),
        });
        let mut cursors = vec![self.document(&after)?];
        cursors.extend(removed);
        self.store(Vec::new(), cursors).await?;
        *state = after;
        self.publish(state);
        Ok(())
    }

    /// The names of all documents with listed ids, and the ids in the first so many of them.
    async fn listed(&self, documents: u32) -> Result<(Vec<String>, HashSet<[u8; KEPT]>), Failure> {
        let (mut names, mut seen) = (Vec::new(), HashSet::new());
        for (name, body) in self.context.parts.store.cursors(self.context.id).await? {
            match seen_of(&name) {
                Some((collection, number)) if *collection == *self.id => {
                    if number < documents {
                        seen.extend(body.as_chunks::<KEPT>().0.iter().copied());
                    }
                    names.push(name);
                }
                _ => {}
            }
        }
        Ok((names, seen))
    }

    async fn ask_for_the_rest(
        &self,
        sweep: Sweep,
        held: u64,
        seen: &HashSet<[u8; KEPT]>,
    ) -> Result<Rest, Failure> {
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        let lanes = store.lanes(stream).await?;
        let lane = lanes
            .iter()
            .find(|lane| lane.sync == self.context.id && *lane.collection == *self.id);
        let Some(lane) = lane else {
            return Ok(Rest::Settled);
        };
        let selection = Selection {
            lanes: Some([lane.no].into()),
            deleted: Some(false),
        };
        let cutoff = self.context.cutoff();
        let likely = LIKELY.max(held / LIKELY_PART);
        let mut gone: Vec<Observation> = Vec::new();
        let mut range = Range {
            after: 0,
            limit: STEP,
            max_bytes: STEP_BYTES,
            newest_first: false,
        };
        loop {
            if self.context.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            let page = store.read(stream, &selection, range).await?;
            let missing = page.rows.iter().filter(|row| {
                let is_old = is_before(row.upstream_created_at, cutoff);
                row.idx <= sweep.upto && !is_old && !seen.contains(&kept(row.record))
            });
            let missing: Vec<String> = missing.map(|row| row.upstream_id.clone()).collect();
            let (looked, _) = self.look_each(missing, Priority::Sweep).await?;
            let (missing, present) = looked
                .into_iter()
                .partition(|seen| seen.content == Content::Gone);
            self.store(present, Vec::new()).await?;
            gone.extend::<Vec<_>>(missing);
            if gone.len() as u64 > likely && !sweep.confirmed {
                let gone = gone.len() as u64;
                return Ok(Rest::Doubtful(Doubtful { gone, held }));
            }
            if sweep.confirmed {
                self.store(std::mem::take(&mut gone), Vec::new()).await?;
            }
            match page.rows.last() {
                Some(last) if page.more && last.idx < sweep.upto => range.after = last.idx,
                _ => break,
            }
        }
        while !gone.is_empty() {
            let rest = gone.split_off(gone.len().min(STEP));
            self.store(std::mem::replace(&mut gone, rest), Vec::new())
                .await?;
        }
        Ok(Rest::Settled)
    }

    /// Asks for the children that the stream has of a parent and that are not among these, which are
    /// all that the provider lists. Answers how many were gone.
    pub(super) async fn check_up_on_children(
        &self,
        parent: &str,
        listed: &[(Row, Timestamp)],
        priority: Priority,
    ) -> Result<usize, Failure> {
        if !self.sweeps() {
            return Ok(0);
        }
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        let known = store
            .children(stream, self.context.id, &self.id, parent)
            .await?;
        let listed: HashSet<&str> = listed
            .iter()
            .map(|(row, _)| row.upstream_id.as_str())
            .collect();
        let missing = known.into_iter().filter(|id| !listed.contains(id.as_str()));
        self.check_up_on(missing.collect(), priority).await
    }
}

fn kept(record: RecordId) -> [u8; KEPT] {
    let bytes = record.to_bytes();
    std::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
}

fn is_before(time: Option<Timestamp>, cutoff: Option<Timestamp>) -> bool {
    time.zip(cutoff).is_some_and(|(time, cutoff)| time < cutoff)
}
