//! A consumer of the store beside the pure machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headrace_model::delivery::{Change, Consumer, DeadLetter, Entry as Fresh, Leased};
use headrace_model::delivery::{Policy, Settled, Token};
use headrace_model::{ConsumerId, LaneNo, RecordId, Timestamp};
use headrace_store::{Counts, Next, Selection, Store};
use uuid::Uuid;

use super::super::world::*;
use super::ReaderOp;
use super::list::{Entry, LANES, List};

pub(super) struct Reader {
    pub(super) id: ConsumerId,
    /// The lanes that the filter takes, one bit each.
    pub(super) lanes: u8,
    pub(super) machine: Consumer,
    deleted: Option<bool>,
    policy: Policy,
    dead: BTreeMap<RecordId, DeadLetter>,
    tokens: Vec<Token>,
    number: u64,
}

impl Reader {
    pub(super) async fn new(store: &dyn Store, n: u128) -> Self {
        let id = ConsumerId(Uuid::from_u128(100 + n));
        store.create_consumer(STREAM, id, 0).await.unwrap();
        let counts = store.counts(id, &everything()).await.unwrap();
        Self {
            id,
            lanes: 7,
            machine: Consumer::new(0),
            deleted: None,
            policy: Policy {
                ack_wait: Duration::from_secs(20),
                max_deliver: Some(2),
                max_ack_pending: 5,
            },
            dead: BTreeMap::new(),
            tokens: Vec::new(),
            number: counts.consumer,
        }
    }

    pub(super) async fn step(
        &mut self,
        store: &dyn Store,
        list: &List,
        now: Timestamp,
        op: &ReaderOp,
    ) {
        let policy = self.policy;
        match op {
            ReaderOp::Next { batch, max_bytes } => {
                self.next(store, list, now, *batch, *max_bytes).await;
            }
            ReaderOp::Ack(token) => {
                let ack = |consumer: &mut Consumer, token: &Token| consumer.ack(token);
                self.settle(store, *token, ack).await;
            }
            ReaderOp::Nack(token, delay) => {
                let delay = Duration::from_secs(*delay);
                let nack = |consumer: &mut Consumer, token: &Token| {
                    let error = Some(format!("given back for {delay:?}"));
                    consumer.nack(token, now, delay, error.map(Into::into), &policy)
                };
                self.settle(store, *token, nack).await;
            }
            ReaderOp::Extend(token) => {
                let extend =
                    |consumer: &mut Consumer, token: &Token| consumer.extend(token, now, &policy);
                self.settle(store, *token, extend).await;
            }
            ReaderOp::Reject(token) => {
                let reject =
                    |consumer: &mut Consumer, token: &Token| consumer.reject(token, now, None);
                self.settle(store, *token, reject).await;
            }
            ReaderOp::Expire => {
                let next = store.expire(self.id, now, &policy).await.unwrap();
                self.machine.expire(now, &policy);
                assert_eq!(next, self.machine.next_deadline(), "the next deadline");
            }
            ReaderOp::Limits {
                max_deliver,
                max_ack_pending,
            } => {
                self.policy = Policy {
                    max_deliver: *max_deliver,
                    max_ack_pending: *max_ack_pending,
                    ..policy
                };
            }
            ReaderOp::Filter {
                lanes,
                deleted,
                torn,
            } => {
                (self.lanes, self.deleted) = (*lanes, *deleted);
                if !*torn {
                    let matching = list.entries.iter().filter(|entry| self.matches(entry));
                    let matching: BTreeSet<u64> = matching.map(|entry| entry.idx).collect();
                    let refilter =
                        |consumer: &mut Consumer| consumer.refilter(|idx| matching.contains(&idx));
                    self.update(store, refilter).await;
                }
            }
            ReaderOp::Reset(position) => {
                let position = *position.min(&list.last);
                self.update(store, |consumer| consumer.reset(position))
                    .await;
            }
            ReaderOp::Redrive => self.redrive(store, list).await,
            ReaderOp::DropDead => {
                let dropped = store.drop_dead_letters(self.id, None).await.unwrap();
                assert_eq!(dropped, self.dead.len() as u64);
                self.dead.clear();
            }
        }
        self.note_deaths();
    }

