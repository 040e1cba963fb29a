//! Workers: good ones, slow ones, forgetful ones.

use std::sync::Arc;
use std::time::Duration;

use headrace_engine::{Caller, Delivery, Settlement, Stored};
use headrace_model::ConsumerId;
use headrace_model::config::{HttpConsumer, Scope};
use headrace_store::Message;
use uuid::Uuid;

use super::account::ORG;
use super::ledger::{Asked, Handed, Ledger};
use super::machine::Process;
use super::rng::Rng;
use super::wire::still_up;
use super::world::lock;

pub(super) struct Worker {
    pub(super) process: Arc<Process>,
    pub(super) consumer: Uuid,
    pub(super) rng: Rng,
}

pub(super) fn caller() -> Caller {
    Caller {
        org: ORG,
        token: Uuid::nil(),
        scopes: [Scope::Consume].into(),
        consumer_ids: None,
        stream_ids: None,
    }
}

impl Worker {
    pub(super) async fn run(mut self) {
        loop {
            let taken = self.take().await;
            let pause = match taken {
                Some((consumer, messages)) if !messages.is_empty() => {
                    self.work(&consumer, messages).await;
                    self.rng.millis(10, 2_000)
                }
                _ => self.rng.millis(1_000, 8_000),
            };
            tokio::time::sleep(pause).await;
            if self.is_bad() {
                self.ack_something_old().await;
            }
        }
    }

    fn is_bad(&self) -> bool {
        let world = &self.process.world;
        world.strikes(world.plan.bad_worker)
    }

