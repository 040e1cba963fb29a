//! What one consumer's workers were given, and what they did about it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use tokio::time::Instant;

use super::ACK_WAIT;
use super::ledger::Record;

/// A message as a worker gets it.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) ack_token: String,
    pub(super) attempts: u32,
    pub(super) record: Record,
}

/// Names one delivery.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    record: String,
    idx: u64,
    attempts: u32,
}

/// What a settlement that is about to be sent must achieve.
pub(super) struct Settlement {
    tokens: Vec<Token>,
    /// Answered before this time, it settles all of its tokens.
    sure_until: Option<Instant>,
}

/// The deliveries of one consumer.
#[derive(Default)]
pub(super) struct Deliveries {
    /// By record, then by index and attempt: the order in which they must have been made.
    by_record: HashMap<String, BTreeMap<(u64, u32), Delivery>>,
    delivered: HashSet<u64>,
    ack_sent: HashSet<u64>,
    /// Versions whose ack was answered, with the attempt that was acked.
    acked: HashMap<u64, u32>,
    /// Deliveries that a worker still has, perhaps across a crash.
    kept: Vec<Token>,
}

/// One delivery. All times are the worker's.
struct Delivery {
    asked_at: Instant,
    got_at: Instant,
    /// When somebody first asked for it to be settled. It may be settled from then on.
    settle_sent_at: Option<Instant>,
}

impl Delivery {
    /// Until then nobody else may have the record. The server's window began after it was asked.
    fn busy_until(&self) -> Instant {
        let window = self.asked_at + ACK_WAIT;
        self.settle_sent_at.map_or(window, |sent| sent.min(window))
    }
}

impl Deliveries {
    /// A worker was given this.
    pub(super) fn receive(
        &mut self,
        message: &Message,
        asked_at: Instant,
        got_at: Instant,
    ) -> Token {
        let Message {
            ack_token,
            attempts,
            record,
        } = message;
        let token = Token {
            text: ack_token.clone(),
            record: record.id.clone(),
            idx: record.updated_idx,
            attempts: *attempts,
        };
        if let Some(acked) = self.acked.get(&token.idx) {
            assert!(
                attempts <= acked,
                "{token:?} was delivered although attempt {acked} was acked"
            );
        }
        let delivery = Delivery {
            asked_at,
            got_at,
            settle_sent_at: None,
        };
        let of_record = self.by_record.entry(token.record.clone()).or_default();
        let at = (token.idx, token.attempts);
        if let Some((earlier, before)) = of_record.range(..at).next_back() {
            assert!(
                got_at >= before.busy_until(),
                "{token:?} was delivered while a worker had {earlier:?}"
            );
        }
        if let Some((later, after)) = of_record.range(at..).next() {
            assert!(
                *later != at,
                "{token:?} was delivered twice as the same attempt"
            );
            assert!(
                after.got_at >= delivery.busy_until(),
                "{later:?} was delivered while a worker had {token:?}, or before it"
            );
        }
        of_record.insert(at, delivery);
        self.delivered.insert(token.idx);
        token
    }

    /// A worker is about to ask for these to be settled.
    pub(super) fn settling(&mut self, tokens: Vec<Token>, is_ack: bool) -> Settlement {
        let now = Instant::now();
        let mut sure_until = tokens.first().map(|_| now + ACK_WAIT);
        for token in &tokens {
            if is_ack {
                self.ack_sent.insert(token.idx);
            }
            let of_record = self.by_record.get_mut(&token.record).unwrap();
            let delivery = of_record.get_mut(&(token.idx, token.attempts)).unwrap();
            let window = delivery.asked_at + ACK_WAIT;
            let is_first = delivery.settle_sent_at.is_none();
            sure_until = sure_until
                .filter(|_| is_first)
                .map(|until| until.min(window));
            delivery.settle_sent_at.get_or_insert(now);
        }
        Settlement { tokens, sure_until }
    }

    /// The settlement was answered.
    pub(super) fn settled(&mut self, settlement: &Settlement, is_ack: bool, settled: usize) {
        let Settlement { tokens, sure_until } = settlement;
        assert!(settled <= tokens.len(), "more settled than asked");
        let is_whole = settled == tokens.len();
        assert!(
            is_whole || sure_until.is_none_or(|until| Instant::now() >= until),
            "{settled} were settled of {tokens:?}, whose windows had not ended"
        );
        if !is_ack || !is_whole {
            // Which of them were settled is not told.
            return;
        }
        for token in tokens {
            let newer = self.by_record[&token.record]
                .range((token.idx, token.attempts + 1)..=(token.idx, u32::MAX))
                .next();
            assert!(
                newer.is_none(),
                "{token:?} was acked although it had been delivered again"
            );
            self.acked.insert(token.idx, token.attempts);
        }
    }

    /// A worker keeps these, and settles them later or never.
    pub(super) fn keep(&mut self, tokens: Vec<Token>) {
        self.kept.extend(tokens);
    }

    /// What workers have kept.
    pub(super) fn take_kept(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.kept)
    }

    /// Whether the version was delivered and somebody tried to ack it.
    pub(super) fn is_done(&self, idx: u64) -> bool {
        self.delivered.contains(&idx) && self.ack_sent.contains(&idx)
    }

    /// Deliveries, and versions whose ack was answered.
    pub(super) fn counts(&self) -> (usize, usize) {
        let deliveries = self.by_record.values().map(BTreeMap::len).sum();
        (deliveries, self.acked.len())
    }
}
