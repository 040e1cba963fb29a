//! What one consumer's workers were given, and what they did about it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

use super::ledger::Record;
use super::{ACK_WAIT, MAX_DELIVER};

/// A message as a worker gets it.
#[derive(Deserialize)]
pub(crate) struct Message {
    pub(crate) ack_token: String,
    pub(crate) attempts: u32,
    pub(crate) record: Record,
}

/// Names one delivery.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    record: String,
    idx: u64,
    attempts: u32,
}

/// What a worker asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Ack,
    Nack(Duration),
    Extend,
    Reject,
}

/// What a settlement that is about to be sent must achieve.
pub(crate) struct Settlement {
    tokens: Vec<Token>,
    act: Act,
    sent_at: Instant,
    /// Answered before this time, it settles all of its tokens.
    sure_until: Option<Instant>,
    /// What it is the first ack of.
    first_acks: Vec<(u64, u32)>,
}

/// The deliveries of one consumer.
#[derive(Clone)]
pub(crate) struct Deliveries {
    /// How long a worker has a message.
    ack_wait: Duration,
    /// By record, then by index and attempt: the order in which they must have been made.
    by_record: HashMap<String, BTreeMap<(u64, u32), Delivery>>,
    delivered: HashSet<u64>,
    /// By index and attempt, what may have been acked.
    ack_sent: BTreeSet<(u64, u32)>,
    /// Versions whose ack was answered, with the attempt that was acked.
    acked: HashMap<u64, u32>,
    /// Versions that were rejected, or given back for the last time, by record; that was answered.
    given_up: HashMap<String, u64>,
    /// Deliveries that a worker still has, perhaps across a crash.
    kept: Vec<Token>,
    /// Before the power was cut, versions were given back for later or to be worked on for longer: they
    /// come not before this time.
    put_off: HashMap<u64, Instant>,
    /// Whether there is a limit of deliveries.
    gives_up: bool,
}

/// One delivery. All times are the worker's.
#[derive(Clone)]
struct Delivery {
    /// When the window of the worker ends. The server's began after it was asked.
    until: Instant,
    got_at: Instant,
    /// It was told that the window began anew.
    is_extended: bool,
    /// When somebody first asked for it to be settled. It may be settled from then on.
    settle_sent_at: Option<Instant>,
    /// It was given back, to come again not before this time.
    due_at: Option<Instant>,
}

impl Delivery {
    /// Until then nobody else may have the record.
    fn busy_until(&self) -> Instant {
        self.settle_sent_at
            .map_or(self.until, |sent| sent.min(self.until))
    }

    /// What was answered puts the version off until then, also when the power was cut.
    fn put_off_until(&self) -> Option<Instant> {
        let is_kept = self.is_extended && self.settle_sent_at.is_none();
        self.due_at.or(is_kept.then_some(self.until))
    }
}

impl Deliveries {
    /// Those of a consumer with this ack window.
    pub(crate) fn new(ack_wait: Duration) -> Self {
        Self {
            ack_wait,
            by_record: HashMap::new(),
            delivered: HashSet::new(),
            ack_sent: BTreeSet::new(),
            acked: HashMap::new(),
            given_up: HashMap::new(),
            kept: Vec::new(),
            put_off: HashMap::new(),
            gives_up: false,
        }
    }

    /// Those of a consumer that gives up.
    pub(crate) fn limited() -> Self {
        Self {
            gives_up: true,
            ..Self::new(ACK_WAIT)
        }
    }

