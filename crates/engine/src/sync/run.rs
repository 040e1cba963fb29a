//! A reading of a collection from beginning to end, one page after the other.
//!
//! While a page is stored, the next one is fetched. The state is stored with the page: after a crash
//! the reading goes on where it was, at the cost of the page in flight and of the one before it, whose
//! doubts may not have been settled. A reading of everything ends with a sweep ([`super::sweep`]), any
//! other when the doubts of its last page are settled: until then that page is the one to be read.

use headrace_model::provider::PageCursor;
use headrace_model::quota::Priority;
use headrace_store::CursorWrite;

use super::context::Watched;
use super::failure::Failure;
use super::pages::{Bounds, Fetched, Trail};
use super::state::{Aim, CollectionState, Extent, Finished, Place, Run, Unseen};

/// A list with numbered pages in which something changed is read again at most so often.
const REPEATED: u32 = 3;

/// How far a reading got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// To the end.
    Complete,
    /// The caller wanted to be asked between two pages.
    Interrupted,
}

impl Run {
    fn new(watched: &Watched, aim: Aim) -> Self {
        let context = &watched.context;
        Self {
            aim,
            version: context.definition().version.clone(),
            started_at: context.now(),
            asked_at: None,
            records: 0,
            changed: 0,
            turned: false,
            parents: 0,
            unseen: Unseen::default(),
            at: None,
            unsettled: None,
            sweep: None,
            max_age_days: context.sync.max_age_days,
            extent: Extent::default(),
        }
    }

    fn priority(&self) -> Priority {
        match self.aim.is_routine() {
            true => Priority::Changes,
            false => Priority::Backfill,
        }
    }

    /// What is read of the lists.
    fn bounds(&self, watched: &Watched) -> Bounds {
        Bounds {
            created: self.aim.from().max(watched.context.cutoff()),
            changed: self.aim.changed_from(),
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.sweep.is_some_and(|sweep| sweep.listed)
    }
}

impl Watched {
    /// A reading that begins now. It is to be stored together with [`Watched::forgotten_notes`].
    pub(super) async fn begin(&self, aim: Aim) -> Result<Run, Failure> {
        let mut run = Run::new(self, aim);
        if run.aim.is_complete() {
            let held = self.held().await?;
            run.extent.held = Some(held.live).filter(|live| *live > 0);
            run.sweep = self.sweeps().then(|| held.sweep()).flatten();
        }
        Ok(run)
    }

