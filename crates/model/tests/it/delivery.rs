//! The delivery state machine against the naive form of its contract, under random interleavings.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace_model::delivery::{
    Change, Consumer, DeadLetter, Entry, LONGEST_DELAY, Phase, Policy, Settled, Token,
};
use headrace_model::{RecordId, Timestamp};
use proptest::prelude::*;

use crate::naive::{End, Naive, State};

#[derive(Clone, Debug)]
enum Op {
    Append {
        record: u8,
        class: u8,
    },
    Purge {
        record: u8,
    },
    Next {
        batch: usize,
    },
    Ack {
        token: usize,
    },
    Nack {
        token: usize,
        delay: u64,
        error: Option<String>,
    },
    Extend {
        token: usize,
    },
    Reject {
        token: usize,
        error: Option<String>,
    },
    Advance {
        seconds: u64,
    },
    SetBack {
        seconds: u64,
    },
    Reload,
    LoseDeliveries,
    Refilter {
        mask: u8,
    },
    Reset {
        position: u64,
    },
    Redrive,
    Limits {
        max_deliver: Option<u32>,
        max_ack_pending: u32,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let token = 0..12_usize;
    let error = proptest::option::of("[a-c]");
    let op = prop_oneof![
        8 => (0..6_u8, 0..3_u8).prop_map(|(record, class)| Op::Append { record, class }),
        1 => (0..6_u8).prop_map(|record| Op::Purge { record }),
        8 => (1..5_usize).prop_map(|batch| Op::Next { batch }),
        5 => token.clone().prop_map(|token| Op::Ack { token }),
        4 => (token.clone(), 0..9_u64, error.clone())
            .prop_map(|(token, delay, error)| Op::Nack { token, delay, error }),
        1 => token.clone().prop_map(|token| Op::Extend { token }),
        2 => (token, error).prop_map(|(token, error)| Op::Reject { token, error }),
        4 => (1..15_u64).prop_map(|seconds| Op::Advance { seconds }),
        1 => prop_oneof![1..30_u64, 86_400..100_000_u64]
            .prop_map(|seconds| Op::SetBack { seconds }),
        1 => Just(Op::Reload),
        1 => Just(Op::LoseDeliveries),
        1 => (1..8_u8).prop_map(|mask| Op::Refilter { mask }),
        1 => (0..30_u64).prop_map(|position| Op::Reset { position }),
        2 => Just(Op::Redrive),
        1 => (proptest::option::of(1..4_u32), 1..7_u32)
            .prop_map(|(max_deliver, max_ack_pending)| Op::Limits { max_deliver, max_ack_pending }),
    ];
    proptest::collection::vec(op, 1..120)
}

/// The real machine and the naive one side by side, with what a store would keep.
struct World {
    now: Timestamp,
    policy: Policy,
    real: Consumer,
    naive: Naive,
    journal: Vec<Change>,
    /// The dead letters, as a store keeps them by the changes.
    dead: BTreeMap<RecordId, DeadLetter>,
    /// Tokens handed out, newest last: acked twice, late and after a reset just as workers do.
    tokens: Vec<Token>,
    /// What a power cut would fall back to while nothing was settled since the last `next`.
    before_next: Option<BeforeNext>,
}

struct BeforeNext {
    journal: usize,
    dead: BTreeMap<RecordId, DeadLetter>,
    naive: Naive,
    tokens: usize,
}

fn record(n: u8) -> RecordId {
    RecordId(u128::from(n) + 1)
}

impl World {
    fn new() -> Self {
        let ack_wait = Duration::from_secs(10);
        let naive = Naive {
            log: Vec::new(),
            dead: Default::default(),
            generation: 1,
            mask: 7,
        };
        Self {
            now: Timestamp::from_seconds(1_000),
            policy: Policy {
                ack_wait,
                max_deliver: Some(3),
                max_ack_pending: 4,
            },
            real: Consumer::new(0),
            naive,
            journal: Vec::new(),
            dead: BTreeMap::new(),
            tokens: Vec::new(),
            before_next: None,
        }
    }

