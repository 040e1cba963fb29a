//! The runner of one sync: keeps its reconcilers in line with what is stored, under a lease.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headrace_model::SyncId;
use headrace_model::config::{Credential, Sync};
use headrace_store::{Fence, Kind, Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::SyncError;
use super::board::{Board, Trouble};
use super::collection::Ask;
use super::context::Context;
use super::credential::InUse;
use super::failure::Next;
use super::feed::FeedRequest;
use super::reconcilers::Reconcilers;
use super::refused::Refusals;
use super::state::Stored;
use super::supervisor::Parts;
use crate::outbound::Account;

/// A sync that the supervisor knows of.
pub(super) struct Entry {
    pub(super) id: SyncId,
    pub(super) board: Arc<Board>,
    /// How to reach the reconcilers, while there are some.
    desk: Mutex<Option<Desk>>,
    /// Grows with each call of [`super::Supervisor::changed`].
    asked: AtomicU64,
    /// Up to which of them everything is in effect.
    in_effect: watch::Sender<u64>,
    changed: Notify,
}

/// Where requests to reconcilers are taken.
#[derive(Clone, Default)]
pub(super) struct Desk {
    pub(super) collections: BTreeMap<String, mpsc::Sender<Ask>>,
    pub(super) feeds: BTreeMap<String, mpsc::Sender<FeedRequest>>,
    /// The feed of each collection that has one.
    pub(super) feed_of: BTreeMap<String, String>,
}

impl Entry {
    pub(super) fn new(id: SyncId) -> Self {
        Self {
            id,
            board: Arc::default(),
            desk: Mutex::default(),
            // The first start is waited for like a change.
            asked: AtomicU64::new(1),
            in_effect: watch::Sender::new(0),
            changed: Notify::new(),
        }
    }

    /// How to reach the reconcilers; `None` while there are none.
    pub(super) fn desk(&self) -> Option<Desk> {
        self.desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_desk(&self, desk: Option<Desk>) {
        *self.desk.lock().unwrap_or_else(PoisonError::into_inner) = desk;
    }

    /// Has the runner look at what is stored.
    pub(super) fn signal(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Waits until everything that was signalled before is in effect.
    pub(super) async fn in_effect(&self) {
        let asked = self.asked.load(Ordering::SeqCst);
        let mut in_effect = self.in_effect.subscribe();
        // The sender lives as long as this entry.
        drop(in_effect.wait_for(|reached| *reached >= asked).await);
    }
}

/// The stored objects that a running sync depends on.
#[derive(Clone)]
struct Plan {
    sync: Sync,
    /// `None` when it was deleted.
    credential: Option<Credential>,
}

/// Why the reconcilers were stopped.
enum Ended {
    /// Something that they depend on was changed.
    Changed,
    /// The lease belongs to another node.
    Lost,
    /// One of them panicked.
    Broken,
    /// The program ends.
    Shutdown,
}

/// Runs a sync until it is deleted or the program ends.
pub(super) async fn run(parts: Parts, entry: Arc<Entry>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let asked = entry.asked.load(Ordering::SeqCst);
        let pause = match load(&parts, entry.id).await {
            Ok(None) => {
                forget(&parts, &entry).await;
                return;
            }
            Ok(Some(plan)) if !plan.sync.enabled => {
                entry.in_effect.send_replace(asked);
                None
            }
            Ok(Some(plan)) => {
                let collections = plan.sync.collection_ids.clone();
                match start(&parts, &entry, plan, asked, &stop).await {
                    Ok(Ended::Changed) => Some(Duration::ZERO),
                    Ok(Ended::Lost) => Some(parts.settings.lease / 3),
                    Ok(Ended::Shutdown) => break,
                    Ok(Ended::Broken) => {
                        tell_all(&entry, &collections, &SyncError::Broken);
                        Some(parts.settings.failed_pause)
                    }
                    Err(error) => {
                        tell_all(&entry, &collections, &error);
                        entry.in_effect.send_replace(asked);
                        Some(parts.settings.failed_pause)
                    }
                }
            }
            Err(error) => {
                tracing::error!(sync = %entry.id, "the sync could not be loaded: {error}");
                Some(parts.settings.lease / 3)
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = entry.changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
    entry.in_effect.send_replace(u64::MAX);
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The sync and its credential; `None` when the sync is gone.
async fn load(parts: &Parts, id: SyncId) -> Result<Option<Plan>, SyncError> {
    let Some(object) = parts.store.object(Kind::Sync, id.0).await? else {
        return Ok(None);
    };
    let sync: Sync = read(&object.body, "sync")?;
    let credential = parts
        .store
        .object(Kind::Credential, sync.credential_id.0)
        .await?;
    let credential = match credential {
        Some(credential) => Some(read(&credential.body, "credential")?),
        None => None,
    };
    Ok(Some(Plan { sync, credential }))
}

pub(super) fn read<T: serde::de::DeserializeOwned>(
    body: &[u8],
    what: &'static str,
) -> Result<T, SyncError> {
    serde_json::from_slice(body).map_err(|source| SyncError::Damaged { what, source })
}

/// Takes the lease and runs the reconcilers until something ends them.
async fn start(
    parts: &Parts,
    entry: &Arc<Entry>,
    plan: Plan,
    asked: u64,
    stop: &CancellationToken,
) -> Result<Ended, SyncError> {
    let credential = plan.credential.as_ref().ok_or(SyncError::NoCredential)?;
    let id = plan.sync.credential_id;
    let account = Account::open(id, credential, &parts.providers, &parts.keyring)?;
    let credential = InUse::new(id.0, credential.clone());
    parts.outbound.set_limit(account.id(), account.limit());
    parts
        .outbound
        .set_share(&account, entry.id, plan.sync.rate_limit);
    let Some(fence) = lease(parts, entry.id).await? else {
        // Another node has the sync: on this one nothing runs, which is what was asked for.
        entry.in_effect.send_replace(asked);
        return Ok(Ended::Lost);
    };
    let context = Arc::new(Context {
        parts: parts.clone(),
        id: entry.id,
        sync: plan.sync.clone(),
        account,
        credential,
        fence,
        board: Arc::clone(&entry.board),
        refusals: Refusals::default(),
        stop: stop.child_token(),
        fenced: CancellationToken::new(),
        broken: CancellationToken::new(),
    });
    let reconcilers = Reconcilers::start(&context).await?;
    entry.set_desk(Some(reconcilers.desk.clone()));
    entry.in_effect.send_replace(asked);
    let ended = watch_over(parts, entry, &plan, &context, stop).await;
    entry.set_desk(None);
    context.stop.cancel();
    reconcilers.ended().await;
    if matches!(ended, Ended::Shutdown)
        && let Err(error) = parts.store.release(&lease_name(entry.id), parts.node).await
    {
        // It runs out by itself.
        tracing::debug!(sync = %entry.id, "the lease was not given back: {error}");
    }
    Ok(ended)
}

/// Renews the lease and compares with what is stored, until the reconcilers have to end.
async fn watch_over(
    parts: &Parts,
    entry: &Entry,
    plan: &Plan,
    context: &Context,
    stop: &CancellationToken,
) -> Ended {
    loop {
        tokio::select! {
           biased;
            () = stop.cancelled() => return Ended::Shutdown,
            () = context.fenced.cancelled() => return Ended::Lost,
            () = context.broken.cancelled() => return Ended::Broken,
            () = entry.changed.notified() => {
                let asked = entry.asked.load(Ordering::SeqCst);
                match load(parts, entry.id).await {
                    Ok(Some(stored)) if stored.runs_alike(plan) => {
                        entry.in_effect.send_replace(asked);
                    }
                    Ok(_) => {
                        // To be looked at again, by whoever comes next.
                        entry.changed.notify_one();
                        return Ended::Changed;
                    }
                    Err(error) => {
                        tracing::error!(sync = %entry.id, "the sync could not be loaded: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        entry.changed.notify_one();
                    }
                }
            }
            () = tokio::time::sleep(parts.settings.lease / 3) => match lease(parts, entry.id).await {
                Ok(Some(fence)) if fence == context.fence => {}
                Ok(_) => return Ended::Lost,
                Err(error) => tracing::error!(sync = %entry.id, "the lease could not be renewed: {error}"),
            },
        }
    }
}

impl Plan {
    /// Whether the reconcilers need not be started anew.
    fn runs_alike(&self, other: &Self) -> bool {
        let (one, two) = (&self.sync, &other.sync);
        one.enabled == two.enabled
            && one.collection_ids == two.collection_ids
            && one.paused == two.paused
            && one.max_age_days == two.max_age_days
            && one.sync_frequency == two.sync_frequency
            && one.rate_limit == two.rate_limit
            && reads_alike(self.credential.as_ref(), other.credential.as_ref())
    }
}

/// Whether requests with the one credential are as those with the other.
pub(super) fn reads_alike(one: Option<&Credential>, two: Option<&Credential>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => {
            one.kind == two.kind
                && one.properties == two.properties
                && one.sealed == two.sealed
                && one.rate_limit == two.rate_limit
        }
        (one, two) => one.is_none() && two.is_none(),
    }
}

fn lease_name(id: SyncId) -> String {
    format!("sync/{id}")
}

async fn lease(parts: &Parts, id: SyncId) -> Result<Option<Fence>, StoreError> {
    let now = parts.clock.now();
    let until = now + parts.settings.lease;
    parts
        .store
        .lease(&lease_name(id), parts.node, now, until)
        .await
}

/// Tells all collections that the sync cannot run.
fn tell_all(entry: &Entry, collections: &[String], error: &SyncError) {
    let words = super::error::in_words(error);
    tracing::error!(sync = %entry.id, "{words}");
    for id in collections {
        let trouble = Trouble::new(words.clone(), Next::StandStill);
        entry.board.set(id, |live| live.trouble = Some(trouble));
    }
}

/// The sync was deleted: its states go with it.
async fn forget(parts: &Parts, entry: &Entry) {
    let dropped = parts.store.drop_cursors(entry.id, None).await;
    let released = parts.store.release(&lease_name(entry.id), parts.node).await;
    if let Err(error) = dropped.and(released) {
        tracing::warn!(sync = %entry.id, "the states of a deleted sync were left behind: {error}");
    }
    entry.in_effect.send_replace(u64::MAX);
}

/// What is stored of a sync.
pub(super) async fn stored(store: &dyn Store, id: SyncId) -> Result<Stored, SyncError> {
    Stored::read(store.cursors(id).await?)
}
