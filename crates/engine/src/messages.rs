//! Messages: handed to workers, settled by them, and delivered again after they were given up on.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::config::HttpConsumer;
use headrace_model::delivery::{Consumer, NotAToken, Policy, Settled, Token};
use headrace_model::{ConsumerId, OrgId, RecordId, Timestamp};
use headrace_store::{Counts, Message, Next, REDRIVEN_AT_ONCE};
use tokio::time::Instant;

use crate::entity::{self, Stored};
use crate::records::MAX_ANSWER_BYTES;
use crate::selection::LaneBook;
use crate::tokens::Caller;
use crate::{Engine, Error};

/// Messages for a worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The messages.
    pub messages: Vec<Message>,
    /// The lanes and syncs of their records.
    pub book: LaneBook,
    /// The consumer's counts after it.
    pub counts: Counts,
}

/// What is asked for a delivery.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// Deliveries that are done.
    pub ack: Vec<Token>,
    /// Deliveries given back: when they are due again, and why.
    pub nack: Vec<(Token, Duration, Option<Arc<str>>)>,
    /// Deliveries that need longer.
    pub extend: Vec<Token>,
    /// Deliveries that will never succeed, and why.
    pub reject: Vec<(Token, Option<Arc<str>>)>,
}

impl Settlement {
    /// Settles what the tokens of the consumer with this number name.
    fn apply(
        &self,
        state: &mut Consumer,
        number: u64,
        now: Timestamp,
        policy: &Policy,
    ) -> SettledCounts {
        let Self {
            ack,
            nack,
            extend,
            reject,
        } = self;
        let mut counts = SettledCounts::default();
        let mut count = |token: &Token, settle: &mut dyn FnMut() -> Settled| {
            let mine = token.consumer == number;
            match mine && settle() == Settled::Done {
                true => counts.settled += 1,
                false => counts.stale += 1,
            }
        };
        for token in ack {
            count(token, &mut || state.ack(token));
        }
        for (token, delay, error) in nack {
            count(token, &mut || {
                state.nack(token, now, *delay, error.clone(), policy)
            });
        }
        for token in extend {
            count(token, &mut || state.extend(token, now, policy));
        }
        for (token, error) in reject {
            count(token, &mut || state.reject(token, now, error.clone()));
        }
        counts
    }
}

/// How many of a settlement's tokens did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SettledCounts {
    /// They settled or extended their delivery.
    pub settled: u64,
    /// They were late, repeated, or another consumer's.
    pub stale: u64,
}

/// Reads tokens' texts; an error tells which is none.
pub fn read_tokens<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Token>, (usize, NotAToken)> {
    let numbered = texts.into_iter().enumerate();
    numbered
        .map(|(at, text)| Token::parse(text).map_err(|error| (at, error)))
        .collect()
}

impl Engine {
    /// The next messages, at most `batch`; waits up to `wait` for the first one, as long as the
    /// caller's token is good.
    pub async fn next(
        &self,
        caller: &Caller,
        consumer: &Stored<HttpConsumer>,
        batch: usize,
        wait: Duration,
    ) -> Result<Delivery, Error> {
        let id = ConsumerId(consumer.id);
        let stream = consumer.value.stream_id;
        let mut appended = self.store.watch(stream).await?;
        let mut released = self.store.watch_consumer(id).await?;
        let _place = match wait.is_zero() {
            true => None,
            false => Some(self.waiting.enter(id, consumer.value.max_waiting)?),
        };
        let give_up = Instant::now() + wait;
        let mut waited = false;
        loop {
            // Before looking: what happens from now on ends the wait.
            appended.borrow_and_update();
            released.borrow_and_update();
            let reconfigured = self.reconfigured.notified();
            if waited && !self.still_good(caller).await? {
                return Err(Error::Revoked);
            }
            let (consumer, messages, book) = self.take(consumer.org, id, batch).await?;
            if !messages.is_empty() || Instant::now() >= give_up || self.stop.is_cancelled() {
                let selection = self.selections.of(id, &consumer.value, &book);
                let counts = self.store.counts(id, &selection).await?;
                self.rates
                    .count(id, self.clock.now(), messages.len() as u64, 0);
                return Ok(Delivery {
                    messages,
                    book,
                    counts,
                });
            }
            let until = match consumer.value.paused {
                true => give_up,
                false => give_up.min(self.next_due(&consumer).await?),
            };
            tokio::select! {
                biased;
                _ = appended.changed() => {}
                _ = released.changed() => {}
                () = reconfigured => {}
                () = tokio::time::sleep_until(until) => {}
                () = self.stop.cancelled() => {}
            }
            waited = true;
        }
    }

    /// When something that was given back is due, or a window ends.
    async fn next_due(&self, consumer: &Stored<HttpConsumer>) -> Result<Instant, Error> {
        /// What is due already was just looked for: no sense in looking again at once.
        const PAUSE: Duration = Duration::from_millis(10);
        let (id, policy) = (ConsumerId(consumer.id), consumer.value.policy());
        let now = self.clock.now();
        let due = self.store.expire(id, now, &policy).await?;
        let wait = due.map_or(Duration::from_secs(300), |due| due.since(now));
        Ok(Instant::now() + wait.max(PAUSE))
    }