    fn step(&mut self, op: &Op) {
        let is_next = matches!(op, Op::Next { .. });
        match op.clone() {
            Op::Append { record: n, class } => {
                if let Some(left) = self.naive.append(record(n), class) {
                    self.real.supersede(left);
                }
            }
            Op::Purge { record: n } => {
                if let Some(left) = self.naive.leave(record(n)) {
                    self.real.supersede(left);
                }
            }
            Op::Next { batch } => self.next(batch),
            Op::Ack { token } => self.with_token(token, |world, token| {
                let expected = world.naive.ack(token.idx, token.generation, token.attempts);
                (world.real.ack(&token), expected)
            }),
            Op::Nack {
                token,
                delay,
                error,
            } => self.with_token(token, |world, token| {
                let (now, policy) = (world.now, world.policy);
                let delay = Duration::from_secs(delay);
                let name = (token.idx, token.generation, token.attempts);
                let end = End {
                    now,
                    due: now + delay,
                    error: error.clone(),
                    limit: policy.max_deliver,
                };
                let expected = world.naive.give_back(name, end);
                let error = error.as_deref().map(Into::into);
                let settled = world.real.nack(&token, now, delay, error, &policy);
                (settled, expected)
            }),
            Op::Extend { token } => self.with_token(token, |world, token| {
                let name = (token.idx, token.generation, token.attempts);
                let expected = world.naive.extend(name, world.now + world.policy.ack_wait);
                (
                    world.real.extend(&token, world.now, &world.policy),
                    expected,
                )
            }),
            Op::Reject { token, error } => self.with_token(token, |world, token| {
                let now = world.now;
                let name = (token.idx, token.generation, token.attempts);
                let end = End {
                    now,
                    due: now,
                    error: error.clone(),
                    limit: Some(0),
                };
                let expected = world.naive.give_back(name, end);
                (
                    world
                        .real
                        .reject(&token, now, error.as_deref().map(Into::into)),
                    expected,
                )
            }),
            Op::Advance { seconds } => self.now = self.now + Duration::from_secs(seconds),
            Op::SetBack { seconds } => {
                let by = Duration::from_secs(seconds);
                self.now = self.now - by;
                self.real.set_back(self.now, by, &self.policy);
                self.naive.set_back(self.now, by, &self.policy);
            }
            Op::Reload => self.reload(),
            Op::LoseDeliveries => self.lose_deliveries(),
            Op::Refilter { mask } => {
                self.naive.refilter(mask, self.real.position());
                let naive = &self.naive;
                self.real.refilter(|idx| {
                    let version = &naive.log[idx as usize - 1];
                    !version.live || naive.matches(version)
                });
            }
            Op::Reset { position } => {
                let position = position.min(self.naive.last());
                self.naive.reset(position);
                self.real.reset(position);
            }
            Op::Redrive => self.redrive(),
            Op::Limits {
                max_deliver,
                max_ack_pending,
            } => {
                self.policy = Policy {
                    max_deliver,
                    max_ack_pending,
                    ..self.policy
                };
            }
        }
        if !is_next {
            self.before_next = None;
        }
        self.keep();
        self.check();
    }

    /// What a store does with the changes of a step.
    fn keep(&mut self) {
        for change in self.real.take_changes() {
            match &change {
                Change::Dead(letter) => {
                    self.dead.insert(letter.record, letter.clone());
                }
                Change::Undead(record) => {
                    self.dead.remove(record);
                }
                Change::Put(_, entry)
                    if entry.attempts == 1 && matches!(entry.phase, Phase::Leased { .. }) =>
                {
                    self.dead.remove(&entry.record);
                }
                _ => {}
            }
            self.journal.push(change);
        }
    }

    fn next(&mut self, batch: usize) {
        let lost = BeforeNext {
            journal: self.journal.len(),
            dead: self.dead.clone(),
            naive: self.naive.clone(),
            tokens: self.tokens.len(),
        };
        self.real.expire(self.now, &self.policy);
        // An expiry may bury a message: only a `next` that buried none can be taken back whole.
        let buried = |change: &Change| matches!(change, Change::Dead(_));
        let mut real = Vec::new();
        while real.len() < batch {
            let wants = self.real.wants(self.now, batch - real.len(), &self.policy);
            let after = self.real.position();
            let matching =
                |v: &&crate::naive::Version| v.live && v.idx > after && self.naive.matches(v);
            let fresh: Vec<Entry> = self
                .naive
                .log
                .iter()
                .filter(matching)
                .take(wants.fresh)
                .map(|v| Entry {
                    idx: v.idx,
                    record: v.record,
                })
                .collect();
            if wants.again.is_empty() && fresh.is_empty() {
                break;
            }
            let to = fresh.last().map_or(after, |entry| entry.idx);
            real.extend(
                self.real
                    .lease(self.now, &self.policy, &wants.again, &fresh, to),
            );
        }
        self.keep();
        let any_buried = self.journal[lost.journal..].iter().any(buried);
        self.before_next = (!any_buried).then_some(lost);
        let expected = self.naive.next(self.now, batch, &self.policy);
        self.naive.pass(self.real.position());
        let got: Vec<(u64, u32)> = real
            .iter()
            .map(|leased| (leased.idx, leased.attempts))
            .collect();
        assert_eq!(got, expected, "what was delivered");
        self.tokens
            .extend(real.iter().map(|leased| leased.token(1)));
    }

