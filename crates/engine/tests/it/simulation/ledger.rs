//! What the world outside has seen of the streams and consumers, and whether it may have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use headrace_model::config::HttpConsumer;
use headrace_model::delivery::Token;
use headrace_model::filter::Filter;
use headrace_model::{RecordId, Timestamp};
use headrace_store::{Message, Row};
use uuid::Uuid;

use super::world::Time;

/// No window is that long.
const FAR: Duration = Duration::from_secs(2 * 3_600);

#[derive(Default)]
pub(super) struct Ledgers {
    /// What was shown under each index.
    log: HashMap<u64, Shown>,
    pub(super) consumers: BTreeMap<Uuid, Ledger>,
    /// Syncs whose records were purged.
    pub(super) purged: BTreeSet<Uuid>,
}

#[derive(PartialEq, Debug)]
struct Shown {
    record: RecordId,
    deleted: bool,
    data: bytes::Bytes,
    updated_at: Timestamp,
}

/// What one consumer's workers were given and told.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) filters: Filter,
    pub(super) ack_wait_ms: u64,
    /// The most deliveries that were ever allowed.
    pub(super) max_deliver: Option<u32>,
    /// Something that is being changed may be in effect or not.
    pub(super) unsure: bool,
    /// How often its settings were changed.
    pub(super) changes: u64,
    /// It began anew with this generation.
    pub(super) generation: u32,
    /// Whatever matches and comes after this index is to be delivered.
    pub(super) from: u64,
    tracks: HashMap<RecordId, Track>,
    /// Deliveries of each version whose ack may have counted: generation and attempt.
    acked: HashMap<(RecordId, u64), BTreeSet<(u32, u32)>>,
    /// Tokens that somebody kept.
    pub(super) drawer: Vec<Handed>,
}

/// The newest version of a record that was delivered.
struct Track {
    idx: u64,
    attempts: u32,
    generation: u32,
    /// Until when it is with a worker, and how often the clock had been set by then.
    out: Option<(Timestamp, u64)>,
    /// How often the settings had been changed when it was delivered, and whether that was by an
    /// earlier process.
    changes: u64,
    is_of_earlier: bool,
    acked: bool,
    /// Whether it told that the record was deleted.
    deleted: bool,
}

/// A delivery in a worker's hands.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) token: Token,
    pub(super) record: RecordId,
}

/// When a `next` was asked, and answered.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Timestamp,
    pub(super) steps: u64,
    /// How often the settings had been changed; `None` while that is not known.
    pub(super) changes: Option<u64>,
    pub(super) answered: Timestamp,
}

impl Ledgers {
    /// An entry of the log was shown.
    pub(super) fn saw(&mut self, row: &Row) -> Result<(), String> {
        let shown = Shown {
            record: row.record,
            deleted: row.deleted,
            data: row.data.clone(),
            updated_at: row.updated_at,
        };
        match self.log.get(&row.idx) {
            Some(before) if *before != shown => Err(format!(
                "index {} was {before:?}, and now is {shown:?}",
                row.idx
            )),
            Some(_) => Ok(()),
            None => {
                self.log.insert(row.idx, shown);
                Ok(())
            }
        }
    }
}

impl Ledger {
    /// A message was delivered.
    pub(super) fn delivered(
        &mut self,
        message: &Message,
        asked: Asked,
        time: &Time,
    ) -> Result<(), String> {
        let leased = message.leased;
        if leased.generation < self.generation {
            // Leased before it began anew.
            return Ok(());
        }
        let track = self.tracks.get(&leased.record);
        if let Some(track) = track.filter(|_| !self.unsure) {
            track.check(message, asked, time.steps())?;
        }
        let is_sure = asked.changes.is_some() && asked.changes == self.changes();
        if self.max_deliver.is_some_and(|max| leased.attempts > max) && is_sure {
            return Err(format!("delivered too often: {leased:?}"));
        }
        let ack_wait = Duration::from_millis(self.ack_wait_ms);
        let track = Track {
            idx: leased.idx,
            attempts: leased.attempts,
            generation: leased.generation,
            out: is_sure.then_some((asked.at + ack_wait, asked.steps)),
            changes: self.changes,
            is_of_earlier: false,
            acked: false,
            deleted: message.row.deleted,
        };
        self.tracks.insert(leased.record, track);
        Ok(())
    }

    /// A worker is about to settle this: it may be with another one from now on.
    pub(super) fn lets_go(&mut self, handed: &Handed) {
        if let Some(track) = self.track(handed) {
            track.out = None;
        }
    }

    /// A worker is about to ack this. Whether that counts is not known yet; answers whether it is the
    /// first time that it may.
    pub(super) fn acking(&mut self, handed: &Handed) -> bool {
        self.lets_go(handed);
        let Handed { token, record } = handed;
        let acked = self.acked.entry((*record, token.idx)).or_default();
        acked.insert((token.generation, token.attempts))
    }

