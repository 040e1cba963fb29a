//! The reconciler of one collection: decides what has to be read, and reads it.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::config::Frequency;
use tokio::sync::{mpsc, oneshot};

use super::board::Trouble;
use super::context::Watched;
use super::failure::{Failure, Next};
use super::feed::FeedRequest;
use super::pace::Pace;
use super::run::{Progress, narrower};
use super::state::{Aim, CollectionState, Gap, Run};
use super::{Reread, SyncError};

/// Records that are read by id in one step.
const WANTED_AT_ONCE: usize = 50;
/// How long to wait with nothing to do; whatever comes up wakes it earlier.
const IDLE: Duration = Duration::from_secs(60);

/// What a collection's reconciler can be asked for.
pub(super) enum Ask {
    /// Read again. Answered when the request is stored.
    Reread(Reread, oneshot::Sender<Result<(), SyncError>>),
    /// Changes of this time are lost: read everything. Answered when the request is stored.
    Gap(Gap, oneshot::Sender<()>),
    /// Look for changes now.
    Check,
}

/// The reconciler of one collection.
pub(super) struct Reconciler {
    pub(super) watched: Watched,
    pub(super) state: CollectionState,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// The feed that tells of its changes.
    pub(super) feed: Option<mpsc::Sender<FeedRequest>>,
    pub(super) pace: Pace,
    pub(super) check_now: bool,
    /// Whether the feed has noted its position for the collection.
    pub(super) has_position: bool,
    /// Whether what was read without a position is to be read again, or there was nothing.
    pub(super) is_renewed: bool,
    /// Whether reading what is wanted failed: the other readings go first.
    pub(super) put_off: bool,
    /// Whether the state may have been stored although the store said no.
    pub(super) is_unsure: bool,
}

impl Reconciler {
    /// Reconciles until the sync stops.
    pub(super) async fn run(mut self) {
        self.watched.publish(&self.state);
        let mut refused = Duration::ZERO;
        loop {
            let before = self.state.clone();
            let pause = match self.step().await {
                Ok(pause) => {
                    self.tell(None);
                    self.pace.succeeded();
                    pause
                }
                Err(failure) => {
                    if self.state != before {
                        // It got on before it failed.
                        self.pace.succeeded();
                    }
                    match self.failed(&failure) {
                        Some(pause) => pause,
                        // What is stored may be a page ahead of what is known here.
                        None => return,
                    }
                }
            };
            let pause = pause.max(std::mem::take(&mut refused));
            let ask = tokio::select! {
                biased;
                () = self.watched.context.stop.cancelled() => break,
                ask = self.asks.recv() => ask,
                () = tokio::time::sleep(pause) => continue,
            };
            let Some(ask) = ask else { break };
            if let Err(failure) = self.answer(ask).await {
                match self.failed(&failure) {
                    // Who asked was told, or asks again.
                    Some(pause) => refused = pause,
                    None => return,
                }
            }
        }
        if !self.is_unsure
            && let Err(failure) = self.watched.confirm(&self.state).await
        {
            // Only a page more to read at the next start.
            tracing::debug!(sync = %self.watched.context.id, "the place in a list was not stored: {failure}");
        }
    }

    /// Tells a failure. Answers how long to wait; `None` to end.
    fn failed(&mut self, failure: &Failure) -> Option<Duration> {
        let next = failure.next();
        if matches!(next, Next::Stop | Next::Yield) {
            return None;
        }
        self.is_unsure |= matches!(failure, Failure::Store(_) | Failure::NoNote { .. });
        let words = failure.words(&self.watched.collection().title);
        self.tell(Some(Trouble::new(words, next)));
        Some(self.pace.after_failure(next))
    }

    /// Does what is due. Answers how long nothing will be, if nothing comes up.
    async fn step(&mut self) -> Result<Duration, Failure> {
        self.make_sure().await?;
        self.cover().await?;
        let has_time = !self.put_off || self.state.run.is_none();
        if has_time && !self.state.wanted.is_empty() {
            self.put_off = true;
            self.read_wanted().await?;
            self.put_off = false;
            return Ok(Duration::ZERO);
        }
        if self.state.run.is_none()
            && let Some(aim) = self.due()
        {
            let run = self.watched.begin(aim).await?;
            self.begin(run, |state| state.queued = None).await?;
        }
        let Some(run) = &self.state.run else {
            return Ok(self.until_due());
        };
        let taken_up = (run.started_at, self.watched.context.now(), run.records);
        let board = &self.watched.context.board;
        board.set(&self.watched.id, |live| {
            let is_known = live
                .reading_since
                .is_some_and(|known| known.0 == taken_up.0);
            live.reading_since = live.reading_since.filter(|_| is_known).or(Some(taken_up));
        });
        let asks = &self.asks;
        let progress = self
            .watched
            .read_on(&mut self.state, || !asks.is_empty())
            .await?;
        if progress == Progress::Complete {
            self.check_now = false;
        }
        if progress == Progress::Complete && self.feed.is_none() {
            let now = self.watched.context.now();
            self.watched
                .context
                .board
                .set(&self.watched.id, |live| live.checked_at = Some(now));
        }
        Ok(Duration::ZERO)
    }

