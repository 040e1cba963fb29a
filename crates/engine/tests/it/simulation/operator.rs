//! The operator: pauses, patches, resets, removes and makes anew, at any time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::sync::Reread;
use headrace_engine::{Error, Stored, SyncPatch};
use headrace_model::ConsumerId;
use headrace_model::config::{self, DeliverPolicy, HttpConsumer};
use headrace_model::delivery::Consumer;
use uuid::Uuid;

use super::account::{ORG, STREAM, consumer_id};
use super::ledger::Ledger;
use super::machine::Process;
use super::rng::Rng;
use super::world::lock;

pub(super) struct Operator {
    pub(super) process: Arc<Process>,
    pub(super) rng: Rng,
}

impl Operator {
    pub(super) async fn run(mut self) -> Infallible {
        let every = self.process.world.plan.operator_every;
        loop {
            tokio::time::sleep(every.unwrap_or(Duration::MAX)).await;
            if self.process.world.is_calm() {
                return std::future::pending().await;
            }
            match self.rng.below(11) {
                0 => self.pause_a_collection().await,
                1 => self.disable_for_a_while().await,
                2 | 9 | 10 => self.read_again().await,
                3 => self.drop_a_collection_for_a_while().await,
                4 => self.remove_and_make_the_sync().await,
                5 => self.reset().await,
                6 => self.redrive().await,
                7 => self.change_the_filter().await,
                _ => self.change_the_policy().await,
            }
        }
    }

    fn say(&self, words: &str) {
        self.process.world.note(|| words.to_owned());
    }

    async fn sync(&self) -> Result<Stored<config::Sync>, Error> {
        let id = self.process.sync_id();
        self.process.engine.sync(ORG, &id.to_string()).await
    }

    async fn patch(&self, patch: &SyncPatch, purge: bool) {
        let engine = &self.process.engine;
        let change = async || {
            let sync = self.sync().await?;
            engine
                .patch_sync(sync, patch.clone(), purge)
                .await
                .map(drop)
        };
        self.process.insist(change).await;
    }

    async fn wait(&mut self) {
        let pause = self.rng.millis(100, 30_000);
        tokio::time::sleep(pause).await;
    }

    async fn pause_a_collection(&mut self) {
        let all = self.process.collections();
        let collection = self.rng.pick(&all).clone();
        self.say("pause");
        for pause in [true, false] {
            let process = Arc::clone(&self.process);
            let change = async || {
                let sync = self.sync().await?;
                process
                    .engine
                    .pause_collection(sync, &collection, pause)
                    .await
            };
            process.insist(change).await;
            self.wait().await;
        }
    }

    async fn disable_for_a_while(&mut self) {
        self.say("disable");
        for enabled in [false, true] {
            let patch = SyncPatch {
                enabled: Some(enabled),
                ..SyncPatch::default()
            };
            self.patch(&patch, false).await;
            if !enabled {
                self.wait().await;
            }
        }
    }

    async fn read_again(&mut self) {
        let all = self.process.collections();
        let collection = self.rng.pick(&all).clone();
        self.say("reread");
        let reread = Reread::All {
            confirm_deletes: self.rng.once_in(2),
        };
        if let Ok(sync) = self.sync().await {
            let engine = &self.process.engine;
            let asked = engine.reread_collection(&sync, &collection, reread).await;
            self.process
                .world
                .note(|| format!("asked {}", asked.is_ok()));
        }
    }

    async fn drop_a_collection_for_a_while(&mut self) {
        let all = self.process.collections();
        // What is read below a subscription needs it.
        let fit: Vec<&String> = all
            .iter()
            .filter(|id| *id != "stripe:subscription")
            .collect();
        if fit.len() < 2 {
            return;
        }
        let out = (*self.rng.pick(&fit)).clone();
        let purge = self.rng.once_in(2);
        self.say("drop a collection");
        let fewer = all.iter().filter(|id| **id != out).cloned().collect();
        for ids in [fewer, all.clone()] {
            let patch = SyncPatch {
                collection_ids: Some(ids),
                ..SyncPatch::default()
            };
            self.patch(&patch, purge).await;
            self.wait().await;
        }
    }

