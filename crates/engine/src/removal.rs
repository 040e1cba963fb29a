//! Removals that a crash cannot leave half done.
//!
//! What is removed disappears in one write, together with a note of everything that goes with it: logs,
//! consumers' states, syncs' progress, records. The note stays until that is done, and what a stopped
//! run left behind is finished in the background of the next.

use headrace_model::{ConsumerId, OrgId, StreamId, SyncId, config};
use headrace_store::{Batch, Breakpoint, Kind, Range, Selection, Write, breakpoint};
use serde::{Deserialize, Serialize};

use crate::entity::{self, Entity, Stored};
use crate::syncs::not_syncing;
use crate::{Engine, Error};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    /// Does what a removal's note says, and removes the note. May be begun again at any time.
    pub(crate) async fn finish_removal(&self, note: Stored<Removal>) -> Result<(), Error> {
        let Removal {
            stream,
            consumers,
            syncs,
            purges,
        } = &note.value;
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
            self.purge(note.org, purge).await?;
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

    /// Finishes what the last run was stopped in. A removal that fails does not keep the others waiting.
    pub(crate) async fn finish_removals(&self) -> Result<(), Error> {
        for id in entity::ids(&*self.store, Kind::Removal).await? {
            let finished = match entity::load_any::<Removal>(&*self.store, id).await {
                Ok(None) => Ok(()),
                Ok(Some(note)) => self.finish_removal(note).await,
                Err(error) => Err(error),
            };
            match finished {
                Ok(()) => {}
                Err(Error::ShuttingDown) => return Ok(()),
                Err(error) => {
                    let error = crate::chain(&error);
                    tracing::error!(removal = %id, error, "what was removed is cleared away at the next start");
                }
            }
        }
        Ok(())
    }

    /// Whether a collection was taken in again since: its records are wanted.
    async fn is_read_again(&self, org: OrgId, purge: &Purge) -> Result<bool, Error> {
        let sync = entity::find::<config::Sync>(&*self.store, org, purge.sync.0).await?;
        let collection = purge.collection.as_ref();
        Ok(collection
            .zip(sync)
            .is_some_and(|(collection, sync)| sync.value.collection_ids.contains(collection)))
    }

    /// Purges, unless the collection is read again. Nobody takes it in again meanwhile: what a reading
    /// found unchanged would be purged behind it.
    async fn purge(&self, org: OrgId, purge: &Purge) -> Result<(), Error> {
        let Purge {
            stream,
            sync,
            collection,
        } = purge;
        let gate = self.gates.of(sync.0);
        let _closed = gate.write().await;
        if self.is_read_again(org, purge).await? {
            return Ok(());
        }
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
