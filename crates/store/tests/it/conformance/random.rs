//! A store against the pure machine and a plain list, under random operations.
//!
//! The list is the log as the contract describes it; the machine is told at once of everything that
//! leaves it. Whatever the store does in groups, in memory and on disk must come to the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headrace_model::delivery::{Change, Consumer, Entry, Leased, Policy, Settled, Token};
use headrace_model::record::Observation;
use headrace_model::{LaneNo, RecordId};
use headrace_store::{Counts, Next, Outcome, Selection, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Backend;
use super::world::*;

const LANES: [&str; 3] = ["customer", "invoice", "price"];
const CASES: u32 = 64;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(u8, u8, bool)>),
    Purge(u8, u8),
    Next {
        batch: usize,
        max_bytes: usize,
    },
    Ack(usize),
    Nack(usize, u64),
    Reject(usize),
    Advance(u64),
    /// `torn`: a crash kept what it rejects from being dropped.
    Filter {
        lanes: u8,
        deleted: Option<bool>,
        torn: bool,
    },
    Reset(u64),
    Redrive,
    DropDead,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let token = 0..12_usize;
    let change = (0..5_u8, 0..3_u8, proptest::bool::weighted(0.2));
    let op = prop_oneof![
        8 => proptest::collection::vec(change, 1..8).prop_map(Op::Append),
        2 => (0..5_u8, 0..3_u8).prop_map(|(record, lane)| Op::Purge(record, lane)),
        8 => (1..6_usize, prop_oneof![Just(usize::MAX), 0..20_usize])
            .prop_map(|(batch, max_bytes)| Op::Next { batch, max_bytes }),
        5 => token.clone().prop_map(Op::Ack),
        3 => (token.clone(), 0..9_u64).prop_map(|(token, delay)| Op::Nack(token, delay)),
        4 => token.prop_map(Op::Reject),
        3 => (1..25_u64).prop_map(Op::Advance),
        2 => (1..8_u8, proptest::option::of(any::<bool>()), any::<bool>())
            .prop_map(|(lanes, deleted, torn)| Op::Filter { lanes, deleted, torn }),
        1 => (0..40_u64).prop_map(Op::Reset),
        1 => Just(Op::Redrive),
        1 => Just(Op::DropDead),
        2 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..60)
}

/// An entry of the list.
#[derive(Clone, Copy, Debug)]
struct Version {
    idx: u64,
    record: RecordId,
    lane: usize,
    deleted: bool,
    size: usize,
}

struct World {
    store: Arc<dyn Store>,
    second: i64,
    policy: Policy,
    lanes: u8,
    deleted: Option<bool>,
    log: Vec<Version>,
    last: u64,
    machine: Consumer,
    dead: BTreeSet<RecordId>,
    tokens: Vec<Token>,
    number: u64,
}

pub(crate) fn it_does_what_the_contract_says<B: Backend>() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&ops(), |ops| {
            runtime.block_on(run(&B::new(), &ops));
            Ok(())
        })
        .unwrap();
}

async fn run(backend: &impl Backend, ops: &[Op]) {
    let mut world = World::new(backend.open().await).await;
    for op in ops {
        if matches!(op, Op::Reopen) {
            world.store.close().await.unwrap();
            world.store = backend.open().await;
        } else {
            world.step(op).await;
        }
        world.check().await;
    }
}

fn collection(lane: usize) -> &'static str {
    LANES[lane]
}

fn id_of(record: u8, lane: usize) -> RecordId {
    RecordId::of(SYNC, collection(lane), &record.to_string())
}

impl World {
    async fn new(store: Arc<dyn Store>) -> Self {
        store.create_consumer(STREAM, CONSUMER, 0).await.unwrap();
        let counts = store.counts(CONSUMER, &everything()).await.unwrap();
        Self {
            store,
            second: 1_000,
            policy: Policy {
                ack_wait: Duration::from_secs(20),
                max_deliver: Some(2),
                max_ack_pending: 5,
            },
            lanes: 7,
            deleted: None,
            log: Vec::new(),
            last: 0,
            machine: Consumer::new(0),
            dead: BTreeSet::new(),
            tokens: Vec::new(),
            number: counts.consumer,
        }
    }

    fn matches(&self, version: &Version) -> bool {
        let deleted = self
            .deleted
            .is_none_or(|deleted| deleted == version.deleted);
        self.lanes & (1 << version.lane) != 0 && deleted
    }