    /// Goes on with the reading of `state`, if there is one, until it is complete or `interrupted`
    /// says so between two pages.
    pub(super) async fn read_on(
        &self,
        state: &mut CollectionState,
        interrupted: impl Fn() -> bool,
    ) -> Result<Progress, Failure> {
        self.settle_again(state).await?;
        let mut ahead: Option<Fetched> = None;
        let mut trail = Trail::default();
        while let Some(run) = &mut state.run {
            if self.context.stop.is_cancelled() || interrupted() {
                return Ok(Progress::Interrupted);
            }
            if run.is_listed() {
                self.sweep(state, &interrupted).await?;
                continue;
            }
            self.measure(run).await?;
            let from = run.bounds(self);
            let priority = run.priority();
            if run.at.is_none() {
                trail = Trail::default();
            }
            let fetched = match ahead.take() {
                Some(fetched) => fetched,
                None => {
                    let at = run.at.as_ref();
                    self.fetch(from, at, priority, &mut trail).await?
                }
            };
            let is_last = fetched.next.is_none() && run.sweep.is_none();
            let (mut after, listed) = self.advanced(state, &fetched);
            let next = fetched.next.clone();
            let following = async {
                match &next {
                    Some(at) => {
                        let fetched = self.fetch(from, Some(at), priority, &mut trail).await;
                        fetched.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let storing = async {
                let (reached, rows) = (fetched.reached, fetched.rows);
                let seen = self.observe(rows, priority).await?;
                if is_last {
                    let changed = self.store_listed(reached, seen, Vec::new()).await?;
                    if let Some(mut run) = after.run.take() {
                        run.changed += changed as u64;
                        self.finish(&mut after, run);
                    }
                    self.context.write(self.document(&after)?).await?;
                    return Ok((after, 0));
                }
                let document = self.document(&after)?;
                let cursors = std::iter::once(document).chain(listed).collect();
                let changed = self.store_listed(reached, seen, cursors).await?;
                Ok::<_, Failure>((after, changed))
            };
            let (stored, following) = tokio::join!(storing, following);
            let (after, changed) = stored?;
            *state = after;
            if let Some(run) = &mut state.run {
                // Its doubts are settled. The stored state learns of it with the next page.
                run.unsettled = None;
                run.changed += changed as u64;
            }
            self.publish(state);
            self.context.board.set(&self.id, |live| live.trouble = None);
            ahead = following?;
        }
        Ok(Progress::Complete)
    }

    /// Stores that the page that was stored last has no doubts left: nothing need be read again when
    /// this reading goes on.
    pub(super) async fn confirm(&self, state: &CollectionState) -> Result<(), Failure> {
        match &state.run {
            Some(run) if run.at.is_some() => self.context.write(self.document(state)?).await,
            _ => Ok(()),
        }
    }

    /// Reads the page once more whose doubts may not have been settled before a crash.
    async fn settle_again(&self, state: &mut CollectionState) -> Result<(), Failure> {
        let Some(run) = &mut state.run else {
            return Ok(());
        };
        let Some(Place { at }) = run.unsettled.clone() else {
            return Ok(());
        };
        let (from, priority) = (run.bounds(self), run.priority());
        let mut trail = Trail::default();
        let at = at.as_ref();
        let fetched = self.fetch(from, at, priority, &mut trail).await?;
        let seen = self.observe(fetched.rows, priority).await?;
        let changed = self.store_listed(fetched.reached, seen, Vec::new()).await?;
        run.changed += changed as u64;
        run.unsettled = None;
        Ok(())
    }

    /// The state after this step, and the note of the ids that it listed.
    fn advanced(
        &self,
        state: &CollectionState,
        fetched: &Fetched,
    ) -> (CollectionState, Option<CursorWrite>) {
        let mut after = state.clone();
        let Some(mut run) = after.run.take() else {
            return (after, None);
        };
        run.records += fetched.rows.len() as u64;
        run.turned |= fetched.turned;
        for parent in &fetched.whole {
            run.parents = run.parents.wrapping_add(self.mark(parent));
        }
        for unseen in &fetched.unseen {
            run.unseen.add(unseen);
        }
        run.extent.newest = run.extent.newest.or(fetched.newest);
        let at = run.at.take();
        if at.is_none() {
            run.asked_at = Some(fetched.asked_at);
        }
        let listed = run.sweep.as_mut().and_then(|sweep| {
            sweep.listed = fetched.next.is_none();
            let note = self.note_of_listed(sweep.listed_notes, fetched);
            // An empty one would not be kept.
            sweep.listed_notes += u32::from(!note.body.is_empty());
            (!note.body.is_empty()).then_some(note)
        });
        if fetched.next.is_some() || run.is_listed() {
            run.at = fetched.next.clone();
            run.unsettled = Some(Place { at });
        }
        after.run = Some(run);
        (after, listed)
    }

    /// The state after a reading that was completed.
    pub(super) fn finish(&self, state: &mut CollectionState, run: Run) {
        let completed_at = self.context.now();
        let is_complete = run.aim.is_complete();
        if is_complete {
            state.version.clone_from(&run.version);
            state.first_completed_at.get_or_insert(completed_at);
            state.max_age_days = run.max_age_days;
            state.doubtful = None;
            // What was deleted meanwhile was found, or somebody asked for no more than this.
            if self.sweeps() || run.aim == Aim::All {
                state.gap = None;
            }
        }
        // By either clock, as one that is ahead would pass over what was not listed.
        let covered = run.asked_at.unwrap_or(run.started_at).min(run.started_at);
        if is_complete || matches!(run.aim, Aim::Relist(_)) {
            state.relisted_at = Some(completed_at);
            state.covered_at = Some(covered);
        }
        if is_complete {
            state.followed_to.get_or_insert(covered);
        }
        if state.repeated < REPEATED && self.may_have_passed_over(&run) {
            state.repeated += 1;
            state.queued = Some(also(state.queued.take(), run.aim.again()));
        } else {
            state.repeated = 0;
            if matches!(run.aim, Aim::Follow(_)) {
                state.followed_at = Some(completed_at);
                state.followed_to = Some(covered);
            }
        }
        if is_complete {
            state.parents = Some(run.parents);
        } else if matches!(run.aim, Aim::Follow(_))
            && state.parents.is_some_and(|known| known != run.parents)
        {
            // What changed is not all that there is of those that were not listed before.
            state.queued = Some(also(state.queued.take(), Aim::Relist(None)));
        }
        state.unseen = Some(run.unseen).filter(|unseen| unseen.lists > 0);
        if !run.aim.is_routine() {
            state.last = Some(Finished {
                started_at: run.started_at,
                completed_at,
                records: run.records,
            });
        }
        state.run = None;
    }

    /// Whether a record may be on none of the pages that were read: what is removed from one shifts those
    /// that follow. Of what was not known when everything was read, nothing tells that.
    fn may_have_passed_over(&self, run: &Run) -> bool {
        let collection = self.collection();
        let shifts = run.turned && collection.has_numbered_pages() && !collection.immutable;
        let removed = match (run.aim.is_complete(), &run.sweep) {
            (true, Some(sweep)) => sweep.gone > 0,
            (true, None) => run.aim == Aim::Initial,
            (false, _) => run.changed > 0,
        };
        shifts && removed
    }

    /// The stored form of a state.
    pub(super) fn document(&self, state: &CollectionState) -> Result<CursorWrite, Failure> {
        Ok(CursorWrite {
            collection: self.id.clone(),
            body: serde_json::to_vec(state)?,
        })
    }

    /// The state as it is stored.
    pub(super) async fn stored_state(&self) -> Result<CollectionState, Failure> {
        let store = &self.context.parts.store;
        let documents = store.cursors(self.context.id).await?.into_iter();
        let mut mine = documents.filter(|(name, _)| **name == *self.id);
        match mine.next() {
            Some((_, body)) => Ok(serde_json::from_slice(&body)?),
            None => Ok(CollectionState::default()),
        }
    }

    /// Tells the state.
    pub(super) fn publish(&self, state: &CollectionState) {
        self.context
            .board
            .set(&self.id, |live| live.state = state.clone());
    }
}

/// What is to be read for both.
fn also(queued: Option<Aim>, aim: Aim) -> Aim {
    match queued {
        Some(queued) if queued.is_complete() || !aim.is_complete() => queued,
        _ => aim,
    }
}

/// The lesser of two greatest ages; `None` is any age.
pub(super) fn narrower(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A place in a list, in words for people.
pub(super) fn words(at: &PageCursor) -> String {
    match at {
        PageCursor::After { id, .. } => format!("after {id}"),
        PageCursor::At { created } => format!("created {created}"),
        PageCursor::Token { token } => format!("page {token}"),
        PageCursor::Link { query } => format!("page {query}"),
        PageCursor::List { number, at } => {
            let at = at.as_deref().map_or("its beginning".to_owned(), words);
            format!("list {}, {at}", number + 1)
        }
        PageCursor::Below { rest, .. } => {
            let parents = rest.iter().map(|within| within.parent.as_str());
            format!("below {}", parents.collect::<Vec<_>>().join(", "))
        }
    }
}