    fn ledger<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledgers = lock(&self.process.world.ledgers);
        change(ledgers.consumers.entry(self.consumer).or_default())
    }

    /// Asks for messages.
    async fn take(&mut self) -> Option<(Stored<HttpConsumer>, Vec<Handed>)> {
        let process = Arc::clone(&self.process);
        let (world, engine) = (&process.world, &process.engine);
        let name = self.consumer.to_string();
        let consumer = engine.consumer(ORG, &name).await.ok()?;
        let batch = usize::try_from(self.rng.between(1, 20)).unwrap();
        let wait = match (world.is_calm(), self.rng.once_in(2)) {
            (true, _) => Duration::from_secs(30),
            (false, true) => self.rng.millis(1_000, 20_000),
            (false, false) => Duration::ZERO,
        };
        let (at, steps) = (engine.clock().now(), world.time.steps());
        let changes = self.ledger(|ledger| ledger.changes());
        let delivery = engine.next(&caller(), &consumer, batch, wait).await;
        still_up(world).await;
        let Delivery { messages, book, .. } = delivery.ok()?;
        let answered = engine.clock().now();
        let asked = Asked {
            at,
            steps,
            changes,
            answered,
        };
        if messages.len() > batch {
            world.violated(format!("{} messages, not {batch}", messages.len()));
        }
        for message in &messages {
            let (lane, _) = book.lane(message.row.lane).unwrap();
            self.got(message, &lane.collection, asked);
        }
        let number = ConsumerId(consumer.id).number();
        let hand = |message: &Message| Handed {
            token: message.leased.token(number),
            record: message.row.record,
        };
        Some((consumer, messages.iter().map(hand).collect()))
    }

    /// Looks at a message.
    fn got(&self, message: &Message, collection: &str, asked: Asked) {
        let world = &self.process.world;
        world.note(|| format!("got {:?}", message.leased));
        let mut ledgers = lock(&world.ledgers);
        let seen = ledgers.saw(&message.row);
        let ledger = ledgers.consumers.entry(self.consumer).or_default();
        let is_sure = asked.changes.is_some() && asked.changes == ledger.changes();
        let filtered = match is_sure && !ledger.takes(collection, message.row.deleted) {
            true => Err(format!("the filter does not take {:?}", message.leased)),
            false => Ok(()),
        };
        let checked = seen.and(filtered);
        if let Err(words) = checked.and_then(|()| ledger.delivered(message, asked, &world.time)) {
            world.violated(format!("consumer {}: {words}", self.consumer));
        }
    }

    /// Does the work, or not.
    async fn work(&mut self, consumer: &Stored<HttpConsumer>, messages: Vec<Handed>) {
        let window = consumer.value.ack_wait_ms;
        let mut done = Vec::new();
        for handed in messages {
            if !self.is_bad() {
                done.push(handed);
                continue;
            }
            let settlement = match self.rng.below(6) {
                0 => {
                    // Forgotten.
                    self.ledger(|ledger| ledger.drawer.push(handed));
                    continue;
                }
                1 => {
                    // Too late, perhaps.
                    let late = self.rng.millis(window / 2, window * 2);
                    tokio::time::sleep(late).await;
                    self.ack(consumer, vec![handed.clone()]).await;
                    continue;
                }
                2 => {
                    // Twice.
                    self.ack(consumer, vec![handed.clone()]).await;
                    self.ledger(|ledger| ledger.drawer.push(handed));
                    continue;
                }
                3 => {
                    self.extend(consumer, &handed).await;
                    done.push(handed);
                    continue;
                }
                4 => Settlement {
                    nack: vec![(handed.token, self.rng.millis(0, 20_000), None)],
                    ..Settlement::default()
                },
                _ => Settlement {
                    reject: vec![(handed.token, Some("no".into()))],
                    ..Settlement::default()
                },
            };
            self.ledger(|ledger| ledger.lets_go(&handed));
            self.settle(consumer, &settlement).await;
        }
        let takes = self.rng.millis(0, window / 2);
        tokio::time::sleep(takes).await;
        self.ack(consumer, done).await;
    }

    async fn ack(&self, consumer: &Stored<HttpConsumer>, done: Vec<Handed>) {
        if done.is_empty() {
            return;
        }
        let settlement = Settlement {
            ack: done.iter().map(|handed| handed.token).collect(),
            ..Settlement::default()
        };
        let acking = |ledger: &mut Ledger| {
            let first = done.iter().filter(|handed| ledger.acking(handed));
            first.collect::<Vec<_>>()
        };
        let stale = |ledger: &mut Ledger| done.iter().filter(|old| ledger.is_stale(old)).count();
        let (stale, first) = (self.ledger(stale), self.ledger(acking));
        let settled = self.settle(consumer, &settlement).await;
        let most = (done.len() - stale) as u64;
        if settled.is_some_and(|settled| settled > most) {
            let words = format!("{settled:?} were settled of {done:?}, and {stale} were stale");
            self.process.world.violated(words);
        }
        match settled {
            Some(0) => self.ledger(|ledger| first.iter().for_each(|handed| ledger.refused(handed))),
            Some(all) if all == done.len() as u64 => {
                self.ledger(|ledger| done.iter().for_each(|handed| ledger.acked(handed)));
            }
            // Which of them counted is not told, or nothing is.
            Some(_) | None => {}
        }
    }

    async fn extend(&self, consumer: &Stored<HttpConsumer>, handed: &Handed) {
        let settlement = Settlement {
            extend: vec![handed.token],
            ..Settlement::default()
        };
        let world = &self.process.world;
        let (at, steps) = (self.process.engine.clock().now(), world.time.steps());
        let until = at + Duration::from_millis(consumer.value.ack_wait_ms);
        if self.settle(consumer, &settlement).await == Some(1) {
            self.ledger(|ledger| ledger.extended(handed, until, steps));
        }
    }

    async fn ack_something_old(&mut self) {
        let old = self.ledger(|ledger| ledger.drawer.pop());
        let name = self.consumer.to_string();
        if let Some(old) = old
            && let Ok(consumer) = self.process.engine.consumer(ORG, &name).await
        {
            self.ack(&consumer, vec![old]).await;
        }
    }

    /// How many of the tokens did something; `None` where nobody knows.
    async fn settle(&self, consumer: &Stored<HttpConsumer>, asked: &Settlement) -> Option<u64> {
        let world = &self.process.world;
        let settled = self.process.engine.settle(consumer, asked).await;
        still_up(world).await;
        let settled = settled.ok()?.settled;
        world.note(|| format!("settled {settled} of {asked:?}"));
        Some(settled)
    }
}