    async fn remove_and_make_the_sync(&mut self) {
        self.say("remove the sync");
        if self.rng.once_in(2) {
            let id = self.process.sync_id();
            lock(&self.process.world.ledgers).purged.insert(id);
        }
        // From now on, whatever happens, it is removed and another one made.
        self.process.next_sync();
        self.process.set_up().await;
    }

    fn any_consumer(&mut self) -> Uuid {
        consumer_id(self.rng.below(self.process.world.plan.consumers))
    }

    fn ledger<T>(&self, id: Uuid, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledgers = lock(&self.process.world.ledgers);
        change(ledgers.consumers.entry(id).or_default())
    }

    async fn reset(&mut self) {
        let id = self.any_consumer();
        let policy = match self.rng.once_in(2) {
            true => DeliverPolicy::All,
            false => DeliverPolicy::New,
        };
        self.say("reset");
        self.ledger(id, |ledger| ledger.unsure = true);
        let process = Arc::clone(&self.process);
        let (before, _) = process.place(id).await;
        let reset = async || {
            let consumer = process.engine.consumer(ORG, &id.to_string()).await?;
            process.engine.reset_consumer(&consumer, policy).await
        };
        process.insist(reset).await;
        let (generation, last) = process.place(id).await;
        if generation <= before {
            let words = format!("consumer {id}: its tokens of before the reset are good");
            process.world.violated(words);
        }
        let from = match policy {
            DeliverPolicy::All => 0,
            _ => last,
        };
        self.ledger(id, |ledger| {
            ledger.begin(generation, from);
            ledger.changes += 1;
            ledger.unsure = false;
        });
    }

    async fn redrive(&mut self) {
        let id = self.any_consumer();
        self.say("redrive");
        let process = Arc::clone(&self.process);
        let redrive = async || {
            let consumer = process.engine.consumer(ORG, &id.to_string()).await?;
            process.engine.redrive(&consumer, None).await
        };
        process.insist(redrive).await;
    }

    /// Changes a consumer, and what is known of it once that is done.
    async fn change(&self, id: Uuid, change: impl Fn(&mut HttpConsumer)) {
        self.ledger(id, |ledger| ledger.unsure = true);
        let process = &self.process;
        let update = async || {
            let consumer = process.engine.consumer(ORG, &id.to_string()).await?;
            let mut value = consumer.value.clone();
            change(&mut value);
            process.engine.update_consumer(consumer, value).await
        };
        let (view, _) = process.insist(update).await;
        let value = view.consumer.value;
        // It never goes back: what is behind now may have been passed over.
        let (_, last) = process.place(id).await;
        self.ledger(id, |ledger| {
            if ledger.filters != value.filters {
                ledger.from = ledger.from.max(last);
            }
            ledger.settle_on(&value);
        });
        process.audit_one(id, &mut None).await;
    }

    async fn change_the_filter(&mut self) {
        let id = self.any_consumer();
        let all = self.process.collections();
        let some: BTreeSet<String> = all.into_iter().filter(|_| self.rng.once_in(2)).collect();
        let collections = (!some.is_empty()).then_some(some);
        let deleted = *self.rng.pick(&[None, None, Some(false), Some(true)]);
        self.say("filter");
        self.change(id, |value| {
            value.filters.collection_id = collections.clone();
            value.filters.deleted = deleted;
        })
        .await;
    }

    async fn change_the_policy(&mut self) {
        let id = self.any_consumer();
        let ack_wait = self.rng.between(500, 30_000);
        let max_deliver = *self.rng.pick(&[-1, 2, 5]);
        let most = *self.rng.pick(&[1, 5, 100]);
        self.say("policy");
        self.change(id, |value| {
            value.ack_wait_ms = ack_wait;
            value.max_deliver = max_deliver;
            value.max_ack_pending = most;
        })
        .await;
    }
}

impl Process {
    /// The generation of a consumer, and the newest index after it.
    pub(super) async fn place(&self, id: Uuid) -> (u32, u64) {
        let look = async || {
            let mut generation = 0;
            let look = &mut |state: &Consumer| generation = state.generation();
            self.store.inspect(ConsumerId(id), look).await?;
            Ok((generation, self.store.last_idx(STREAM).await?))
        };
        self.insist(look).await
    }
}
