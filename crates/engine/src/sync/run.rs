//! A reading of a collection from beginning to end, one page after the other.
//!
//! While a page is stored, the next one is fetched. The state is stored with the page: after a crash
//! the reading goes on where it was, at the cost of the page in flight and of the one before it, whose
//! doubts may not have been settled.

use headrace_model::provider::PageCursor;
use headrace_model::quota::Priority;
use headrace_store::CursorWrite;

use super::context::Watched;
use super::failure::Failure;
use super::pages::Fetched;
use super::state::{Aim, CollectionState, Finished, Place, Run};

/// How far a reading got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// To the end.
    Complete,
    /// The caller wanted to be asked between two pages.
    Interrupted,
}

impl Run {
    pub(super) fn new(watched: &Watched, aim: Aim) -> Self {
        Self {
            aim,
            version: watched.context.definition().version.clone(),
            started_at: watched.context.now(),
            records: 0,
            at: None,
            unsettled: None,
        }
    }

    fn priority(&self) -> Priority {
        match self.aim {
            Aim::Relist(_) => Priority::Changes,
            Aim::Initial | Aim::All | Aim::Since(_) | Aim::Gap | Aim::Version => Priority::Backfill,
        }
    }
}

impl Watched {
    /// Goes on with the reading of `state`, if there is one, until it is complete or `interrupted`
    /// says so between two pages.
    pub(super) async fn read_on(
        &self,
        state: &mut CollectionState,
        interrupted: impl Fn() -> bool,
    ) -> Result<Progress, Failure> {
        self.settle_again(state).await?;
        let mut ahead: Option<Fetched> = None;
        while let Some(run) = &state.run {
            if self.context.stop.is_cancelled() || interrupted() {
                return Ok(Progress::Interrupted);
            }
            let from = run.aim.from().max(self.context.cutoff());
            let priority = run.priority();
            let fetched = match ahead.take() {
                Some(fetched) => fetched,
                None => self.fetch(from, run.at.as_ref(), priority).await?,
            };
            let after = self.advanced(state, &fetched);
            let next = fetched.next.clone();
            let following = async {
                match &next {
                    Some(at) => self.fetch(from, Some(at), priority).await.map(Some),
                    None => Ok(None),
                }
            };
            let storing = async {
                let seen = self.observe(fetched.rows, priority).await?;
                self.store(seen, vec![self.document(&after)?]).await
            };
            let (stored, following) = tokio::join!(storing, following);
            stored?;
            *state = after;
            if let Some(run) = &mut state.run {
                // Its doubts are settled. The stored state learns of it with the next page.
                run.unsettled = None;
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
        let (from, priority) = (run.aim.from().max(self.context.cutoff()), run.priority());
        let fetched = self.fetch(from, at.as_ref(), priority).await?;
        let seen = self.observe(fetched.rows, priority).await?;
        self.store(seen, Vec::new()).await?;
        run.unsettled = None;
        Ok(())
    }

    /// The state after this step.
    fn advanced(&self, state: &CollectionState, fetched: &Fetched) -> CollectionState {
        let mut after = state.clone();
        let Some(mut run) = after.run.take() else {
            return after;
        };
        run.records += fetched.rows.len() as u64;
        if let Some(next) = &fetched.next {
            let at = run.at.replace(next.clone());
            run.unsettled = Some(Place { at });
            after.run = Some(run);
            return after;
        }
        let completed_at = self.context.now();
        match run.aim {
            Aim::Relist(_) => after.relisted_at = Some(completed_at),
            Aim::Initial | Aim::All | Aim::Since(_) | Aim::Gap | Aim::Version => {
                after.last = Some(Finished {
                    started_at: run.started_at,
                    completed_at,
                    records: run.records,
                });
            }
        }
        if run.aim.is_complete() {
            after.version = run.version;
            after.first_completed_at.get_or_insert(completed_at);
        }
        after.run = after.queued.take().map(|aim| Run::new(self, aim));
        after
    }

    /// The stored form of a state.
    pub(super) fn document(&self, state: &CollectionState) -> Result<CursorWrite, Failure> {
        Ok(CursorWrite {
            collection: self.id.clone(),
            body: serde_json::to_vec(state)?,
        })
    }

    /// Tells the state.
    pub(super) fn publish(&self, state: &CollectionState) {
        self.context
            .board
            .set(&self.id, |live| live.state = state.clone());
    }
}

/// A place in a list, in words for people.
pub(super) fn words(at: &PageCursor) -> String {
    match at {
        PageCursor::After { id, .. } => format!("after {id}"),
        PageCursor::At { created } => format!("created {created}"),
        PageCursor::Token { token } => format!("page {token}"),
    }
}