    /// A record was purged: it is no dead letter any more.
    pub(super) fn forget(&mut self, record: RecordId) {
        self.dead.remove(&record);
    }

    /// Whether the entry must not be swept on its account.
    pub(super) fn still_wants(&self, entry: &Entry) -> bool {
        let to_come = self.takes_lane(entry) && self.machine.position() < entry.idx;
        let mut outstanding = self.machine.outstanding().map(|(idx, _)| idx);
        let mut held = self.machine.held_versions().map(|(idx, _)| idx);
        to_come
            || outstanding.any(|idx| idx == entry.idx)
            || held.any(|idx| idx == entry.idx)
            || self.dead.contains_key(&entry.record)
    }

    fn takes_lane(&self, entry: &Entry) -> bool {
        self.lanes & (1 << entry.lane) != 0
    }

    fn matches(&self, entry: &Entry) -> bool {
        let deleted = self.deleted.is_none_or(|deleted| deleted == entry.deleted);
        self.takes_lane(entry) && deleted
    }

    /// The filter as an engine resolves it: the lanes there are.
    async fn selection(&self, store: &dyn Store) -> Selection {
        let known = store.lanes(STREAM).await.unwrap();
        let wanted = known.iter().filter(|lane| {
            let n = LANES.iter().position(|name| *name == &*lane.collection);
            self.lanes & (1 << n.unwrap()) != 0
        });
        let lanes: Arc<[LaneNo]> = wanted.map(|lane| lane.no).collect();
        Selection {
            lanes: (self.lanes != 7).then_some(lanes),
            deleted: self.deleted,
        }
    }

    async fn next(
        &mut self,
        store: &dyn Store,
        list: &List,
        now: Timestamp,
        batch: usize,
        max_bytes: usize,
    ) {
        let selection = self.selection(store).await;
        let next = Next {
            now,
            policy: &self.policy,
            selection: &selection,
            upto: list.last,
            batch,
            max_bytes,
        };
        let got = store.next(self.id, next).await.unwrap();
        let expected = self.expected_next(list, now, batch, max_bytes);
        let leased: Vec<Leased> = got.iter().map(|message| message.leased).collect();
        assert_eq!(leased, expected, "what was delivered");
        for message in &got {
            let known = list.at(message.row.idx);
            let known = known.expect("delivered versions are in the log");
            assert_eq!(message.row.record, known.record);
            assert_eq!(message.row.deleted, known.deleted);
            assert_eq!(message.row.data.len(), known.size);
            assert_eq!(message.consumer, self.number);
            self.tokens.push(message.leased.token(message.consumer));
        }
    }

    fn expected_next(
        &mut self,
        list: &List,
        now: Timestamp,
        batch: usize,
        max_bytes: usize,
    ) -> Vec<Leased> {
        self.machine.expire(now, &self.policy);
        let mut leased = Vec::new();
        let mut room = max_bytes;
        while leased.len() < batch {
            let wants = self.machine.wants(now, batch - leased.len(), &self.policy);
            let after = self.machine.position();
            let fresh: Vec<Entry> = list
                .entries
                .iter()
                .filter(|entry| entry.idx > after && self.matches(entry))
                .take(wants.fresh)
                .copied()
                .collect();
            if wants.again.is_empty() && fresh.is_empty() {
                break;
            }
            // Read in this order until the bytes are used up.
            let mut left = room;
            let mut first = leased.is_empty();
            let mut fits = |size: usize| {
                let fits = first || size <= left;
                (first, left) = (false, left.saturating_sub(size));
                fits
            };
            let size_of = |idx: &u64| {
                let known = list.at(*idx);
                known.expect("what is wanted again is in the log").size
            };
            let again: Vec<u64> = wants
                .again
                .iter()
                .copied()
                .take_while(|idx| fits(size_of(idx)))
                .collect();
            let mut cut = again.len() < wants.again.len();
            let mut entries = Vec::new();
            for entry in fresh.iter().take_while(|_| !cut) {
                if !fits(entry.size) {
                    cut = true;
                    break;
                }
                entries.push(Fresh {
                    idx: entry.idx,
                    record: entry.record,
                });
            }
            cut |= entries.len() < fresh.len();
            for idx in &again {
                if !list.at(*idx).is_some_and(|entry| self.matches(entry)) {
                    self.machine.supersede(*idx);
                }
            }
            let to = entries.last().map_or(0, |entry| entry.idx);
            let more = self.machine.lease(now, &self.policy, &again, &entries, to);
            room = more.iter().fold(room, |room, leased| {
                room.saturating_sub(size_of(&leased.idx))
            });
            leased.extend(more);
            if cut && !leased.is_empty() {
                break;
            }
        }
        leased
    }

