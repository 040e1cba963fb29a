//! Removals that a crash cannot leave half done.
//!
//! What is removed disappears in one write, together with a note of everything that goes with it: logs,
//! consumers' states, syncs' progress, records. The note stays until that is done. What failed, or was
//! left behind by a stopped run, is done in the background: again and again until it is.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headrace_model::retry::Backoff;
use headrace_model::{ConsumerId, OrgId, StreamId, SyncId, config};
use headrace_store::{Batch, Breakpoint, Kind, Range, Selection, Write, breakpoint};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clock::draw;
use crate::entity::{self, Entity, Stored};
use crate::syncs::not_syncing;
use crate::{Engine, Error};

/// How long after a failure it is tried again.
const PAUSES: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(60),
};

/// The notes that nobody is at, and that are left to do.
#[derive(Debug, Default)]
pub(crate) struct LeftOver {
    notes: Mutex<BTreeSet<Uuid>>,
    more: Notify,
}

impl LeftOver {
    fn add(&self, notes: impl IntoIterator<Item = Uuid>) {
        self.lock().extend(notes);
        self.more.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes with objects that were removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// A stream, whose log goes.
    pub stream: Option<StreamId>,
    /// Consumers, whose states go.
    pub consumers: Vec<ConsumerId>,
    /// Syncs, whose progress goes.
    pub syncs: Vec<SyncId>,
    /// Records that go.
    pub purges: Vec<Purge>,
}

/// Records to be purged: what a sync has brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Purge {
    /// Where they are.
    pub stream: StreamId,
    /// Who has brought them.
    pub sync: SyncId,
    /// Only those of this collection.
    pub collection: Option<String>,
}

impl Entity for Removal {
    const KIND: Kind = Kind::Removal;
    const WHAT: &'static str = "removal";
}

impl Engine {
    /// Carries out the writes that remove something, and notes what goes with it.
    pub(crate) async fn note_removal(
        &self,
        org: OrgId,
        writes: Vec<Write>,
        removal: Removal,
    ) -> Result<Stored<Removal>, Error> {
        let now = self.clock.now();
        let mut note = Stored::new(self.new_id(), org, now, removal);
        note.save_with(writes, &*self.store, now).await?;
        self.card_cache.changed(org);
        self.reconfigured.notify_waiters();
        breakpoint(Breakpoint::Decided);
        Ok(note)
    }

    /// Does what a removal's note says. What fails is tried again in the background.
    pub(crate) async fn finish_removal(&self, note: Stored<Removal>) -> Result<(), Error> {
        let id = note.id;
        let finished = self.work_off(note).await;
        if finished.is_err() {
            self.left_over.add([id]);
        }
        finished
    }

    /// Does what a note says, and removes it. May be begun again at any time.
    async fn work_off(&self, mut note: Stored<Removal>) -> Result<(), Error> {
        let Removal {
            stream,
            consumers,
            syncs,
            purges,
        } = &note.value.clone();
        for sync in syncs {
            let forgotten = self.sync.supervisor.forget(*sync).await;
            forgotten.map_err(not_syncing)?;
        }
        for consumer in consumers {
            self.rates.forget(*consumer);
            self.gates.forget(consumer.0);
            self.selections.forget(*consumer);
            self.store.drop_consumer(*consumer).await?;
        }
        for purge in purges {
            self.purge(&mut note, purge).await?;
        }
        for sync in syncs {
            self.gates.forget(sync.0);
        }
        if let Some(stream) = stream {
            self.gates.forget(stream.0);
            self.store.drop_log(*stream).await?;
        }
        Ok(self.store.write(vec![note.delete()]).await?)
    }

    /// Takes up what the last run left behind. Before anything is removed in this one.
    pub(crate) async fn take_up_removals(&self) -> Result<(), Error> {
        let left = entity::ids(&*self.store, Kind::Removal).await?;
        self.left_over.add(left);
        Ok(())
    }

