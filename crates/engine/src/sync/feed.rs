//! The reconciler of one feed: follows the provider's events and brings the collections up to date.
//!
//! Guarantee: a collection's position moves on only when every event before it was applied, and is
//! noted before the collection is read for the first time. A position that is older than the provider
//! keeps events is a gap: it is told, and the collection is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::provider::{Failure as Upstream, Feed};
use headrace_model::quota::Priority;
use headrace_store::CursorWrite;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::board::Trouble;
use super::collection::Ask;
use super::context::{Context, Watched};
use super::failure::{Failure, Next};
use super::look::Seen;
use super::pace::Pace;
use super::state::{FeedState, Gap, feed_document};

/// The first slice of what there is to catch up with.
pub(super) const SLICE: Duration = Duration::from_secs(3_600);

/// A position that moved by less than this is not worth a write of its own.
const WORTH_WRITING: Duration = Duration::from_secs(60);

/// What a feed's reconciler can be asked for.
pub(super) enum FeedRequest {
    /// Note the position for this collection, from now on.
    Cover {
        collection: String,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
    /// Look for changes now.
    Check,
}

/// A collection that the feed tells about.
pub(super) struct Member {
    pub(super) watched: Watched,
    pub(super) asks: mpsc::Sender<Ask>,
    /// Not looked at before this time, because applying its events failed.
    pub(super) blocked_until: Option<Instant>,
    pub(super) pace: Pace,
}

/// The reconciler of one feed.
pub(super) struct Follower {
    pub(super) context: Arc<Context>,
    pub(super) name: String,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) requests: mpsc::Receiver<FeedRequest>,
    pub(super) state: FeedState,
    pub(super) pace: Pace,
    /// Events of the overlap that were applied already.
    pub(super) seen: Seen,
    /// Collections with a gap, until their re-read is noted.
    pub(super) gaps: BTreeSet<String>,
    /// Each ends with the collection and its new position; without one where that was not noted.
    filling: JoinSet<(String, Option<Timestamp>)>,
    /// The positions that the sync was started with.
    pub(super) began: BTreeMap<String, Timestamp>,
    /// How much is looked at in one go when there is much to catch up with.
    pub(super) slice: Duration,
    written: FeedState,
}

impl Follower {
    pub(super) fn new(
        context: Arc<Context>,
        name: String,
        members: BTreeMap<String, Member>,
        requests: mpsc::Receiver<FeedRequest>,
        state: FeedState,
        pace: Pace,
    ) -> Self {
        Self {
            context,
            name,
            members,
            requests,
            began: state.positions.clone(),
            written: state.clone(),
            state,
            pace,
            seen: Seen::default(),
            gaps: BTreeSet::new(),
            filling: JoinSet::new(),
            slice: SLICE,
        }
    }

