//! Messages: handed to workers, settled by them, dead.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::config::HttpConsumer;
use headrace_model::delivery::{
    Consumer, DeadLetter, NotAToken, Outstanding, Phase, Settled, Token,
};
use headrace_model::{ConsumerId, OrgId, RecordId, Timestamp};
use headrace_store::{Counts, Message, Next, Row};
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

/// Dead letters, with the current entries of their records.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The letters.
    pub letters: Vec<(DeadLetter, Option<Row>)>,
    /// The lanes and syncs of their records.
    pub book: LaneBook,
    /// Whether there are more beyond the last one.
    pub more: bool,
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
                let selection = book.select(&consumer.value.filters);
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
        let _open = gate.read().await;
        let consumer = entity::load::<HttpConsumer>(&*self.store, org, id.0).await?;
        let stream = consumer.value.stream_id;
        // The bound first: what the selection does not know yet lies beyond it.
        let upto = self.store.last_idx(stream).await?;
        let book = self.lane_book(org, stream).await?;
        if consumer.value.paused {
            return Ok((consumer, Vec::new(), book));
        }
        let selection = book.select(&consumer.value.filters);
        let policy = consumer.value.policy();
        let now = self.clock.now();
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
        Ok((consumer, messages, book))
    }

    /// Settles deliveries. Tokens that are late, repeated or another consumer's change nothing.
    pub async fn settle(
        &self,
        consumer: &Stored<HttpConsumer>,
        settlement: &Settlement,
    ) -> Result<SettledCounts, Error> {
        let id = ConsumerId(consumer.id);
        let number = id.number();
        let policy = consumer.value.policy();
        let now = self.clock.now();
        let mut counts = SettledCounts::default();
        let step = &mut |state: &mut Consumer| {
            let mut count = |token: &Token, settle: &mut dyn FnMut(&mut Consumer) -> Settled| {
                let mine = token.consumer == number;
                match mine && settle(state) == Settled::Done {
                    true => counts.settled += 1,
                    false => counts.stale += 1,
                }
            };
            let Settlement {
                ack,
                nack,
                extend,
                reject,
            } = settlement;
            for token in ack {
                count(token, &mut |state| state.ack(token));
            }
            for (token, delay, error) in nack {
                count(token, &mut |state| {
                    state.nack(token, now, *delay, error.clone(), &policy)
                });
            }
            for token in extend {
                count(token, &mut |state| state.extend(token, now, &policy));
            }
            for (token, error) in reject {
                count(token, &mut |state| state.reject(token, now, error.clone()));
            }
        };
        self.store.update(id, step).await?;
        self.rates.count(id, now, 0, counts.settled);
        Ok(counts)
    }

    /// Looks at messages without changing anything: what would come next, or what is with workers.
    pub async fn peek(
        &self,
        consumer: &Stored<HttpConsumer>,
        what: Peek,
        from: PeekMark,
        limit: usize,
    ) -> Result<Peeks, Error> {
        let id = ConsumerId(consumer.id);
        let stream = consumer.value.stream_id;
        let book = self.lane_book(consumer.org, stream).await?;
        let selection = book.select(&consumer.value.filters);
        let mut seen: Vec<(u64, RecordId, Option<Outstanding>)> = Vec::new();
        let mut position = 0;
        self.store
            .inspect(id, &mut |state| {
                position = state.position();
                seen = match what {
                    Peek::Available => {
                        let waiting = state.waiting().skip(from.seen);
                        waiting.take(limit + 1).map(owned).collect()
                    }
                    Peek::Delivered => {
                        let leased = |entry: &&(u64, &Outstanding)| {
                            matches!(entry.1.phase, Phase::Leased { .. })
                        };
                        let delivered = state
                            .outstanding()
                            .filter(|entry| leased(&entry))
                            .skip(from.seen)
                            .take(limit + 1);
                        delivered
                            .map(|(idx, entry)| (idx, entry.record, Some(entry.clone())))
                            .collect()
                    }
                };
            })
            .await?;
        let (mut peeked, mut bytes, mut mark) = (Vec::new(), 0, from);
        for (idx, record, entry) in seen {
            if peeked.len() == limit || bytes > MAX_ANSWER_BYTES {
                let next = Some(mark);
                return Ok(Peeks { peeked, book, next });
            }
            mark.seen += 1;
            let row = self.store.record(stream, record).await?;
            if let Some(row) = row.filter(|row| row.idx == idx) {
                bytes += row.data.len();
                peeked.push(Peeked::of(row, entry));
            }
        }
        let mut next = None;
        if what == Peek::Available {
            let range = headrace_store::Range {
                after: position.max(from.idx),
                // At least one: it tells whether there is more.
                limit: (limit - peeked.len()).max(1),
                max_bytes: MAX_ANSWER_BYTES,
                newest_first: false,
            };
            let mut page = self.store.read(stream, &selection, range).await?;
            if peeked.len() == limit {
                page.more = !page.rows.is_empty();
                page.rows.clear();
            }
            mark.idx = page.rows.last().map_or(range.after, |row| row.idx);
            next = page.more.then_some(mark);
            peeked.extend(page.rows.into_iter().map(|row| Peeked::of(row, None)));
        }
        Ok(Peeks { peeked, book, next })
    }

    /// Dead letters with the current bodies of their records.
    pub async fn dead_letters(
        &self,
        consumer: &Stored<HttpConsumer>,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<DeadLetters, Error> {
        let stream = consumer.value.stream_id;
        let book = self.lane_book(consumer.org, stream).await?;
        let id = ConsumerId(consumer.id);
        // One more than asked for tells whether there is more.
        let mut letters = self.store.dead_letters(id, after, limit + 1).await?;
        let beyond = letters.len() > limit;
        letters.truncate(limit);
        let asked = letters.len();
        let (mut found, mut bytes) = (Vec::with_capacity(asked), 0);
        for letter in letters {
            let row = self.store.record(stream, letter.record).await?;
            bytes += row.as_ref().map_or(0, |row| row.data.len());
            found.push((letter, row));
            if bytes > MAX_ANSWER_BYTES {
                break;
            }
        }
        let more = beyond || found.len() < asked;
        Ok(DeadLetters {
            letters: found,
            book,
            more,
        })
    }

    /// Delivers dead records again at attempt 1: these, or all.
    pub async fn redrive(
        &self,
        consumer: &Stored<HttpConsumer>,
        records: Option<&[RecordId]>,
    ) -> Result<u64, Error> {
        let id = ConsumerId(consumer.id);
        let selection = self.selection(consumer).await?;
        if let Some(records) = records {
            return Ok(self.store.redrive(id, Some(records), &selection).await?);
        }
        let (mut count, mut after) = (0, None);
        while let Some(batch) = self.some_dead(id, &mut after).await? {
            count += self.store.redrive(id, Some(&batch), &selection).await?;
        }
        Ok(count)
    }

    /// Forgets dead letters: these, or all.
    pub async fn drop_dead_letters(
        &self,
        consumer: &Stored<HttpConsumer>,
        records: Option<&[RecordId]>,
    ) -> Result<u64, Error> {
        let id = ConsumerId(consumer.id);
        if let Some(records) = records {
            return Ok(self.store.drop_dead_letters(id, Some(records)).await?);
        }
        let (mut count, mut after) = (0, None);
        while let Some(batch) = self.some_dead(id, &mut after).await? {
            count += self.store.drop_dead_letters(id, Some(&batch)).await?;
        }
        Ok(count)
    }

    /// The next dead records, so many as are held at once; `None` at the end.
    async fn some_dead(
        &self,
        consumer: ConsumerId,
        after: &mut Option<RecordId>,
    ) -> Result<Option<Vec<RecordId>>, Error> {
        const AT_ONCE: usize = 1_000;
        let letters = self.store.dead_letters(consumer, *after, AT_ONCE).await?;
        *after = letters.last().map(|letter| letter.record).or(*after);
        let records: Vec<RecordId> = letters.iter().map(|letter| letter.record).collect();
        Ok((!records.is_empty()).then_some(records))
    }
}