    /// The filter as an engine resolves it: the lanes there are.
    async fn selection(&self) -> Selection {
        let known = self.store.lanes(STREAM).await.unwrap();
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

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Append(changes) => self.append(changes).await,
            Op::Purge(record, lane) => {
                let lane = usize::from(*lane);
                let purge = headrace_store::Batch {
                    purge: vec![id_of(*record, lane)],
                    ..batch([])
                };
                let purged = append(&*self.store, self.second, purge).await.purged;
                assert_eq!(purged == 1, self.leave(id_of(*record, lane)), "purged");
                if purged == 1 {
                    self.last += 1;
                    self.dead.remove(&id_of(*record, lane));
                }
            }
            Op::Next { batch, max_bytes } => self.next(*batch, *max_bytes).await,
            Op::Ack(token) => {
                self.settle(*token, |consumer, token| consumer.ack(token))
                    .await;
            }
            Op::Nack(token, delay) => {
                let (now, policy) = (at(self.second), self.policy);
                let delay = Duration::from_secs(*delay);
                self.settle(*token, |consumer, token| {
                    consumer.nack(token, now, delay, None, &policy)
                })
                .await;
            }
            Op::Reject(token) => {
                let now = at(self.second);
                self.settle(*token, |consumer, token| consumer.reject(token, now, None))
                    .await;
            }
            Op::Advance(seconds) => self.second += seconds.cast_signed(),
            Op::Filter {
                lanes,
                deleted,
                torn,
            } => {
                (self.lanes, self.deleted) = (*lanes, *deleted);
                if *torn {
                    return;
                }
                let matching: BTreeSet<u64> = self
                    .log
                    .iter()
                    .filter(|version| self.matches(version))
                    .map(|version| version.idx)
                    .collect();
                self.update(|consumer| consumer.refilter(|idx| matching.contains(&idx)))
                    .await;
            }
            Op::Reset(position) => {
                let position = *position.min(&self.last);
                self.update(|consumer| consumer.reset(position)).await;
            }
            Op::Redrive => self.redrive().await,
            Op::DropDead => {
                let dropped = self.store.drop_dead_letters(CONSUMER, None).await.unwrap();
                assert_eq!(dropped, self.dead.len() as u64);
                self.dead.clear();
            }
            Op::Reopen => {}
        }
        self.note_deaths();
    }

    async fn append(&mut self, changes: &[(u8, u8, bool)]) {
        let mut batches = Vec::new();
        for (record, lane, deleted) in changes {
            // Every version is newer and other than the one before.
            self.second += 3;
            let id = record.to_string();
            let data = format!("{:0width$}", self.second, width = usize::from(*record) + 5);
            let observed: Observation = if *deleted {
                gone(&id, self.second)
            } else {
                seen(&id, self.second, &data)
            };
            batches.push(batch_of(SYNC, collection(usize::from(*lane)), [observed]));
        }
        let now = at(self.second);
        let results = self.store.append(STREAM, now, batches).await.unwrap();
        for ((record, lane, deleted), result) in changes.iter().zip(results) {
            let (lane, record_id) = (usize::from(*lane), id_of(*record, usize::from(*lane)));
            let known = self
                .log
                .iter()
                .find(|version| version.record == record_id)
                .copied();
            let outcome = result.unwrap().outcomes[0];
            if *deleted && known.is_some_and(|known| known.deleted) {
                assert_eq!(outcome, Outcome::Unchanged);
                continue;
            }
            self.last += 1;
            let expected = Outcome::Appended {
                idx: self.last,
                new: known.is_none(),
            };
            assert_eq!(outcome, expected);
            self.leave(record_id);
            let size = match (deleted, known) {
                (false, _) => usize::from(*record) + 5,
                (true, Some(known)) => known.size,
                (true, None) => "null".len(),
            };
            self.log.push(Version {
                idx: self.last,
                record: record_id,
                lane,
                deleted: *deleted,
                size,
            });
        }
    }

    fn leave(&mut self, record: RecordId) -> bool {
        let Some(place) = self.log.iter().position(|version| version.record == record) else {
            return false;
        };
        let left = self.log.remove(place);
        self.machine.supersede(left.idx);
        true
    }

    async fn next(&mut self, batch: usize, max_bytes: usize) {
        let selection = self.selection().await;
        let next = Next {
            now: at(self.second),
            policy: &self.policy,
            selection: &selection,
            upto: self.last,
            batch,
            max_bytes,
        };
        let got = self.store.next(CONSUMER, next).await.unwrap();
        let expected = self.expected_next(batch, max_bytes);
        let leased: Vec<Leased> = got.iter().map(|message| message.leased).collect();
        assert_eq!(leased, expected, "what was delivered");
        for message in &got {
            let known = self
                .log
                .iter()
                .find(|version| version.idx == message.row.idx);
            let known = known.expect("delivered versions are in the log");
            assert_eq!(message.row.record, known.record);
            assert_eq!(message.row.deleted, known.deleted);
            assert_eq!(message.row.data.len(), known.size);
            assert_eq!(message.consumer, self.number);
            self.tokens.push(message.leased.token(message.consumer));
        }
    }

    fn expected_next(&mut self, batch: usize, max_bytes: usize) -> Vec<Leased> {
        let now = at(self.second);
        self.machine.expire(now, &self.policy);
        let mut leased = Vec::new();
        let mut room = max_bytes;
        while leased.len() < batch {
            let wants = self.machine.wants(now, batch - leased.len(), &self.policy);
            let after = self.machine.position();
            let fresh: Vec<Version> = self
                .log
                .iter()
                .filter(|version| version.idx > after && self.matches(version))
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
                let known = self.log.iter().find(|version| version.idx == *idx);
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
            for version in fresh.iter().take_while(|_| !cut) {
                if !fits(version.size) {
                    cut = true;
                    break;
                }
                entries.push(Entry {
                    idx: version.idx,
                    record: version.record,
                });
            }
            cut |= entries.len() < fresh.len();
            for idx in &again {
                let known = self.log.iter().find(|version| version.idx == *idx);
                if !known.is_some_and(|version| self.matches(version)) {
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

    async fn settle(&mut self, nth: usize, act: impl Fn(&mut Consumer, &Token) -> Settled + Sync) {
        let Some(token) = self.tokens.iter().rev().nth(nth).copied() else {
            return;
        };
        let mut got = None;
        self.store
            .update(CONSUMER, &mut |consumer| got = Some(act(consumer, &token)))
            .await
            .unwrap();
        assert_eq!(got, Some(act(&mut self.machine, &token)));
    }

    async fn update(&mut self, step: impl Fn(&mut Consumer) + Sync) {
        self.store
            .update(CONSUMER, &mut |consumer| step(consumer))
            .await
            .unwrap();
        step(&mut self.machine);
    }

    async fn redrive(&mut self) {
        let selection = self.selection().await;
        let count = self
            .store
            .redrive(CONSUMER, None, &selection)
            .await
            .unwrap();
        assert_eq!(count, self.dead.len() as u64, "redriven");
        let current = |record: &RecordId| {
            let current = self.log.iter().find(|version| version.record == *record);
            current
                .filter(|version| self.matches(version))
                .map(|version| version.idx)
        };
        let dead: Vec<_> = self
            .dead
            .iter()
            .map(|record| (*record, current(record)))
            .collect();
        if !dead.is_empty() {
            self.machine.redrive(&dead);
        }
    }

    fn note_deaths(&mut self) {
        for change in self.machine.take_changes() {
            match change {
                Change::Dead(letter) => {
                    self.dead.insert(letter.record);
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

    async fn check(&self) {
        let selection = self.selection().await;
        let beyond = self
            .log
            .iter()
            .filter(|version| version.idx > self.machine.position() && self.matches(version))
            .count();
        let expected = Counts {
            pending: (beyond + self.machine.held()) as u64,
            ack_pending: self.machine.ack_pending() as u64,
            dead: self.dead.len() as u64,
            consumer: self.number,
        };
        let counts = self.store.counts(CONSUMER, &selection).await.unwrap();
        assert_eq!(counts, expected);
        let letters = self.store.dead_letters(CONSUMER, None, 99).await.unwrap();
        let dead: BTreeSet<RecordId> = letters.iter().map(|letter| letter.record).collect();
        assert_eq!(dead, self.dead);
        let expected: Vec<(u64, RecordId)> = self
            .log
            .iter()
            .filter(|version| self.matches(version))
            .map(|version| (version.idx, version.record))
            .collect();
        let page = self
            .store
            .read(STREAM, &selection, all_after(0))
            .await
            .unwrap();
        let rows: Vec<_> = page.rows.iter().map(|row| (row.idx, row.record)).collect();
        assert_eq!(rows, expected);
        let stats = self.store.stats(STREAM).await.unwrap();
        let bytes: usize = self.log.iter().map(|version| version.size).sum();
        assert_eq!(
            (stats.records, stats.bytes),
            (self.log.len() as u64, bytes as u64)
        );
    }
}
