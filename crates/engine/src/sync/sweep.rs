//! The sweep: what the stream holds of a collection and a complete listing did not show.
//!
//! A reading of everything notes the ids it lists, beside its pages. When all is listed, the records
//! that the stream held at its beginning and that are not among them are read by id. Only the
//! provider's own word that one is gone makes a tombstone: a list that leaves something out is never
//! taken for a delete. And where more are gone than is likely, as with the key of another account,
//! none is deleted until somebody says that it is true. What was found is noted as it goes: a crash
//! costs the step in flight.

use std::collections::HashSet;

use headrace_model::quota::Priority;
use headrace_model::record::{Content, Observation, Origin};
use headrace_model::{LaneNo, RecordId, Timestamp};
use headrace_store::{Range, Selection};

use super::context::Watched;
use super::failure::Failure;
use super::notes::{self, KEPT, Note};
use super::settle::{self, Looked};
use super::state::{CollectionState, Doubtful, Run, Sweep};

/// Entries that are looked at in one step, and those that are read by id.
const STEP: usize = 500;
const READS: usize = 50;
const STEP_BYTES: usize = 8 << 20;
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
        let upto = self.upto;
        (self.live > 0).then(|| Sweep {
            upto,
            ..Sweep::default()
        })
    }
}

/// A part of the log that was looked through.
struct Step {
    /// What was not listed.
    missing: Vec<String>,
    /// Up to which index.
    after: u64,
    /// Whether that was all.
    is_last: bool,
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

    /// Looks for what was not listed, and completes the reading; or stops in between when
    /// `interrupted` says so.
    pub(super) async fn sweep(
        &self,
        state: &mut CollectionState,
        interrupted: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        let Some((run, mut sweep)) = state.run.clone().and_then(with_sweep) else {
            return Ok(());
        };
        let seen = self.seen(sweep.listed_notes).await?;
        let held = run.extent.held.unwrap_or_default();
        let likely = LIKELY.max(held / LIKELY_PART);
        let is_doubtful = |sweep: &Sweep| sweep.gone > likely && !sweep.confirmed;
        while let Some(lane) = self.lane().await?.filter(|_| !is_doubtful(&sweep)) {
            if self.context.stop.is_cancelled() || interrupted() {
                return Ok(());
            }
            let step = self.not_listed(lane, &sweep, &seen).await?;
            sweep.after = step.after;
            if !step.missing.is_empty() {
                let looked = self.look_for_each(step.missing, &seen).await?;
                let (looked, refused) = looked.or_refused();
                self.note_refused(refused).await?;
                let (gone, present): (Vec<_>, Vec<_>) = looked
                    .into_iter()
                    .partition(|seen| seen.content == Content::Gone);
                self.note_step(state, &mut sweep, gone, present).await?;
            }
            if step.is_last {
                break;
            }
        }
        if is_doubtful(&sweep) {
            let gone = sweep.gone;
            return self.end(state, run, Some(Doubtful { gone, held })).await;
        }
        for number in 0..sweep.gone_notes {
            let gone = self.gone(number).await?;
            self.store_gone(gone).await?;
        }
        self.end(state, run, None).await
    }

    /// Reads what was not listed. What is hidden is gone where the list of its parent was seen without it.
    async fn look_for_each(
        &self,
        missing: Vec<String>,
        seen: &HashSet<[u8; KEPT]>,
    ) -> Result<Looked, Failure> {
        let reads = missing.into_iter().map(|id| (id, Origin::Read));
        let mut looked = self.look_for(reads, Priority::Sweep).await?;
        for (id, at) in std::mem::take(&mut looked.hidden) {
            let is_gone = match self.known_parent(&id).await? {
                None => false,
                Some(parent) => {
                    let mark = notes::kept(self.parent_record(&parent));
                    seen.contains(&mark) || self.tells(parent).await?
                }
            };
            match is_gone {
                true => looked.seen.push(settle::gone_read(id, at)),
                false => looked.hidden.push((id, at)),
            }
        }
        Ok(looked)
    }

    /// Whether what belongs to this record is gone when it is hidden: who may see the record may see all that
    /// belongs to it, and what is gone takes it along. Of a record that is hidden as well, the one tells that
    /// it belongs to.
    async fn tells(&self, id: String) -> Result<bool, Failure> {
        let definition = self.context.definition();
        let (mut of, mut id) = (self.clone(), id);
        while let Some(to) = &of.collection().belongs_to
            && let Some(to) = definition.collection(&to.collection)
            && let Some(to) = Self::new(&self.context, &to.id)
        {
            match to.read_one(&id, Priority::Sweep).await {
                Ok(read) => return Ok(read.is_some()),
                Err(failure) if failure.hidden_at().is_some() => {}
                Err(failure) if failure.is_of_what_was_asked() => return Ok(false),
                Err(failure) => return Err(failure),
            }
            match to.known_parent(&id).await? {
                Some(parent) => id = parent,
                None => return Ok(false),
            }
            of = to;
        }
        Ok(false)
    }