/// Which messages to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// What the next call would be given, now or when it is due.
    Available,
    /// What is with workers.
    Delivered,
}

/// How far a look at messages has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeekMark {
    /// Of those that are outstanding or withheld, so many.
    pub seen: usize,
    /// Of those that were never handed out, up to this index.
    pub idx: u64,
}

/// Messages that were looked at.
#[derive(Clone, Debug)]
pub struct Peeks {
    /// The messages.
    pub peeked: Vec<Peeked>,
    /// The lanes and syncs of their records.
    pub book: LaneBook,
    /// From where to go on; `None` at the end.
    pub next: Option<PeekMark>,
}

/// A message that was looked at.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// The record's version.
    pub row: Row,
    /// Deliveries so far.
    pub attempts: u32,
    /// When its ack window ends, or it is due again.
    pub until: Option<Timestamp>,
    /// What the last worker said.
    pub last_error: Option<Arc<str>>,
}

impl Peeked {
    fn of(row: Row, entry: Option<Outstanding>) -> Self {
        let until = entry.as_ref().map(|entry| match entry.phase {
            Phase::Leased { until: at, .. } | Phase::Expired(at) | Phase::Nacked(at) => at,
        });
        let attempts = entry.as_ref().map_or(0, |entry| entry.attempts);
        Self {
            row,
            attempts,
            until,
            last_error: entry.and_then(|entry| entry.last_error),
        }
    }
}

fn owned(
    (idx, record, entry): (u64, RecordId, Option<&Outstanding>),
) -> (u64, RecordId, Option<Outstanding>) {
    (idx, record, entry.cloned())
}
