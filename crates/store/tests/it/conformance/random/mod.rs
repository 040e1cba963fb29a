//! A store against the pure machine and a plain list, under random operations.
//!
//! The list is the log as the contract describes it; the machines are told at once of everything that
//! leaves it. Whatever the store does in groups, in memory and on disk must come to the same.

mod list;
mod reader;

use std::sync::Arc;

use headrace_model::record::Observation;
use headrace_store::{Outcome, Store, Sweep};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Backend;
use super::world::*;
use list::{LANES, List, collection, id_of};
use reader::Reader;

const CASES: u32 = 96;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(u8, u8, bool)>),
    Purge(u8, u8),
    /// Tombstones older than so many seconds.
    Sweep {
        age: i64,
        limit: usize,
    },
    Advance(u64),
    Reopen,
    Of(usize, ReaderOp),
}

/// What is done to one consumer.
#[derive(Clone, Debug)]
enum ReaderOp {
    Next {
        batch: usize,
        max_bytes: usize,
    },
    Ack(usize),
    Nack(usize, u64),
    Extend(usize),
    Reject(usize),
    Expire,
    Limits {
        max_deliver: Option<u32>,
        max_ack_pending: u32,
    },
    /// `torn`: a crash kept what it rejects from being dropped.
    Filter {
        lanes: u8,
        deleted: Option<bool>,
        torn: bool,
    },
    Reset(u64),
    Redrive,
    DropDead,
}

fn reader_ops() -> impl Strategy<Value = ReaderOp> {
    let token = 0..12_usize;
    prop_oneof![
        9 => (1..6_usize, prop_oneof![Just(usize::MAX), 0..20_usize])
            .prop_map(|(batch, max_bytes)| ReaderOp::Next { batch, max_bytes }),
        5 => token.clone().prop_map(ReaderOp::Ack),
        3 => (token.clone(), 0..9_u64).prop_map(|(token, delay)| ReaderOp::Nack(token, delay)),
        1 => token.clone().prop_map(ReaderOp::Extend),
        4 => token.prop_map(ReaderOp::Reject),
        2 => Just(ReaderOp::Expire),
        1 => (proptest::option::of(1..4_u32), 1..7_u32).prop_map(|(max_deliver, max_ack_pending)| {
            ReaderOp::Limits { max_deliver, max_ack_pending }
        }),
        2 => (1..8_u8, proptest::option::of(any::<bool>()), any::<bool>())
            .prop_map(|(lanes, deleted, torn)| ReaderOp::Filter { lanes, deleted, torn }),
        1 => (0..40_u64).prop_map(ReaderOp::Reset),
        1 => Just(ReaderOp::Redrive),
        1 => Just(ReaderOp::DropDead),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let change = (0..5_u8, 0..3_u8, proptest::bool::weighted(0.2));
    let reader = prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let op = prop_oneof![
        8 => proptest::collection::vec(change, 1..8).prop_map(Op::Append),
        2 => (0..5_u8, 0..3_u8).prop_map(|(record, lane)| Op::Purge(record, lane)),
        2 => (0..60_i64, 1..4_usize).prop_map(|(age, limit)| Op::Sweep { age, limit }),
        3 => (1..25_u64).prop_map(Op::Advance),
        2 => Just(Op::Reopen),
        30 => (reader, reader_ops()).prop_map(|(reader, op)| Op::Of(reader, op)),
    ];
    proptest::collection::vec(op, 1..80)
}

struct World {
    store: Arc<dyn Store>,
    second: i64,
    list: List,
    readers: Vec<Reader>,
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
    let store = backend.open().await;
    let mut readers = Vec::new();
    for n in 0..2 {
        readers.push(Reader::new(&*store, n).await);
    }
    let mut world = World {
        store,
        second: 1_000,
        list: List::default(),
        readers,
    };
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

impl World {
    async fn step(&mut self, op: &Op) {
        match op {
            Op::Append(changes) => self.append(changes).await,
            Op::Purge(record, lane) => self.purge(*record, usize::from(*lane)).await,
            Op::Sweep { age, limit } => self.sweep(self.second - age, *limit).await,
            Op::Advance(seconds) => self.second += seconds.cast_signed(),
            Op::Reopen => {}
            Op::Of(reader, op) => {
                let (store, now) = (&*self.store, at(self.second));
                self.readers[*reader].step(store, &self.list, now, op).await;
            }
        }
    }

    fn left(&mut self, idx: Option<u64>) {
        for reader in &mut self.readers {
            idx.into_iter()
                .for_each(|idx| reader.machine.supersede(idx));
        }
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
            let known = self.list.of(record_id).copied();
            let outcome = result.unwrap().outcomes[0];
            if *deleted && known.is_some_and(|known| known.deleted) {
                assert_eq!(outcome, Outcome::Unchanged);
                continue;
            }
            let size = match (deleted, known) {
                (false, _) => usize::from(*record) + 5,
                (true, Some(known)) => known.size,
                (true, None) => "null".len(),
            };
            let left = self.list.leave(record_id);
            self.left(left);
            let idx = self.list.push(record_id, lane, *deleted, size, now);
            let new = known.is_none();
            assert_eq!(outcome, Outcome::Appended { idx, new });
        }
    }

    async fn purge(&mut self, record: u8, lane: usize) {
        let record = id_of(record, lane);
        let purge = headrace_store::Batch {
            purge: vec![record],
            ..batch([])
        };
        let purged = append(&*self.store, self.second, purge).await.purged;
        let left = self.list.leave(record);
        assert_eq!(purged == 1, left.is_some(), "purged");
        if purged == 1 {
            self.list.push_purge();
            self.readers
                .iter_mut()
                .for_each(|reader| reader.forget(record));
        }
        self.left(left);
    }

    /// Everything in steps of so many entries. Only those who want a lane keep what is in it.
    async fn sweep(&mut self, before: i64, limit: usize) {
        let lanes = self.store.lanes(STREAM).await.unwrap();
        let masks: Vec<_> = self
            .readers
            .iter()
            .map(|reader| (reader.id, reader.lanes))
            .collect();
        let wants = Arc::new(move |id, no| {
            let lane = lanes.iter().find(|lane| lane.no == no).unwrap();
            let lane = LANES.iter().position(|name| *name == &*lane.collection);
            let mask = masks.iter().find(|(reader, _)| *reader == id).unwrap().1;
            mask & (1 << lane.unwrap()) != 0
        });
        let (mut tombstones, mut purges, mut next) = (0, 0, Some(0));
        while let Some(after) = next {
            let sweep = Sweep {
                tombstones_before: Some(at(before)),
                after,
                upto: self.list.last,
                limit,
                wants: wants.clone(),
            };
            let swept = self.store.sweep(STREAM, sweep).await.unwrap();
            (tombstones, purges) = (tombstones + swept.tombstones, purges + swept.purges);
            assert!(swept.tombstones <= limit && swept.purges <= limit);
            next = swept.next;
        }
        let readers = &self.readers;
        let expected = self.list.sweep(at(before), |entry| {
            let wanted = |reader: &Reader| reader.still_wants(entry);
            readers.iter().any(wanted)
        });
        assert_eq!((tombstones, purges), expected, "swept");
    }

    async fn check(&mut self) {
        for reader in &mut self.readers {
            reader.check(&*self.store, &self.list).await;
        }
        let stats = self.store.stats(STREAM).await.unwrap();
        let bytes: usize = self.list.entries.iter().map(|entry| entry.size).sum();
        assert_eq!(
            (stats.records, stats.bytes),
            (self.list.entries.len() as u64, bytes as u64)
        );
    }
}