    /// The parent of a record, as the stream has it.
    async fn known_parent(&self, id: &str) -> Result<Option<String>, Failure> {
        let record = RecordId::of(self.context.id, &self.id, id);
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        Ok(store.parent(stream, record).await?)
    }

    /// Stores what a step found, and how far it came.
    async fn note_step(
        &self,
        state: &mut CollectionState,
        sweep: &mut Sweep,
        gone: Vec<Observation>,
        present: Vec<Observation>,
    ) -> Result<(), Failure> {
        let note = notes::of_gone(&gone)?.map(|body| {
            let note = self.note(Note::Gone, sweep.gone_notes, body);
            sweep.gone_notes += 1;
            sweep.gone += gone.len() as u64;
            note
        });
        let mut after = state.clone();
        if let Some(run) = &mut after.run {
            run.sweep = Some(*sweep);
        }
        let mut cursors = vec![self.document(&after)?];
        cursors.extend(note);
        // The step is done when the doubts about it are settled.
        self.store(present, Vec::new()).await?;
        self.store(Vec::new(), cursors).await?;
        *state = after;
        Ok(())
    }

    async fn end(
        &self,
        state: &mut CollectionState,
        run: Run,
        doubtful: Option<Doubtful>,
    ) -> Result<(), Failure> {
        let mut after = state.clone();
        self.finish(&mut after, run);
        if doubtful.is_some() {
            after.gap = state.gap;
            after.queued.clone_from(&state.queued);
        }
        after.doubtful = doubtful;
        let mut cursors = vec![self.document(&after)?];
        cursors.extend(self.forgotten_notes());
        self.store(Vec::new(), cursors).await?;
        *state = after;
        self.publish(state);
        Ok(())
    }

    async fn lane(&self) -> Result<Option<LaneNo>, Failure> {
        let lanes = self.context.parts.store.lanes(self.context.sync.stream_id);
        let lanes = lanes.await?;
        let mine = lanes
            .iter()
            .find(|lane| lane.sync == self.context.id && *lane.collection == *self.id);
        Ok(mine.map(|lane| lane.no))
    }

    /// The next records that the stream held and that were not listed.
    async fn not_listed(
        &self,
        lane: LaneNo,
        sweep: &Sweep,
        seen: &HashSet<[u8; KEPT]>,
    ) -> Result<Step, Failure> {
        let selection = Selection {
            lanes: Some([lane].into()),
            deleted: Some(false),
        };
        let range = Range {
            after: sweep.after,
            limit: STEP,
            max_bytes: STEP_BYTES,
            newest_first: false,
        };
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        let page = store.read(stream, &selection, range).await?;
        let cutoff = self.context.cutoff();
        let mut step = Step {
            missing: Vec::new(),
            after: sweep.after,
            is_last: !page.more,
        };
        for row in page.rows {
            if row.idx > sweep.upto {
                step.is_last = true;
                break;
            }
            if step.missing.len() == READS {
                step.is_last = false;
                break;
            }
            step.after = row.idx;
            let is_old = is_before(row.upstream_created_at, cutoff);
            if !is_old && !seen.contains(&notes::kept(row.record)) {
                step.missing.push(row.upstream_id);
            }
        }
        Ok(step)
    }

    /// Asks for the children that the stream has of a parent and that are not among these, which are
    /// all that the provider lists. Answers how many were gone.
    pub(super) async fn check_up_on_children(
        &self,
        parent: &str,
        listed: &HashSet<String>,
        priority: Priority,
    ) -> Result<usize, Failure> {
        if !self.sweeps() {
            return Ok(0);
        }
        let (store, stream) = (&self.context.parts.store, self.context.sync.stream_id);
        let known = store
            .children(stream, self.context.id, &self.id, parent)
            .await?;
        let missing = known.into_iter().filter(|id| !listed.contains(id));
        self.look_for_missing(missing, priority).await
    }
}

fn with_sweep(run: Run) -> Option<(Run, Sweep)> {
    let sweep = run.sweep?;
    Some((run, sweep))
}

fn is_before(time: Option<Timestamp>, cutoff: Option<Timestamp>) -> bool {
    time.zip(cutoff).is_some_and(|(time, cutoff)| time < cutoff)
}
