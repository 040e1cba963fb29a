//! The store as the engine sees it: slow at times, failing at times, mute after a crash.
//!
//! A failed call has done nothing, or all it should: over a network nobody can tell.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use headrace_model::delivery::{Consumer, DeadLetter, Policy};
use headrace_model::{ConsumerId, OrgId, RecordId, StreamId, SyncId, Timestamp};
use headrace_store::{
    Answer, AnswerKey, Appended, Batch, Claim, Counts, Fence, Kind, Lane, Message, Next, Object,
    Page, Place, Range, Result, Row, Selection, Store, StoreError, StreamStats, Sweep, Swept,
    Write,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::watches::Watches;
use super::wire::still_up;
use super::world::World;

pub(super) struct Disk {
    world: Arc<World>,
    store: Arc<dyn Store>,
    watches: Watches,
}

impl Disk {
    pub(super) fn new(world: Arc<World>, store: Arc<dyn Store>) -> Self {
        Self {
            world,
            store,
            watches: Watches::default(),
        }
    }

    async fn call<T>(&self, what: &str, doing: impl Future<Output = Result<T>>) -> Result<T> {
        let world = &self.world;
        still_up(world).await;
        world.store_calls.fetch_add(1, Ordering::SeqCst);
        world.note(|| what.to_owned());
        let fails = world.strikes(world.plan.failed_call);
        if fails && world.chance().once_in(2) {
            return Err(failure());
        }
        let done = doing.await;
        still_up(world).await;
        match fails {
            true => Err(failure()),
            false => done,
        }
    }
}

#[async_trait]
impl Store for Disk {
    async fn write(&self, writes: Vec<Write>) -> Result<()> {
        self.call("write", self.store.write(writes)).await
    }

    async fn object(&self, kind: Kind, id: Uuid) -> Result<Option<Object>> {
        self.call("object", self.store.object(kind, id)).await
    }

    async fn object_named(&self, kind: Kind, org: OrgId, name: &str) -> Result<Option<Object>> {
        self.call("object_named", self.store.object_named(kind, org, name))
            .await
    }

    async fn objects(
        &self,
        kind: Kind,
        org: Option<OrgId>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Object>> {
        self.call("objects", self.store.objects(kind, org, after, limit))
            .await
    }

    async fn append(
        &self,
        stream: StreamId,
        now: Timestamp,
        batches: Vec<Batch>,
    ) -> Result<Vec<Result<Appended>>> {
        let seen = batches.iter().flat_map(|batch| &batch.seen);
        let words: Vec<String> = seen
            .map(|(_, seen)| format!("{} {:?}", seen.upstream_id, seen.version))
            .collect();
        let appending = async {
            let done = self.store.append(stream, now, batches).await;
            self.world.tell(|| format!("appended {words:?}: {done:?}"));
            done
        };
        self.call("append", appending).await
    }

    async fn read(&self, stream: StreamId, selection: &Selection, range: Range) -> Result<Page> {
        self.call("read", self.store.read(stream, selection, range))
            .await
    }

    async fn record(&self, stream: StreamId, record: RecordId) -> Result<Option<Row>> {
        self.call("record", self.store.record(stream, record)).await
    }

    async fn children(
        &self,
        stream: StreamId,
        sync: SyncId,
        collection: &str,
        parent: &str,
    ) -> Result<Vec<String>> {
        self.call(
            "children",
            self.store.children(stream, sync, collection, parent),
        )
        .await
    }

    async fn parent(&self, stream: StreamId, record: RecordId) -> Result<Option<String>> {
        self.call("parent", self.store.parent(stream, record)).await
    }

    async fn places(&self, stream: StreamId, records: Vec<RecordId>) -> Result<Vec<Option<Place>>> {
        self.call("places", self.store.places(stream, records))
            .await
    }

    async fn lanes(&self, stream: StreamId) -> Result<Arc<Vec<Lane>>> {
        self.call("lanes", self.store.lanes(stream)).await
    }

    async fn last_idx(&self, stream: StreamId) -> Result<u64> {
        self.call("last_idx", self.store.last_idx(stream)).await
    }

    async fn watch(&self, stream: StreamId) -> Result<watch::Receiver<u64>> {
        let inner = self.call("watch", self.store.watch(stream)).await?;
        Ok(self.watches.in_order(stream.0, inner))
    }

    async fn position_before(&self, stream: StreamId, time: Timestamp) -> Result<u64> {
        self.call("position_before", self.store.position_before(stream, time))
            .await
    }

    async fn stats(&self, stream: StreamId) -> Result<StreamStats> {
        self.call("stats", self.store.stats(stream)).await
    }

    async fn sweep(&self, stream: StreamId, sweep: Sweep) -> Result<Swept> {
        self.call("sweep", self.store.sweep(stream, sweep)).await
    }

    async fn drop_log(&self, stream: StreamId) -> Result<()> {
        self.call("drop_log", self.store.drop_log(stream)).await
    }

    async fn cursors(&self, sync: SyncId) -> Result<Vec<(String, Vec<u8>)>> {
        self.call("cursors", self.store.cursors(sync)).await
    }

    async fn notes(&self, sync: SyncId, beneath: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.call("notes", self.store.notes(sync, beneath)).await
    }

    async fn drop_cursors(&self, sync: SyncId, collection: Option<&str>) -> Result<()> {
        self.call("drop_cursors", self.store.drop_cursors(sync, collection))
            .await
    }

    async fn lease(
        &self,
        name: &str,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Fence>> {
        self.call("lease", self.store.lease(name, owner, now, until))
            .await
    }

    async fn release(&self, name: &str, owner: Uuid) -> Result<()> {
        self.call("release", self.store.release(name, owner)).await
    }

    async fn create_consumer(
        &self,
        stream: StreamId,
        consumer: ConsumerId,
        position: u64,
    ) -> Result<()> {
        self.call(
            "create_consumer",
            self.store.create_consumer(stream, consumer, position),
        )
        .await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerId>> {
        self.call("consumers", self.store.consumers()).await
    }

    async fn drop_consumer(&self, consumer: ConsumerId) -> Result<()> {
        self.call("drop_consumer", self.store.drop_consumer(consumer))
            .await
    }

    async fn next(&self, consumer: ConsumerId, next: Next<'_>) -> Result<Vec<Message>> {
        self.call("next", self.store.next(consumer, next)).await
    }

    async fn update(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c mut Consumer) + Send),
    ) -> Result<()> {
        self.call("update", self.store.update(consumer, step)).await
    }

    async fn restart(&self, consumer: ConsumerId, position: u64, with: Write) -> Result<()> {
        self.call("restart", self.store.restart(consumer, position, with))
            .await
    }

    async fn begin(&self) -> Result<()> {
        self.call("begin", self.store.begin()).await
    }

    async fn inspect(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c Consumer) + Send),
    ) -> Result<()> {
        self.call("inspect", self.store.inspect(consumer, step))
            .await
    }

    async fn counts(&self, consumer: ConsumerId, selection: &Selection) -> Result<Counts> {
        self.call("counts", self.store.counts(consumer, selection))
            .await
    }

    async fn expire(
        &self,
        consumer: ConsumerId,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Option<Timestamp>> {
        self.call("expire", self.store.expire(consumer, now, policy))
            .await
    }

    async fn watch_consumer(&self, consumer: ConsumerId) -> Result<watch::Receiver<u64>> {
        let inner = self
            .call("watch_consumer", self.store.watch_consumer(consumer))
            .await?;
        Ok(self.watches.in_order(consumer.0, inner))
    }

    async fn dead_letters(
        &self,
        consumer: ConsumerId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        self.call(
            "dead_letters",
            self.store.dead_letters(consumer, after, limit),
        )
        .await
    }

    async fn oldest_death(&self, consumer: ConsumerId) -> Result<Option<Timestamp>> {
        self.call("oldest_death", self.store.oldest_death(consumer))
            .await
    }

    async fn drop_dead_letters(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
    ) -> Result<u64> {
        self.call(
            "drop_dead_letters",
            self.store.drop_dead_letters(consumer, records),
        )
        .await
    }

    async fn redrive(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
        selection: &Selection,
        upto: u64,
    ) -> Result<u64> {
        self.call(
            "redrive",
            self.store.redrive(consumer, records, selection, upto),
        )
        .await
    }

    async fn claim(
        &self,
        key: &AnswerKey,
        request: [u8; 32],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<Claim> {
        self.call("claim", self.store.claim(key, request, now, forget))
            .await
    }

    async fn answer(&self, key: &AnswerKey, answer: Option<Answer>) -> Result<()> {
        self.call("answer", self.store.answer(key, answer)).await
    }

    async fn look_through(&self) -> Result<()> {
        self.call("look_through", self.store.look_through()).await
    }

    async fn ready(&self) -> Result<()> {
        self.call("ready", self.store.ready()).await
    }

    async fn back_up(&self, to: &Path, now: Timestamp) -> Result<()> {
        self.call("back_up", self.store.back_up(to, now)).await
    }

    async fn close(&self) -> Result<()> {
        self.call("close", self.store.close()).await
    }
}

fn failure() -> StoreError {
    StoreError::Backend {
        action: "simulate a disk",
        source: "it is a bad one".into(),
    }
}
