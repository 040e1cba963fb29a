//! The contract, method by method.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use headrace_model::delivery::{Consumer, DeadLetter, Policy};
use headrace_model::{ConsumerId, OrgId, RecordId, StreamId, SyncId, Timestamp};
use rusqlite::params;
use tokio::sync::watch;
use uuid::Uuid;

use super::append::{self, Prepared};
use super::turn::{Safe, counts};
use super::{
    SqliteStore, cache, dead, idempotency, keys, objects, off_runtime, read, rows, steps, syncing,
};
use crate::{
    Answer, AnswerKey, Appended, Batch, Breakpoint, Claim, Counts, Fence, Kind, Lane, Message,
    Next, Object, Page, Place, Range, Result, Row, Selection, Store, StreamStats, Sweep, Swept,
    Write, breakpoint,
};

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, writes: Vec<Write>) -> Result<()> {
        let changed: Vec<_> = writes.iter().map(cache::written).collect();
        let cache = Arc::clone(&self.cache);
        let run = move |db: &rusqlite::Connection| {
            writes
                .iter()
                .try_for_each(|write| objects::write(db, write))
        };
        let after = move |_: Option<&()>| cache.forget(&changed);
        let pending = self.writer.submit("write objects", 0, run, after);
        pending.durable().await
    }

    async fn object(&self, kind: Kind, id: Uuid) -> Result<Option<Object>> {
        self.check_open()?;
        let read_at = match self.cache.get(kind, id) {
            Ok(object) => return Ok(Some(object)),
            Err(read_at) => read_at,
        };
        let read = move |db: &rusqlite::Connection| objects::one(db, kind, id);
        let found = self.readers.read("read an object", read).await?;
        if let Some(object) = &found {
            self.cache.keep(object, read_at);
        }
        Ok(found)
    }

    async fn object_named(&self, kind: Kind, org: OrgId, name: &str) -> Result<Option<Object>> {
        self.check_open()?;
        let read_at = match self.cache.named(kind, org, name) {
            Ok(object) => return Ok(Some(object)),
            Err(read_at) => read_at,
        };
        let name = name.to_owned();
        let read = move |db: &rusqlite::Connection| objects::named(db, kind, org, &name);
        let found = self.readers.read("read an object", read).await?;
        if let Some(object) = &found {
            self.cache.keep(object, read_at);
        }
        Ok(found)
    }

    async fn objects(
        &self,
        kind: Kind,
        org: Option<OrgId>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Object>> {
        self.readers
            .read("list objects", move |db| {
                objects::page(db, kind, org, after, limit)
            })
            .await
    }

    async fn append(
        &self,
        stream: StreamId,
        now: Timestamp,
        batches: Vec<Batch>,
    ) -> Result<Vec<Result<Appended>>> {
        let cell = self.stream(stream)?;
        let batches: Vec<Prepared> = batches.into_iter().map(Prepared::new).collect();
        let bytes = batches.iter().map(Prepared::bytes).sum();
        let run = move |db: &rusqlite::Connection| append::append(db, stream, now, batches);
        let after = move |done: Option<&append::Done>| {
            if let Some(done) = done {
                cell.publish(&done.delta);
            }
        };
        let pending = self.writer.submit("append", bytes, run, after);
        Ok(pending.durable().await?.results)
    }

    async fn read(&self, stream: StreamId, selection: &Selection, range: Range) -> Result<Page> {
        self.page(stream, selection, range).await
    }

    async fn record(&self, stream: StreamId, record: RecordId) -> Result<Option<Row>> {
        self.readers
            .read("read a record", move |db| {
                rows::of_record(db, stream, record)
            })
            .await
    }

    async fn children(
        &self,
        stream: StreamId,
        sync: SyncId,
        collection: &str,
        parent: &str,
    ) -> Result<Vec<String>> {
        let (collection, parent) = (collection.to_owned(), parent.to_owned());
        self.readers
            .read("read the children of a record", move |db| {
                rows::children(db, stream, sync, &collection, &parent)
            })
            .await
    }

    async fn parent(&self, stream: StreamId, record: RecordId) -> Result<Option<String>> {
        self.readers
            .read("read the parent of a record", move |db| {
                rows::parent(db, stream, record)
            })
            .await
    }

    async fn places(&self, stream: StreamId, records: Vec<RecordId>) -> Result<Vec<Option<Place>>> {
        let Some(no) = self.stream(stream)?.log().no else {
            return Ok(vec![None; records.len()]);
        };
        self.readers
            .read("find records", move |db| keys::places(db, no, &records))
            .await
    }

    async fn lanes(&self, stream: StreamId) -> Result<Arc<Vec<Lane>>> {
        Ok(Arc::clone(&self.stream(stream)?.log().lanes))
    }

    async fn last_idx(&self, stream: StreamId) -> Result<u64> {
        Ok(self.stream(stream)?.log().last_idx)
    }

    async fn watch(&self, stream: StreamId) -> Result<watch::Receiver<u64>> {
        Ok(self.stream(stream)?.watch())
    }

    async fn position_before(&self, stream: StreamId, time: Timestamp) -> Result<u64> {
        self.readers
            .read("find a position", move |db| {
                rows::position_before(db, stream, time)
            })
            .await
    }

    async fn stats(&self, stream: StreamId) -> Result<StreamStats> {
        Ok(read::stats(&*self.stream(stream)?))
    }

    async fn sweep(&self, stream: StreamId, sweep: Sweep) -> Result<Swept> {
        self.sweep_log(stream, sweep).await
    }

    async fn drop_log(&self, stream: StreamId) -> Result<()> {
        self.remove_log(stream).await
    }

    async fn cursors(&self, sync: SyncId) -> Result<Vec<(String, Vec<u8>)>> {
        self.readers
            .read("read cursors", move |db| syncing::cursors(db, sync))
            .await
    }

    async fn notes(&self, sync: SyncId, beneath: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let beneath = beneath.to_owned();
        self.readers
            .read("read notes", move |db| syncing::notes(db, sync, &beneath))
            .await
    }

    async fn drop_cursors(&self, sync: SyncId, collection: Option<&str>) -> Result<()> {
        let collection = collection.map(str::to_owned);
        self.writer
            .write("remove cursors", move |db| {
                syncing::drop_cursors(db, sync, collection.as_deref())
            })
            .await
    }

    async fn lease(
        &self,
        name: &str,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Fence>> {
        let name = name.to_owned();
        self.writer
            .write("take a lease", move |db| {
                syncing::lease(db, &name, owner, now, until)
            })
            .await
    }

    async fn release(&self, name: &str, owner: Uuid) -> Result<()> {
        let name = name.to_owned();
        self.writer
            .write("release a lease", move |db| {
                syncing::release(db, &name, owner)
            })
            .await
    }

    async fn create_consumer(
        &self,
        stream: StreamId,
        consumer: ConsumerId,
        position: u64,
    ) -> Result<()> {
        self.writer
            .write("create the consumer", move |db| {
                db.prepare_cached(
                    "insert into consumer (id, stream, seq, position, generation)
                     values (?, ?, 0, ?, 1) on conflict do nothing",
                )?
                .execute(params![
                    consumer.0.as_bytes(),
                    stream.0.as_bytes(),
                    position.cast_signed()
                ])?;
                Ok(())
            })
            .await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerId>> {
        self.readers
            .read("list the consumers' states", steps::ids)
            .await
    }

    async fn drop_consumer(&self, consumer: ConsumerId) -> Result<()> {
        self.remove_consumer(consumer).await
    }

    async fn next(&self, consumer: ConsumerId, next: Next<'_>) -> Result<Vec<Message>> {
        self.hand_out(consumer, next).await
    }

    async fn update(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c mut Consumer) + Send),
    ) -> Result<()> {
        self.step(consumer, Safe::FromPowerCuts, step).await?;
        breakpoint(Breakpoint::Settled);
        Ok(())
    }

    async fn restart(&self, consumer: ConsumerId, position: u64, with: Write) -> Result<()> {
        self.begin_anew(consumer, position, &with).await?;
        breakpoint(Breakpoint::Settled);
        Ok(())
    }

    async fn inspect(
        &self,
        consumer: ConsumerId,
        step: &mut (dyn for<'c> FnMut(&'c Consumer) + Send),
    ) -> Result<()> {
        self.look(consumer, |turn| step(&turn.active.machine)).await
    }

    async fn counts(&self, consumer: ConsumerId, selection: &Selection) -> Result<Counts> {
        self.look(consumer, |turn| counts(turn, selection)).await
    }

    async fn expire(
        &self,
        consumer: ConsumerId,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Option<Timestamp>> {
        let mut next = None;
        let mut step = |consumer: &mut Consumer| {
            consumer.expire(now, policy);
            next = consumer.next_deadline();
        };
        self.step(consumer, Safe::FromKills, &mut step).await?;
        Ok(next)
    }

    async fn watch_consumer(&self, consumer: ConsumerId) -> Result<watch::Receiver<u64>> {
        self.look(consumer, |turn| turn.cell.watch()).await
    }

    async fn dead_letters(
        &self,
        consumer: ConsumerId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        self.readers
            .read("read dead letters", move |db| {
                dead::page(db, consumer, after, limit)
            })
            .await
    }

    async fn oldest_death(&self, consumer: ConsumerId) -> Result<Option<Timestamp>> {
        self.readers
            .read("read dead letters", move |db| dead::oldest(db, consumer))
            .await
    }

    async fn drop_dead_letters(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
    ) -> Result<u64> {
        self.remove_dead(consumer, records).await
    }

    async fn redrive(
        &self,
        consumer: ConsumerId,
        records: Option<&[RecordId]>,
        selection: &Selection,
        upto: u64,
    ) -> Result<u64> {
        self.redrive_dead(consumer, records, selection, upto).await
    }

    async fn claim(
        &self,
        key: &AnswerKey,
        request: [u8; 32],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<Claim> {
        let key = key.clone();
        self.writer
            .write("claim an idempotency key", move |db| {
                idempotency::claim(db, &key, request, now, forget)
            })
            .await
    }

    async fn answer(&self, key: &AnswerKey, answer: Option<Answer>) -> Result<()> {
        let key = key.clone();
        self.writer
            .write("keep an answer", move |db| {
                idempotency::answer(db, &key, answer.as_ref())
            })
            .await
    }

    async fn begin(&self) -> Result<()> {
        let (journal, consumers) = (Arc::clone(&self.journal), Arc::clone(&self.consumers));
        let after = move |begun: Option<&()>| {
            if begun.is_some() {
                journal.begun();
                consumers.invalidate();
            }
        };
        let beginning = self
            .writer
            .submit("mark the journal", 0, super::Journal::begin, after);
        beginning.durable().await
    }

    async fn back_up(&self, to: &Path, now: Timestamp) -> Result<()> {
        self.copy_to(to, now).await
    }

    async fn look_through(&self) -> Result<()> {
        self.scrub().await
    }

    async fn ready(&self) -> Result<()> {
        let checked = self.journal.check();
        checked.inspect_err(|_| self.shorten_journal())?;
        self.writer
            .write("write to the database", |db| {
                db.prepare_cached(
                    "insert into probe (one, count) values (1, 1)
                     on conflict do update set count = count + 1",
                )?
                .execute([])?;
                Ok(())
            })
            .await
    }

    async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.readers.close();
        let synced = self.journal.all_synced().await;
        self.journal.close();
        if self.journal.is_to_be_ended()
            && let Err(error) = self.write_journalled().durable().await
        {
            tracing::warn!(error = %error, "what is in the journal is written at the next start");
        }
        let (writer, journal) = (Arc::clone(&self.writer), Arc::clone(&self.journal));
        off_runtime("end the writer", move || {
            writer.close();
            journal.end();
        })
        .await?;
        synced
    }
}
