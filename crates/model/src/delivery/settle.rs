//! Settling: ack, nack, extend, reject, and the end of an ack window.

use std::sync::Arc;
use std::time::Duration;

use super::{Change, Consumer, DeadLetter, LONGEST_DELAY, Outstanding, Phase, Policy, Token};
use crate::Timestamp;

/// What a token did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It settled (or extended) its delivery.
    Done,
    /// Its delivery was settled before, expired and went out again, or is no more. Nothing changed.
    Stale,
}

impl Consumer {
    /// The worker is done with the message. Taken late, as long as it has not gone out again.
    pub fn ack(&mut self, token: &Token) -> Settled {
        let Some(entry) = self.delivery(token) else {
            return Settled::Stale;
        };
        if matches!(entry.phase, Phase::Nacked(_)) {
            return Settled::Stale;
        }
        self.remove(token.idx);
        Settled::Done
    }

    /// The worker gives the message back, to be delivered again after `delay`.
    pub fn nack(
        &mut self,
        token: &Token,
        now: Timestamp,
        delay: Duration,
        error: Option<Arc<str>>,
        policy: &Policy,
    ) -> Settled {
        if !self.is_leased(token) {
            return Settled::Stale;
        }
        self.end(
            token.idx,
            now,
            Phase::Nacked(now + delay),
            error,
            policy.max_deliver,
        );
        Settled::Done
    }

    /// The worker needs longer: the ack window starts anew.
    pub fn extend(&mut self, token: &Token, now: Timestamp, policy: &Policy) -> Settled {
        let Some(entry) = self.delivery(token) else {
            return Settled::Stale;
        };
        let Phase::Leased { gone, .. } = entry.phase else {
            return Settled::Stale;
        };
        let phase = Phase::Leased {
            until: now + policy.ack_wait,
            gone,
        };
        self.put(token.idx, Outstanding { phase, ..entry });
        Settled::Done
    }

    /// The worker will never manage this message: to the dead letters, whatever the limit.
    pub fn reject(&mut self, token: &Token, now: Timestamp, error: Option<Arc<str>>) -> Settled {
        if !self.is_leased(token) {
            return Settled::Stale;
        }
        self.end(token.idx, now, Phase::Nacked(now), error, Some(0));
        Settled::Done
    }

    /// Ends every ack window that has passed. Called before each `next` and on a timer.
    pub fn expire(&mut self, now: Timestamp, policy: &Policy) {
        while let Some((until, idx)) = self.deadlines.first().copied() {
            if until > now {
                break;
            }
            self.end(idx, now, Phase::Expired(until), None, policy.max_deliver);
        }
    }

    /// The clock was set back by so much: what was to happen by itself happens that much earlier, if
    /// not at once. A window that may have begun since is left alone.
    pub fn set_back(&mut self, now: Timestamp, by: Duration, policy: &Policy) {
        self.set_windows_back(now, by, policy);
        self.put_phases(|phase| match phase {
            Phase::Leased { .. } => phase,
            Phase::Expired(at) => Phase::Expired(at.min(now)),
            Phase::Nacked(due) => {
                let latest = (due - by).max(now).min(now + LONGEST_DELAY);
                Phase::Nacked(due.min(latest))
            }
        });
    }

    /// The same of windows only. To do it twice does no harm.
    pub fn set_windows_back(&mut self, now: Timestamp, by: Duration, policy: &Policy) {
        self.put_phases(|phase| match phase {
            Phase::Leased { until, gone } => Phase::Leased {
                until: until.min((until - by).max(now + policy.ack_wait)),
                gone,
            },
            waiting => waiting,
        });
    }

    fn put_phases(&mut self, later: impl Fn(Phase) -> Phase) {
        let changed = self.outstanding.iter().filter_map(|(idx, entry)| {
            let phase = later(entry.phase);
            let entry = entry.clone();
            (phase != entry.phase).then_some((*idx, Outstanding { phase, ..entry }))
        });
        for (idx, entry) in changed.collect::<Vec<_>>() {
            self.put(idx, entry);
        }
    }

    fn delivery(&self, token: &Token) -> Option<Outstanding> {
        let entry = self.outstanding.get(&token.idx)?;
        let same = entry.generation == token.generation && entry.attempts == token.attempts;
        same.then(|| entry.clone())
    }

    fn is_leased(&self, token: &Token) -> bool {
        self.delivery(token)
            .is_some_and(|entry| matches!(entry.phase, Phase::Leased { .. }))
    }

    /// A delivery ends unsettled: the version waits for its next one, dies, or is forgotten because
    /// it has left the log.
    fn end(
        &mut self,
        idx: u64,
        now: Timestamp,
        next: Phase,
        error: Option<Arc<str>>,
        max_deliver: Option<u32>,
    ) {
        let Some(entry) = self.outstanding.get(&idx).cloned() else {
            return;
        };
        if matches!(entry.phase, Phase::Leased { gone: true, .. }) {
            return self.remove(idx);
        }
        let last_error = error.or(match next {
            Phase::Expired(_) => Some("no ack within the ack window".into()),
            Phase::Nacked(_) | Phase::Leased { .. } => entry.last_error.clone(),
        });
        if max_deliver.is_some_and(|limit| entry.attempts >= limit) {
            let Outstanding {
                record, attempts, ..
            } = entry;
            self.remove(idx);
            let dead = DeadLetter {
                record,
                idx,
                attempts,
                last_error,
                died_at: now,
            };
            return self.change(Change::Dead(dead));
        }
        self.put(
            idx,
            Outstanding {
                phase: next,
                last_error,
                ..entry
            },
        );
    }
}