    /// Finishes what is left to do, until the engine stops. A removal that fails does not keep the
    /// others waiting.
    pub(crate) async fn finish_removals(&self) {
        let mut failures = 0;
        loop {
            let left = std::mem::take(&mut *self.left_over.lock());
            let mut failed = BTreeSet::new();
            for id in left {
                match self.finish_left(id).await {
                    Ok(()) => {}
                    Err(Error::ShuttingDown) => return,
                    Err(error) => {
                        let error = crate::chain(&error);
                        tracing::error!(removal = %id, error, "what was removed could not be cleared away: it is tried again");
                        failed.insert(id);
                    }
                }
            }
            failures = if failed.is_empty() { 0 } else { failures + 1 };
            let pause = match failed.is_empty() {
                true => Duration::MAX,
                false => PAUSES.wait(failures, u64::from_le_bytes(draw(&*self.clock))),
            };
            self.left_over.lock().extend(failed);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.left_over.more.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn finish_left(&self, id: Uuid) -> Result<(), Error> {
        match entity::load_any::<Removal>(&*self.store, id).await {
            Ok(None) => Ok(()),
            Ok(Some(note)) => self.work_off(note).await,
            // It is the same in a second.
            Err(error @ Error::Stored { .. }) => {
                let error = crate::chain(&error);
                tracing::error!(removal = %id, error, "what was removed is not cleared away");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a collection was taken in again since: its records are wanted.
    async fn is_read_again(&self, org: OrgId, purge: &Purge) -> Result<bool, Error> {
        let sync = entity::find::<config::Sync>(&*self.store, org, purge.sync.0).await?;
        let collection = purge.collection.as_ref();
        Ok(collection
            .zip(sync)
            .is_some_and(|(collection, sync)| sync.value.collection_ids.contains(collection)))
    }

    /// The writes after which no note asks for a purge of these collections: they are taken in again,
    /// and what becomes of their records is decided anew. Under the sync's closed gate.
    pub(crate) async fn recalled(
        &self,
        sync: SyncId,
        taken_in: impl Fn(&String) -> bool,
    ) -> Result<Vec<Write>, Error> {
        let mut writes = Vec::new();
        for id in entity::ids(&*self.store, Kind::Removal).await? {
            let mut note = match entity::load_any::<Removal>(&*self.store, id).await {
                Ok(Some(note)) => note,
                // Nobody can work off what cannot be read.
                Ok(None) | Err(Error::Stored { .. }) => continue,
                Err(error) => return Err(error),
            };
            let noted = note.value.purges.len();
            let is_recalled = |purge: &Purge| {
                purge.sync == sync && purge.collection.as_ref().is_some_and(&taken_in)
            };
            note.value.purges.retain(|purge| !is_recalled(purge));
            if note.value.purges.len() < noted {
                writes.push(note.put()?);
            }
        }
        Ok(writes)
    }

    /// Purges, unless the collection is read again, or was since the note was made. Nobody takes it in
    /// again meanwhile: what a reading found unchanged would be purged behind it.
    async fn purge(&self, note: &mut Stored<Removal>, purge: &Purge) -> Result<(), Error> {
        let gate = self.gates.of(purge.sync.0);
        let _closed = gate.write().await;
        if let Some(now) = entity::load_any::<Removal>(&*self.store, note.id).await? {
            *note = now;
        }
        if !note.value.purges.contains(purge) {
            return Ok(());
        }
        if !self.is_read_again(note.org, purge).await? {
            self.purge_records(purge).await?;
        }
        // Before the gate opens: what is done need not be withdrawn.
        note.value.purges.retain(|other| other != purge);
        note.save(&*self.store, self.clock.now()).await
    }

    async fn purge_records(&self, purge: &Purge) -> Result<(), Error> {
        let Purge {
            stream,
            sync,
            collection,
        } = purge;
        self.sync.supervisor.in_effect(*sync).await;
        if let Some(collection) = collection {
            // A sync that stands still does not forget by itself that it has read these records.
            self.store.drop_cursors(*sync, Some(collection)).await?;
        }
        let lanes = self.store.lanes(*stream).await?;
        let own = lanes.iter().filter(|lane| {
            lane.sync == *sync
                && collection
                    .as_ref()
                    .is_none_or(|collection| *lane.collection == **collection)
        });
        let selection = Selection {
            lanes: Some(own.map(|lane| lane.no).collect()),
            deleted: None,
        };
        let mut after = 0;
        loop {
            if self.stop.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            let range = Range {
                after,
                limit: 1_000,
                max_bytes: 8 << 20,
                newest_first: false,
            };
            let rows = self.store.read(*stream, &selection, range).await?.rows;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.idx;
            let batch = Batch {
                sync: *sync,
                fence: None,
                seen: Vec::new(),
                purge: rows.iter().map(|row| row.record).collect(),
                cursors: Vec::new(),
            };
            let now = self.clock.now();
            for result in self.store.append(*stream, now, vec![batch]).await? {
                result?;
            }
        }
    }
}