    /// Reads the state anew where what is known of it may not be what is stored.
    async fn make_sure(&mut self) -> Result<(), Failure> {
        if self.is_unsure {
            self.state = self.watched.stored_state().await?;
            self.watched.publish(&self.state);
            self.watched.tell_noted().await?;
            self.is_unsure = false;
        }
        Ok(())
    }

    /// What has to be read now.
    fn due(&self) -> Option<Aim> {
        let state = &self.state;
        if state.first_completed_at.is_none() {
            return Some(Aim::Initial);
        }
        if let Some(queued) = &state.queued {
            return Some(queued.clone());
        }
        if state.version != self.watched.context.definition().version {
            return Some(Aim::Version);
        }
        let admitted = self.watched.context.sync.max_age_days;
        if narrower(admitted, state.max_age_days) != admitted {
            return Some(Aim::Older);
        }
        let now = self.watched.context.now();
        let is_due = |at: Option<Timestamp>| at.is_none_or(|at| now >= at);
        if let Some(follow) = &self.watched.collection().follow
            && (self.check_now || is_due(self.follow_at()))
        {
            let now = self.watched.context.provider_now();
            let from = state.followed_to.unwrap_or_default().min(now);
            return Some(Aim::Follow(from - follow.overlap));
        }
        let relist = self.watched.collection().relist?;
        let is_asked_for = self.check_now && self.watched.collection().follow.is_none();
        if !is_asked_for && !is_due(self.relist_at()) {
            return None;
        }
        // Back from where the last listing began: it may have been long ago.
        let now = self.watched.context.provider_now();
        let covered = state.covered_at.map_or(now, |covered| covered.min(now));
        Some(Aim::Relist(relist.window.map(|window| covered - window)))
    }

    /// When the collection is to be listed again.
    fn relist_at(&self) -> Option<Timestamp> {
        let relist = self.watched.collection().relist?;
        Some(self.next_at(self.state.relisted_at?, relist.every))
    }

    /// When what changed is to be listed again.
    fn follow_at(&self) -> Option<Timestamp> {
        let follow = self.watched.collection().follow.as_ref()?;
        Some(self.next_at(self.state.followed_at?, follow.every))
    }

    fn next_at(&self, listed_at: Timestamp, every: Duration) -> Timestamp {
        let every = match self.watched.context.sync.sync_frequency {
            Frequency::Continuous => every,
            Frequency::Every(seconds) => every.max(Duration::from_secs(seconds)),
        };
        // A listing in the future: the clock was set back since, and nobody knows how long ago it was.
        let now = self.watched.context.now();
        match listed_at > now {
            true => now,
            false => listed_at + every,
        }
    }

    fn until_due(&self) -> Duration {
        let due = [self.relist_at(), self.follow_at()].into_iter().flatten();
        let due = due.min().map(|at| at.since(self.watched.context.now()));
        due.unwrap_or(IDLE).clamp(Duration::from_millis(10), IDLE)
    }

    /// Has the feed note its position before anything is read, so that no change falls between. What
    /// was read before there was a position is to be read again, which is stored first.
    async fn cover(&mut self) -> Result<(), Failure> {
        let Some(feed) = self.feed.clone().filter(|_| !self.has_position) else {
            return Ok(());
        };
        let has_read = self.state.run.is_some() || self.state.first_completed_at.is_some();
        if has_read && !self.is_renewed {
            let run = self.run_anew(Aim::All).await?;
            self.begin(run, |_| ()).await?;
        }
        // Nothing is read before it has one: there is no need to begin anew again.
        self.is_renewed = true;
        let (reply, covered) = oneshot::channel();
        let collection = self.watched.id.to_string();
        let request = FeedRequest::Cover { collection, reply };
        feed.send(request).await.map_err(|_| Failure::Stopped)?;
        covered.await.map_err(|_| Failure::Stopped)??;
        self.has_position = true;
        Ok(())
    }

    async fn read_wanted(&mut self) -> Result<(), Failure> {
        let count = self.state.wanted.len().min(WANTED_AT_ONCE);
        let ids = self
            .state
            .wanted
            .iter()
            .take(count)
            .cloned()
            .collect::<Vec<_>>();
        let mut unknown = Vec::new();
        let mut held = Vec::new();
        for id in self.watched.read_wanted(ids).await? {
            match self.watched.is_held(&id).await? {
                true => held.push(id),
                false => unknown.push(id),
            }
        }
        self.watched.note_refused(held).await?;
        self.watched.tell_refused(unknown);
        self.save(|state| drop(state.wanted.drain(..count))).await
    }