    fn with_token(&mut self, nth: usize, act: impl Fn(&mut Self, Token) -> (Settled, bool)) {
        let Some(token) = self.tokens.iter().rev().nth(nth).copied() else {
            return;
        };
        let (settled, expected) = act(self, token);
        assert_eq!(settled == Settled::Done, expected, "what the token settled");
    }

    fn replay(&self, changes: &[Change]) -> Consumer {
        let mut loaded = Consumer::new(0);
        for change in changes {
            loaded.apply(change);
        }
        loaded.reconcile(|idx| self.naive.live(idx));
        loaded
    }

    fn reload(&mut self) {
        let mut loaded = self.replay(&self.journal);
        let forgotten = loaded.take_changes();
        assert_eq!(loaded, self.real, "what the journal restores");
        self.journal.extend(forgotten);
    }

    fn lose_deliveries(&mut self) {
        if let Some(before) = self.before_next.take() {
            self.journal.truncate(before.journal);
            self.dead = before.dead;
            self.naive = before.naive;
            self.tokens.truncate(before.tokens);
        }
        self.real = self.replay(&self.journal);
        self.real.forget_deliveries(self.now, 1);
        self.naive.forget(self.now);
    }

    fn redrive(&mut self) {
        let Some(dead) = self.naive.dead.keys().next().copied() else {
            return;
        };
        let current = self.naive.redrive(dead, self.real.position());
        self.real.redrive(&[(dead, current)]);
    }

    fn check(&self) {
        let beyond = self
            .naive
            .log
            .iter()
            .filter(|v| v.live && v.idx > self.real.position() && self.naive.matches(v))
            .count();
        assert_eq!(
            self.real.held() + beyond,
            self.naive.pending(),
            "num_pending"
        );
        assert_eq!(
            self.real.ack_pending(),
            self.naive.outstanding(),
            "num_ack_pending"
        );
        assert_eq!(self.real.generation(), self.naive.generation, "generation");
        assert_eq!(self.dead, self.naive.dead, "dead letters");
        for n in 0..6 {
            let current = self
                .naive
                .log
                .iter()
                .find(|v| v.record == record(n) && v.live && self.naive.matches(v))
                .map(|v| v.idx);
            // Beyond the position everything that matches is to come; before it the states tell.
            for idx in [self.naive.last() / 2, self.naive.last()] {
                let applied = self.real.applied(record(n), idx, current);
                assert_eq!(
                    applied,
                    self.naive.applied(record(n), idx),
                    "applied({n}, {idx})"
                );
            }
        }
    }

    /// Workers that ack everything get every live matching version and leave nothing behind.
    fn drain(&mut self) {
        self.policy = Policy {
            max_deliver: None,
            max_ack_pending: 4,
            ..self.policy
        };
        // What was given back before the clock was set back waits for the longest delay.
        self.now = self.now + LONGEST_DELAY;
        for _ in 0..self.naive.log.len() * 2 + 20 {
            self.now = self.now + Duration::from_secs(10);
            let before = self.tokens.len();
            self.step(&Op::Next { batch: 3 });
            for token in self.tokens.split_off(before) {
                assert!(self.naive.ack(token.idx, token.generation, token.attempts));
                assert_eq!(self.real.ack(&token), Settled::Done);
            }
        }
        assert_eq!(
            self.naive.pending() + self.naive.outstanding(),
            0,
            "drained"
        );
        assert_eq!(self.real.ack_pending() + self.real.held(), 0, "drained");
        assert!(
            !self
                .naive
                .log
                .iter()
                .any(|v| matches!(v.state, State::Out { .. }))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn the_machine_keeps_the_contract(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.drain();
    }
}