    /// A worker was given this.
    pub(crate) fn receive(
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
        assert!(
            !self.gives_up || *attempts <= MAX_DELIVER,
            "{token:?} is one delivery too many"
        );
        assert!(
            self.given_up.get(&token.record) != Some(&token.idx),
            "{token:?} was delivered although it had been given up on"
        );
        let put_off = self.put_off.get(&token.idx);
        assert!(
            put_off.is_none_or(|until| got_at >= *until),
            "{token:?} was delivered although it had been put off before the power was cut"
        );
        let delivery = Delivery {
            until: asked_at + self.ack_wait,
            got_at,
            is_extended: false,
            settle_sent_at: None,
            due_at: None,
        };
        let of_record = self.by_record.entry(token.record.clone()).or_default();
        let at = (token.idx, token.attempts);
        if let Some((earlier, before)) = of_record.range(..at).next_back() {
            assert!(
                got_at >= before.busy_until(),
                "{token:?} was delivered while a worker had {earlier:?}"
            );
            let is_due = before.due_at.is_none_or(|due_at| got_at >= due_at);
            assert!(
                is_due || earlier.0 != token.idx,
                "{token:?} was delivered before it was due"
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
    pub(crate) fn settling(&mut self, tokens: Vec<Token>, act: Act) -> Settlement {
        let now = Instant::now();
        let mut sure_until = tokens.first().map(|_| now + self.ack_wait);
        let mut first_acks = Vec::new();
        for token in &tokens {
            let ack = (token.idx, token.attempts);
            if act == Act::Ack && self.ack_sent.insert(ack) {
                first_acks.push(ack);
            }
            let of_record = self.by_record.get_mut(&token.record).unwrap();
            let delivery = of_record.get_mut(&(token.idx, token.attempts)).unwrap();
            let window = delivery.until;
            let is_first = delivery.settle_sent_at.is_none();
            sure_until = sure_until
                .filter(|_| is_first)
                .map(|until| until.min(window));
            if act != Act::Extend {
                delivery.settle_sent_at.get_or_insert(now);
            }
        }
        Settlement {
            tokens,
            act,
            sent_at: now,
            sure_until,
            first_acks,
        }
    }

    /// The settlement was answered.
    pub(crate) fn settled(&mut self, settlement: &Settlement, settled: usize) {
        let Settlement {
            tokens,
            act,
            sent_at,
            sure_until,
            first_acks,
        } = settlement;
        assert!(settled <= tokens.len(), "more settled than asked");
        let is_whole = settled == tokens.len();
        assert!(
            is_whole || sure_until.is_none_or(|until| Instant::now() >= until),
            "{settled} were settled of {tokens:?}, whose windows had not ended"
        );
        if settled == 0 {
            // Nothing came of these. Of one that was sent before without an answer nobody knows.
            for ack in first_acks {
                self.ack_sent.remove(ack);
            }
        }
        if !is_whole {
            // Which of them were settled is not told.
            return;
        }
        match *act {
            Act::Ack => self.acked(tokens),
            Act::Nack(delay) => self.given_back(tokens, *sent_at + delay),
            Act::Extend => {
                let until = *sent_at + self.ack_wait;
                for token in tokens {
                    let delivery = self.delivery(token);
                    (delivery.until, delivery.is_extended) = (until, true);
                }
            }
            Act::Reject => self.give_up(tokens.iter()),
        }
    }

    fn delivery(&mut self, token: &Token) -> &mut Delivery {
        let of_record = self.by_record.get_mut(&token.record).unwrap();
        of_record.get_mut(&(token.idx, token.attempts)).unwrap()
    }

    fn given_back(&mut self, tokens: &[Token], due_at: Instant) {
        for token in tokens {
            self.delivery(token).due_at = Some(due_at);
        }
        if self.gives_up {
            self.give_up(tokens.iter().filter(|token| token.attempts >= MAX_DELIVER));
        }
    }

    fn give_up<'a>(&mut self, tokens: impl Iterator<Item = &'a Token>) {
        let versions = tokens.map(|token| (token.record.clone(), token.idx));
        self.given_up.extend(versions);
    }

    fn acked(&mut self, tokens: &[Token]) {
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

    /// The consumer is about to be started anew: from then on everything may come again.
    pub(crate) fn restarting(&mut self) {
        self.by_record.clear();
        self.acked.clear();
        self.given_up.clear();
        self.kept.clear();
        self.put_off.clear();
    }

    /// It was started anew, from the beginning: everything must come again.
    pub(crate) fn restarted(&mut self) {
        self.delivered.clear();
        self.ack_sent.clear();
    }

    /// The power was cut: the newest deliveries may be forgotten, and be made again as the same
    /// attempts. What was acked comes no more, not even as an attempt that was under way, and what was put
    /// off not before its time.
    pub(crate) fn power_was_cut(&mut self) {
        for ((idx, _), delivery) in self.by_record.drain().flat_map(|(_, of_record)| of_record) {
            if let Some(until) = delivery.put_off_until() {
                let latest = self.put_off.entry(idx).or_insert(until);
                *latest = until.max(*latest);
            }
        }
        self.kept.clear();
        self.acked.values_mut().for_each(|attempt| *attempt = 0);
    }

    /// The versions that must be among the dead letters, by record, unless there are newer ones.
    pub(crate) fn given_up(&self) -> HashMap<String, u64> {
        self.given_up.clone()
    }

    /// A worker keeps these, and settles them later or never.
    pub(crate) fn keep(&mut self, tokens: Vec<Token>) {
        self.kept.extend(tokens);
    }

    /// What workers have kept.
    pub(crate) fn take_kept(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.kept)
    }

    /// Whether the version was delivered, and an ack of it counted as far as anybody knows.
    pub(crate) fn is_done(&self, idx: u64) -> bool {
        let acks = self.ack_sent.range((idx, 0)..=(idx, u32::MAX));
        self.delivered.contains(&idx) && acks.count() > 0
    }

    /// Deliveries, and versions whose ack was answered.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let deliveries = self.by_record.values().map(BTreeMap::len).sum();
        (deliveries, self.acked.len())
    }
}