    /// Follows until the sync stops.
    pub(super) async fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let look = tokio::time::sleep(pause);
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break,
                Some(filled) = self.filling.join_next() => {
                    pause = self.filled(filled).await;
                    continue;
                }
                request = self.requests.recv() => match request {
                    None => break,
                    Some(FeedRequest::Check) => {}
                    Some(FeedRequest::Cover { collection, reply }) => {
                        let covered = self.cover(collection).await;
                        if covered.is_ok() {
                            pause = Duration::ZERO;
                        }
                        // Nobody may wait for it any more.
                        drop(reply.send(covered));
                        continue;
                    }
                },
                () = look => {}
            }
            pause = match self.look().await {
                Ok(pause) => pause,
                Err(failure) => match failure.next() {
                    Next::Stop | Next::Yield => break,
                    next => self.failed(&failure, next),
                },
            };
        }
        if let Err(failure) = self.write_if(|_, _| true).await {
            // Only some events more to look at after the next start.
            tracing::debug!(sync = %self.context.id, "the position of a feed was not stored: {failure}");
        }
    }

    pub(super) fn feed(&self) -> Option<&Feed> {
        self.context.definition().feed(&self.name)
    }

    /// Notes the position for a collection. Where the feed itself is refused the provider's clock is
    /// enough: the collection can be read, and the refusal is told when the feed is looked at.
    async fn cover(&mut self, collection: String) -> Result<(), Failure> {
        if self.written.positions.contains_key(&collection) {
            return Ok(());
        }
        let Some(feed) = self.feed() else {
            return Ok(());
        };
        let request = feed.list(self.context.provider_now(), None, None);
        let position = match self.context.ask(&request, Priority::Changes).await {
            Ok(response) => response.seen_at,
            Err(Failure::Call(error)) if is_refused(error.failure()) => self.context.provider_now(),
            Err(failure) => return Err(failure),
        };
        self.state.positions.insert(collection, position);
        self.write_if(|_, _| true).await
    }

    /// Looks for changes once. Answers when to look again.
    async fn look(&mut self) -> Result<Duration, Failure> {
        let found = self.poll().await?;
        let is_news = found.events > 0;
        self.write_if(|written, now| is_news || now.since(written) >= WORTH_WRITING)
            .await?;
        if found.is_behind {
            return Ok(Duration::ZERO);
        }
        let pause = self.pace.after_look(is_news);
        let blocked = self
            .members
            .values()
            .filter_map(|member| member.blocked_until)
            .min();
        let unblocked = blocked.map(|until| until.saturating_duration_since(Instant::now()));
        Ok(unblocked.map_or(pause, |unblocked| unblocked.min(pause)))
    }

    /// Has a collection read again whose events are lost. Its position moves when that is noted.
    pub(super) fn fill_gap(&mut self, collection: &str, gap: Gap) {
        let Some(member) = self.members.get(collection) else {
            return;
        };
        let (reply, noted) = oneshot::channel();
        let (asks, collection) = (member.asks.clone(), collection.to_owned());
        tracing::warn!(sync = %self.context.id, %collection, from = %gap.from, to = %gap.to, "changes were lost; the collection is read again");
        self.gaps.insert(collection.clone());
        self.filling.spawn(async move {
            let asked = asks.send(Ask::Gap(gap, reply)).await.is_ok();
            let is_noted = asked && noted.await.is_ok();
            (collection, is_noted.then_some(gap.to))
        });
    }

    /// A gap's re-read is noted, or could not be: then the gap is found again.
    async fn filled(&mut self, filled: Result<(String, Option<Timestamp>), JoinError>) -> Duration {
        let Ok((collection, position)) = filled else {
            return Duration::ZERO;
        };
        self.gaps.remove(&collection);
        let Some(position) = position else {
            return self.pace.after_failure(Next::Retry(None));
        };
        self.state.positions.insert(collection, position);
        if let Err(failure) = self.write_if(|_, _| true).await {
            // It is tried again with the next look.
            tracing::debug!(sync = %self.context.id, "the position of a feed was not stored: {failure}");
        }
        Duration::ZERO
    }

    /// The whole feed cannot be read: all its collections are told.
    fn failed(&mut self, failure: &Failure, next: Next) -> Duration {
        let words = format!(
            "Changes cannot be looked for. {}",
            failure.words("the events")
        );
        let mut is_news = false;
        for id in self.members.keys() {
            let trouble = Trouble::new(words.clone(), next);
            let board = &self.context.board;
            is_news |= board.set(id, |live| live.feed_trouble = Some(trouble));
        }
        if is_news {
            tracing::warn!(sync = %self.context.id, feed = %self.name, "{words}");
        }
        self.pace.after_failure(next)
    }

    /// Writes the positions, if one of them is worth it.
    async fn write_if(
        &mut self,
        is_worth: impl Fn(Timestamp, Timestamp) -> bool,
    ) -> Result<(), Failure> {
        let is_due = self.state.positions.iter().any(|(collection, now)| {
            let written = self.written.positions.get(collection);
            written.is_none_or(|written| written != now && is_worth(*written, *now))
        });
        if !is_due {
            return Ok(());
        }
        let cursor = CursorWrite {
            collection: feed_document(&self.name).into(),
            body: serde_json::to_vec(&self.state)?,
        };
        self.context.write(cursor).await?;
        self.written = self.state.clone();
        Ok(())
    }
}

fn is_refused(failure: Option<Upstream>) -> bool {
    matches!(
        failure,
        Some(
            Upstream::Forbidden
                | Upstream::Rejected
                | Upstream::Gone
                | Upstream::Hidden
                | Upstream::UnknownCursor
        )
    )
}
