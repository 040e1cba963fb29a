//! The reconcilers of a running sync: made from what is stored, and waited for at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use headrace_store::CursorWrite;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::SyncError;
use super::ageing;
use super::collection::Reconciler;
use super::context::{Context, Watched};
use super::failure::Failure;
use super::feed::{FeedRequest, Follower, Member};
use super::notes;
use super::pace::Pace;
use super::refused;
use super::run::narrower;
use super::runner::{self, Desk};
use super::state::{CollectionState, Stored, feed_document};

/// Requests that may wait for a reconciler.
const WAITING: usize = 16;

/// Running reconcilers.
pub(super) struct Reconcilers {
    pub(super) desk: Desk,
    tasks: TaskTracker,
}

impl Reconcilers {
    /// Starts the reconcilers of a sync's collections and of their feeds. What is stored of
    /// collections that the sync no longer reads is removed first: should they come back, they are
    /// read from the beginning.
    pub(super) async fn start(context: &Arc<Context>) -> Result<Self, SyncError> {
        let mut stored = runner::stored(&*context.parts.store, context.id).await?;
        tidy(context, &mut stored).await?;
        let mut reconcilers = Self {
            desk: Desk::default(),
            tasks: TaskTracker::new(),
        };
        let mut reading: Vec<Watched> = Vec::new();
        let mut members: BTreeMap<String, BTreeMap<String, Member>> = BTreeMap::new();
        let mut feeds: BTreeMap<String, mpsc::Receiver<FeedRequest>> = BTreeMap::new();
        for id in &context.sync.collection_ids {
            let state = stored.collections.remove(id).unwrap_or_default();
            context.board.set(id, |live| {
                (live.trouble, live.feed_trouble, live.followed_to) = (None, None, None);
                live.is_ageless = false;
            });
            let Some(watched) = Watched::new(context, id) else {
                context.board.set(id, |live| live.unknown = true);
                continue;
            };
            if context.sync.paused.contains(id) {
                watched.publish(&state);
                continue;
            }
            reading.push(watched.clone());
            let (sender, asks) = mpsc::channel(WAITING);
            let feed = watched.feed().map(str::to_owned);
            let feed_state = feed.as_ref().and_then(|feed| stored.feeds.get(feed));
            let position = feed_state.and_then(|feed| feed.positions.get(id)).copied();
            // Until the first look tells otherwise.
            let behind = position.filter(|at| context.now().since(*at) > super::feed::SLICE);
            context.board.set(id, |live| live.followed_to = behind);
            if let Some(feed) = &feed {
                if !feeds.contains_key(feed) {
                    let (requests, receiver) = mpsc::channel(WAITING);
                    reconcilers.desk.feeds.insert(feed.clone(), requests);
                    feeds.insert(feed.clone(), receiver);
                }
                let member = Member {
                    watched: watched.clone(),
                    asks: sender.clone(),
                    blocked_until: None,
                    pace: pace(context),
                };
                members
                    .entry(feed.clone())
                    .or_default()
                    .insert(id.clone(), member);
                reconcilers.desk.feed_of.insert(id.clone(), feed.clone());
            }
            reconcilers.desk.collections.insert(id.clone(), sender);
            let reconciler = Reconciler {
                feed: feed.and_then(|feed| reconcilers.desk.feeds.get(&feed).cloned()),
                pace: pace(context),
                check_now: false,
                has_position: position.is_some(),
                is_renewed: false,
                put_off: false,
                is_unsure: false,
                watched,
                state,
                asks,
            };
            reconcilers.spawn(context, reconciler.run());
        }
        for (name, requests) in feeds {
            let members = members.remove(&name).unwrap_or_default();
            let state = stored.feeds.remove(&name).unwrap_or_default();
            let pace = pace(context);
            let follower = Follower::new(Arc::clone(context), name, members, requests, state, pace);
            reconcilers.spawn(context, follower.run());
        }
        reconcilers.spawn(context, refused::run(Arc::clone(context), reading));
        if context.sync.max_age_days.is_some() {
            reconcilers.spawn(context, ageing::run(Arc::clone(context)));
        }
        reconcilers.tasks.close();
        Ok(reconcilers)
    }

    fn spawn(&self, context: &Arc<Context>, task: impl Future<Output = ()> + Send + 'static) {
        let context = Arc::clone(context);
        self.tasks.spawn(async move {
            if std::panic::AssertUnwindSafe(task)
                .catch_unwind()
                .await
                .is_err()
            {
                // What went wrong was printed by the panic.
                context.broken.cancel();
            }
        });
    }

    /// Waits until all of them have ended.
    pub(super) async fn ended(self) {
        // Those who wait for requests see that nobody is left to make one.
        drop(self.desk);
        self.tasks.wait().await;
    }
}

fn pace(context: &Context) -> Pace {
    let clock = Arc::clone(&context.parts.clock);
    Pace::new(clock, context.parts.settings, context.sync.sync_frequency)
}

/// Removes what is stored of collections that the sync no longer reads, and remembers that less is
/// admitted than was read: what ageing is about to drop has to be read should it be admitted again.
/// All in one write.
async fn tidy(context: &Context, stored: &mut Stored) -> Result<(), SyncError> {
    let wanted = |id: &String| context.sync.collection_ids.contains(id);
    let damaged = |what| move |source| SyncError::Damaged { what, source };
    let mut cursors = Vec::new();
    for (feed, state) in &mut stored.feeds {
        let before = state.positions.len();
        state.positions.retain(|id, _| wanted(id));
        if state.positions.len() < before {
            cursors.push(CursorWrite {
                collection: feed_document(feed).into(),
                body: serde_json::to_vec(state).map_err(damaged("feed position"))?,
            });
        }
    }
    for (id, state) in &mut stored.collections {
        let collection: Arc<str> = id.as_str().into();
        if !wanted(id) {
            cursors.extend(notes::all_forgotten(id));
            let body = Vec::new();
            cursors.push(CursorWrite { collection, body });
        } else if admits_less(context.sync.max_age_days, state) {
            let body = serde_json::to_vec(state).map_err(damaged("cursor"))?;
            cursors.push(CursorWrite { collection, body });
        }
    }
    stored.collections.retain(|id, _| wanted(id));
    if cursors.is_empty() {
        return Ok(());
    }
    let nothing = Arc::from("");
    let written = context.append(&nothing, Vec::new(), Vec::new(), cursors);
    match written.await {
        Ok(_) => Ok(()),
        Err(Failure::Store(error)) => Err(SyncError::Store(error)),
        Err(_) => Err(SyncError::Stopped),
    }
}

/// Narrows the ages that a collection is said to have been read in. Answers whether that changed them.
fn admits_less(max_age_days: Option<u32>, state: &mut CollectionState) -> bool {
    let before = state.clone();
    state.max_age_days = narrower(max_age_days, state.max_age_days);
    if let Some(run) = &mut state.run {
        run.max_age_days = narrower(max_age_days, run.max_age_days);
    }
    *state != before
}