    /// Whether this can settle nothing: it was acked, or its record was delivered again since.
    pub(super) fn is_stale(&self, Handed { token, record }: &Handed) -> bool {
        let track = self.tracks.get(record).filter(|_| !self.unsure);
        track.is_some_and(|track| {
            let newest = (track.generation, track.idx, track.attempts);
            track.acked || newest != (token.generation, token.idx, token.attempts)
        })
    }

    /// The ack that was made first with this token was refused: it did not count.
    pub(super) fn refused(&mut self, Handed { token, record }: &Handed) {
        if let Some(acked) = self.acked.get_mut(&(*record, token.idx)) {
            acked.remove(&(token.generation, token.attempts));
        }
    }

    /// Whether the version may have been acked since the consumer began.
    pub(super) fn may_be_done(&self, record: RecordId, idx: u64) -> bool {
        let acked = self.acked.get(&(record, idx));
        let newest = acked.and_then(BTreeSet::last);
        newest.is_some_and(|(generation, _)| *generation >= self.generation)
    }

    /// The ack was taken.
    pub(super) fn acked(&mut self, handed: &Handed) {
        let unsure = self.unsure;
        if let Some(track) = self.track(handed) {
            track.acked = !unsure;
        }
    }

    /// The window was extended.
    pub(super) fn extended(&mut self, handed: &Handed, until: Timestamp, steps: u64) {
        let unsure = self.unsure;
        if let Some(track) = self.track(handed) {
            track.out = (!unsure).then_some((until, steps));
        }
    }

    /// Another process begins. It takes care that no window is longer than if it began now, by the
    /// settings of now or those that follow meanwhile.
    pub(super) fn restarted(&mut self) {
        let (changes, unsure) = (self.changes, self.unsure);
        for track in self.tracks.values_mut() {
            track.is_of_earlier = true;
            track.out = track.out.filter(|_| !unsure && track.changes == changes);
        }
    }

    /// From now on it has these settings.
    pub(super) fn settle_on(&mut self, value: &HttpConsumer) {
        self.unsure = false;
        self.changes += 1;
        let tracks = self.tracks.values_mut();
        tracks
            .filter(|track| track.is_of_earlier)
            .for_each(|track| track.out = None);
        // What the filter takes no more is dropped, whoever has it.
        let wanted = value.filters.deleted;
        let is_alike = Filter {
            deleted: wanted,
            ..self.filters.clone()
        } == value.filters;
        for track in self.tracks.values_mut() {
            let is_taken = is_alike && wanted.is_none_or(|wanted| wanted == track.deleted);
            track.out = track.out.filter(|_| is_taken);
        }
        self.ack_wait_ms = value.ack_wait_ms;
        self.filters = value.filters.clone();
        let limits = self.max_deliver.zip(u32::try_from(value.max_deliver).ok());
        self.max_deliver = limits.map(|(one, other)| one.max(other));
    }

    /// How often its settings were changed, while that is known.
    pub(super) fn changes(&self) -> Option<u64> {
        (!self.unsure).then_some(self.changes)
    }

    /// Whether the filter takes what is in this collection.
    pub(super) fn takes(&self, collection: &str, deleted: bool) -> bool {
        let wanted = self.filters.deleted;
        self.filters.takes_collection(collection) && wanted.is_none_or(|wanted| wanted == deleted)
    }

    /// It begins anew after this index.
    pub(super) fn begin(&mut self, generation: u32, from: u64) {
        self.tracks.clear();
        self.generation = generation;
        self.from = from;
    }

    fn track(&mut self, handed: &Handed) -> Option<&mut Track> {
        let Handed { token, record } = handed;
        self.tracks.get_mut(record).filter(|track| {
            track.idx == token.idx
                && track.attempts == token.attempts
                && track.generation == token.generation
        })
    }
}

impl Track {
    /// Whether this may follow.
    fn check(&self, message: &Message, asked: Asked, steps: u64) -> Result<(), String> {
        let leased = message.leased;
        if leased.idx < self.idx {
            return Err(format!("{leased:?} comes after index {}", self.idx));
        }
        if leased.idx == self.idx && self.acked {
            return Err(format!("{leased:?} was acked"));
        }
        if let Some((until, set)) = self.out
            && set == steps
            && asked.answered < until
            // It began just before the process noticed that the clock was set back by days.
            && until.since(asked.answered) < FAR
        {
            let other = self.idx;
            return Err(format!(
                "{leased:?} is out until {until} as index {other}, and now is {}",
                asked.answered
            ));
        }
        let repeats = leased.idx == self.idx && leased.generation == self.generation;
        if repeats && leased.attempts <= self.attempts {
            return Err(format!("{leased:?} was attempt {} before", self.attempts));
        }
        Ok(())
    }
}