    /// Takes a request. Fails when the sync can do nothing more.
    async fn answer(&mut self, ask: Ask) -> Result<(), Failure> {
        match ask {
            Ask::Check => self.check_now = true,
            Ask::Gap(gap, reply) => {
                self.make_sure().await?;
                let run = self.run_anew(Aim::Gap).await?;
                self.begin(run, |state| {
                    let from = state.gap.map_or(gap.from, |known| known.from.min(gap.from));
                    state.gap = Some(Gap { from, to: gap.to });
                })
                .await?;
                // Nobody may wait for it any more.
                reply.send(()).ok();
            }
            Ask::Reread(reread, reply) => {
                let saved = self.reread(reread).await;
                let (answer, result) = match saved {
                    Ok(()) => (Ok(()), Ok(())),
                    Err(Failure::Store(error)) => {
                        self.is_unsure = true;
                        (Err(SyncError::Store(error)), Ok(()))
                    }
                    Err(failure) => (Err(SyncError::Stopped), Err(failure)),
                };
                drop(reply.send(answer));
                return result;
            }
        }
        Ok(())
    }

    async fn reread(&mut self, reread: Reread) -> Result<(), Failure> {
        self.make_sure().await?;
        match reread {
            Reread::UpstreamIds(ids) => {
                self.watched.tell_noted().await?;
                self.save(|state| state.wanted.extend(ids)).await
            }
            Reread::All { confirm_deletes } => {
                let mut run = self.run_anew(Aim::All).await?;
                if let Some(sweep) = &mut run.sweep {
                    sweep.confirmed |= confirm_deletes;
                }
                self.begin(run, |_| ()).await
            }
            Reread::Since(from) if self.state.run.is_some() => {
                self.save(|state| state.queued = Some(earliest(state.queued.take(), from)))
                    .await
            }
            Reread::Since(from) => {
                let run = self.watched.begin(Aim::Since(from)).await?;
                self.begin(run, |_| ()).await
            }
        }
    }

    /// Stores a reading that begins, in the place of any other.
    async fn begin(
        &mut self,
        run: Run,
        change: impl FnOnce(&mut CollectionState),
    ) -> Result<(), Failure> {
        let mut state = self.state.clone();
        change(&mut state);
        let is_complete = run.aim.is_complete();
        state.run = Some(run);
        let mut cursors = vec![self.watched.document(&state)?];
        cursors.extend(self.watched.forgotten_notes());
        if is_complete {
            cursors.extend(self.watched.forgotten_refusals());
        }
        self.watched.store(Vec::new(), cursors).await?;
        self.state = state;
        self.watched.publish(&self.state);
        if is_complete {
            self.watched.tell_noted().await?;
        }
        Ok(())
    }

    /// A reading of everything from the beginning. While nothing was ever read to the end, it is
    /// still the first one.
    async fn run_anew(&self, aim: Aim) -> Result<Run, Failure> {
        let is_first = self.state.first_completed_at.is_none();
        let aim = if is_first { Aim::Initial } else { aim };
        let mut run = self.watched.begin(aim).await?;
        let replaced = self.state.run.as_ref().and_then(|run| run.sweep);
        if let (Some(sweep), Some(replaced)) = (&mut run.sweep, replaced) {
            // What somebody said of deletes holds for this one too.
            sweep.confirmed = replaced.confirmed;
        }
        Ok(run)
    }

    async fn save(&mut self, change: impl FnOnce(&mut CollectionState)) -> Result<(), Failure> {
        let mut state = self.state.clone();
        change(&mut state);
        let document = self.watched.document(&state)?;
        self.watched.context.write(document).await?;
        self.state = state;
        self.watched.publish(&self.state);
        Ok(())
    }

    fn tell(&self, trouble: Option<Trouble>) {
        let words = trouble.as_ref().map(|trouble| trouble.words.clone());
        let context = &self.watched.context;
        let is_news = context
            .board
            .set(&self.watched.id, |live| live.trouble = trouble);
        if let Some(words) = words.filter(|_| is_news) {
            tracing::warn!(sync = %context.id, collection = %self.watched.id, "{words}");
        }
    }
}

fn earliest(queued: Option<Aim>, from: Timestamp) -> Aim {
    match queued {
        Some(Aim::Since(known)) => Aim::Since(known.min(from)),
        Some(queued) if queued.is_complete() => queued,
        // What is listed again for its changes is so anyway.
        _ => Aim::Since(from),
    }
}