    async fn settle(
        &mut self,
        store: &dyn Store,
        nth: usize,
        act: impl Fn(&mut Consumer, &Token) -> Settled + Sync,
    ) {
        let Some(token) = self.tokens.iter().rev().nth(nth).copied() else {
            return;
        };
        let mut got = None;
        let step = &mut |consumer: &mut Consumer| got = Some(act(consumer, &token));
        store.update(self.id, step).await.unwrap();
        assert_eq!(got, Some(act(&mut self.machine, &token)));
    }

    async fn update(&mut self, store: &dyn Store, step: impl Fn(&mut Consumer) + Sync) {
        let run = &mut |consumer: &mut Consumer| step(consumer);
        store.update(self.id, run).await.unwrap();
        step(&mut self.machine);
    }

    async fn redrive(&mut self, store: &dyn Store, list: &List) {
        let selection = self.selection(store).await;
        let count = store.redrive(self.id, None, &selection, u64::MAX);
        let count = count.await.unwrap();
        assert_eq!(count, self.dead.len() as u64, "redriven");
        let current = |record: &RecordId| {
            let current = list.of(*record).filter(|entry| self.matches(entry));
            current.map(|entry| entry.idx)
        };
        let dead = self.dead.keys().map(|record| (*record, current(record)));
        let dead: Vec<_> = dead.collect();
        if !dead.is_empty() {
            self.machine.redrive(&dead);
        }
    }

    fn note_deaths(&mut self) {
        for change in self.machine.take_changes() {
            match change {
                Change::Dead(letter) => {
                    self.dead.insert(letter.record, letter);
                }
                Change::Undead(record) => {
                    self.dead.remove(&record);
                }
                Change::Put(_, entry) if entry.attempts == 1 => {
                    self.dead.remove(&entry.record);
                }
                _ => {}
            }
        }
    }

    pub(super) async fn check(&mut self, store: &dyn Store, list: &List) {
        self.note_deaths();
        let selection = self.selection(store).await;
        let to_come = |entry: &&Entry| entry.idx > self.machine.position() && self.matches(entry);
        let beyond = list.entries.iter().filter(to_come).count();
        let expected = Counts {
            pending: (beyond + self.machine.held()) as u64,
            ack_pending: self.machine.ack_pending() as u64,
            dead: self.dead.len() as u64,
            consumer: self.number,
        };
        let counts = store.counts(self.id, &selection).await.unwrap();
        assert_eq!(counts, expected);
        let letters = store.dead_letters(self.id, None, 99).await.unwrap();
        let expected: Vec<DeadLetter> = self.dead.values().cloned().collect();
        assert_eq!(letters, expected);
        let matching = list.entries.iter().filter(|entry| self.matches(entry));
        let expected: Vec<_> = matching.map(|entry| (entry.idx, entry.record)).collect();
        let page = store.read(STREAM, &selection, all_after(0)).await.unwrap();
        let rows: Vec<_> = page.rows.iter().map(|row| (row.idx, row.record)).collect();
        assert_eq!(rows, expected);
    }
}