    /// Takes what is there now, by the consumer's settings of now.
    async fn take(
        &self,
        org: OrgId,
        id: ConsumerId,
        batch: usize,
    ) -> Result<(Stored<HttpConsumer>, Vec<Message>, LaneBook), Error> {
        let gate = self.gates.of(id.0);
        let (_open, consumer) = loop {
            let open = gate.read().await;
            let consumer = entity::load::<HttpConsumer>(&*self.store, org, id.0).await?;
            if consumer.value.unapplied.is_nothing() {
                break (open, consumer);
            }
            drop(open);
            let _closed = gate.write().await;
            self.applied(org, id).await?;
        };
        let stream = consumer.value.stream_id;
        // The bound first: what the selection does not know yet lies beyond it.
        let upto = self.store.last_idx(stream).await?;
        let book = self.lane_book(org, stream).await?;
        if consumer.value.paused {
            return Ok((consumer, Vec::new(), book));
        }
        let selection = self.selections.of(id, &consumer.value, &book);
        let policy = consumer.value.policy();
        let now = self.clock.now();
        self.expiry.saw(now);
        let max_bytes = MAX_ANSWER_BYTES;
        let next = Next {
            now,
            policy: &policy,
            selection: &selection,
            upto,
            batch,
            max_bytes,
        };
        // Before leasing: a caller who hangs up afterwards must not leave a window without a timer.
        self.expiry.expect(id, now + policy.ack_wait);
        let messages = self.store.next(id, next).await?;
        self.expiry.began(id, now, self.clock.now(), false);
        Ok((consumer, messages, book))
    }

    /// Settles deliveries. Tokens that are late, repeated or another consumer's change nothing.
    pub async fn settle(
        &self,
        consumer: &Stored<HttpConsumer>,
        settlement: &Settlement,
    ) -> Result<SettledCounts, Error> {
        let id = ConsumerId(consumer.id);
        let policy = consumer.value.policy();
        let mut now = self.clock.now();
        self.expiry.saw(now);
        if !settlement.nack.is_empty() {
            // A step that shows only behind the wait is waited for as well.
            for _ in 0..2 {
                self.expiry.until_moved(id).await;
                now = self.clock.now();
                self.expiry.saw(now);
            }
        }
        let mut counts = SettledCounts::default();
        // A step may run again: it counts from nothing each time.
        let step = &mut |state: &mut Consumer| {
            counts = settlement.apply(state, id.number(), now, &policy);
        };
        if !settlement.extend.is_empty() {
            // The window may be shorter now than when the timer was set.
            self.expiry.expect(id, now + policy.ack_wait);
        }
        self.store.update(id, step).await?;
        let delays = !settlement.nack.is_empty();
        if delays || !settlement.extend.is_empty() {
            self.expiry.began(id, now, self.clock.now(), delays);
        }
        self.rates.count(id, now, 0, counts.settled);
        Ok(counts)
    }

    /// Delivers dead records again at attempt 1: these, or all.
    pub async fn redrive(
        &self,
        consumer: &Stored<HttpConsumer>,
        records: Option<&[RecordId]>,
    ) -> Result<u64, Error> {
        if records.is_some_and(|records| records.len() > REDRIVEN_AT_ONCE) {
            let reason = format!("must be at most {REDRIVEN_AT_ONCE}; all are redriven with all");
            return Err(Error::invalid("ids", reason));
        }
        let id = ConsumerId(consumer.id);
        // By the filter of now, which nobody changes meanwhile, and one after the other.
        let gate = self.gates.of(id.0);
        let _closed = gate.write().await;
        let consumer = self.applied(consumer.org, id).await?;
        if records.is_some() {
            self.has_room(id).await?;
        }
        // The bound first: what the selection does not know yet lies beyond it.
        let upto = self.store.last_idx(consumer.value.stream_id).await?;
        let selection = self.selection(&consumer).await?;
        let redriving = self.store.redrive(id, records, &selection, upto);
        Ok(redriving.await?)
    }

    /// What is redriven by id is all ready at once: who goes through the dead letters must wait for the
    /// workers, or memory would grow with them.
    async fn has_room(&self, id: ConsumerId) -> Result<(), Error> {
        let mut ready = 0;
        let look = &mut |state: &Consumer| ready = state.ready();
        self.store.inspect(id, look).await?;
        match ready < REDRIVEN_AT_ONCE {
            true => Ok(()),
            false => Err(Error::Conflict(format!(
                "{ready} messages are ready for a worker: redrive more when some of them were taken, or all"
            ))),
        }
    }

    /// The consumer, with what its settings still had to do done. Under its closed gate.
    pub(crate) async fn applied(
        &self,
        org: OrgId,
        id: ConsumerId,
    ) -> Result<Stored<HttpConsumer>, Error> {
        let mut consumer = entity::load::<HttpConsumer>(&*self.store, org, id.0).await?;
        self.apply(&mut consumer).await?;
        Ok(consumer)
    }

    /// Forgets dead letters: these, or all.
    pub async fn drop_dead_letters(
        &self,
        consumer: &Stored<HttpConsumer>,
        records: Option<&[RecordId]>,
    ) -> Result<u64, Error> {
        Ok(self
            .store
            .drop_dead_letters(ConsumerId(consumer.id), records)
            .await?)
    }
}
