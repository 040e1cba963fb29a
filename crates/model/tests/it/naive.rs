//! The delivery contract in its most naive form: every version that ever was, each with its own
//! state, looked through from end to end for every question.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace_model::delivery::{DeadLetter, LONGEST_DELAY, Policy};
use headrace_model::{RecordId, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    New,
    Out {
        until: Timestamp,
        generation: u32,
    },
    Wait {
        due: Timestamp,
        expired: bool,
        generation: u32,
    },
    Done,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) idx: u64,
    pub(crate) record: RecordId,
    pub(crate) class: u8,
    pub(crate) live: bool,
    pub(crate) attempts: u32,
    pub(crate) error: Option<String>,
    pub(crate) state: State,
}

/// How a delivery ends unsettled.
pub(crate) struct End {
    pub(crate) now: Timestamp,
    pub(crate) due: Timestamp,
    pub(crate) error: Option<String>,
    pub(crate) limit: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) log: Vec<Version>,
    pub(crate) dead: BTreeMap<RecordId, DeadLetter>,
    pub(crate) generation: u32,
    pub(crate) mask: u8,
}

impl Naive {
    pub(crate) fn matches(&self, version: &Version) -> bool {
        self.mask >> version.class & 1 == 1
    }

    pub(crate) fn live(&self, idx: u64) -> bool {
        self.log.iter().any(|v| v.idx == idx && v.live)
    }

    pub(crate) fn last(&self) -> u64 {
        self.log.len() as u64
    }

    /// Takes the live version of the record out of the log, and tells its index.
    pub(crate) fn leave(&mut self, record: RecordId) -> Option<u64> {
        let version = self.log.iter_mut().find(|v| v.record == record && v.live)?;
        version.live = false;
        if !matches!(version.state, State::Out { .. }) {
            version.state = State::Done;
        }
        Some(version.idx)
    }

    pub(crate) fn append(&mut self, record: RecordId, class: u8) -> Option<u64> {
        let left = self.leave(record);
        let idx = self.last() + 1;
        self.log.push(Version {
            idx,
            record,
            class,
            live: true,
            attempts: 0,
            error: None,
            state: State::New,
        });
        left
    }

    fn end(&mut self, at: usize, next: State, end: End) {
        let version = &mut self.log[at];
        version.error = end.error.or(version.error.take());
        version.state = if !version.live {
            State::Done
        } else if end.limit.is_some_and(|limit| version.attempts >= limit) {
            let letter = DeadLetter {
                record: version.record,
                idx: version.idx,
                attempts: version.attempts,
                last_error: version.error.as_deref().map(Into::into),
                died_at: end.now,
            };
            self.dead.insert(version.record, letter);
            State::Done
        } else {
            next
        };
    }

    pub(crate) fn expire(&mut self, now: Timestamp, policy: &Policy) {
        for at in 0..self.log.len() {
            if let State::Out { until, generation } = self.log[at].state
                && until <= now
            {
                let next = State::Wait {
                    due: until,
                    expired: true,
                    generation,
                };
                let end = End {
                    now,
                    due: until,
                    error: Some("no ack within the ack window".to_owned()),
                    limit: policy.max_deliver,
                };
                self.end(at, next, end);
            }
        }
    }

    /// What `next` must deliver: (index, attempts), in order.
    pub(crate) fn next(
        &mut self,
        now: Timestamp,
        batch: usize,
        policy: &Policy,
    ) -> Vec<(u64, u32)> {
        self.expire(now, policy);
        let mut due: Vec<(Timestamp, usize)> = Vec::new();
        let mut new: Vec<usize> = Vec::new();
        let mut outstanding = 0;
        for (at, version) in self.log.iter().enumerate() {
            match version.state {
                State::Wait { due: when, .. } if when <= now => due.push((when, at)),
                State::New
                    if version.live && self.matches(version) && !self.is_out(version.record) =>
                {
                    new.push(at);
                }
                State::New | State::Out { .. } | State::Wait { .. } | State::Done => {}
            }
            outstanding += usize::from(matches!(
                version.state,
                State::Out { .. } | State::Wait { .. }
            ));
        }
        due.sort();
        due.truncate(batch);
        let room = (policy.max_ack_pending as usize)
            .saturating_sub(outstanding)
            .min(batch - due.len());
        new.truncate(room);
        let chosen = due.into_iter().map(|(_, at)| at).chain(new);
        let generation = self.generation;
        chosen
            .map(|at| {
                let version = &mut self.log[at];
                version.attempts += 1;
                version.state = State::Out {
                    until: now + policy.ack_wait,
                    generation,
                };
                if version.attempts == 1 {
                    self.dead.remove(&version.record);
                }
                (version.idx, version.attempts)
            })
            .collect()
    }

    fn is_out(&self, record: RecordId) -> bool {
        self.log
            .iter()
            .any(|v| v.record == record && matches!(v.state, State::Out { .. }))
    }

    /// A consumer at `position` never goes back to what did not match when it passed.
    pub(crate) fn pass(&mut self, position: u64) {
        for at in 0..self.log.len() {
            let version = &self.log[at];
            if version.idx <= position && version.state == State::New && !self.matches(version) {
                self.log[at].state = State::Done;
            }
        }
    }

    fn held_by_worker(&self, idx: u64, generation: u32, attempts: u32) -> Option<usize> {
        self.log.iter().position(|v| {
            let same = |g: u32| g == generation && v.attempts == attempts && v.idx == idx;
            matches!(v.state, State::Out { generation, .. } if same(generation))
        })
    }

    pub(crate) fn ack(&mut self, idx: u64, generation: u32, attempts: u32) -> bool {
        let late = self.log.iter().position(|v| {
            let same = |g: u32| g == generation && v.attempts == attempts && v.idx == idx;
            matches!(v.state, State::Wait { expired: true, generation, .. } if same(generation))
        });
        let found = self.held_by_worker(idx, generation, attempts).or(late);
        if let Some(at) = found {
            self.log[at].state = State::Done;
        }
        found.is_some()
    }

    pub(crate) fn give_back(
        &mut self,
        (idx, generation, attempts): (u64, u32, u32),
        end: End,
    ) -> bool {
        let found = self.held_by_worker(idx, generation, attempts);
        if let Some(at) = found {
            let next = State::Wait {
                due: end.due,
                expired: false,
                generation,
            };
            self.end(at, next, end);
        }
        found.is_some()
    }

    pub(crate) fn extend(
        &mut self,
        (idx, generation, attempts): (u64, u32, u32),
        until: Timestamp,
    ) -> bool {
        let found = self.held_by_worker(idx, generation, attempts);
        if let Some(at) = found {
            self.log[at].state = State::Out { until, generation };
        }
        found.is_some()
    }

    pub(crate) fn refilter(&mut self, mask: u8, position: u64) {
        self.mask = mask;
        for at in 0..self.log.len() {
            let version = &self.log[at];
            if version.live && version.idx <= position && !self.matches(version) {
                self.log[at].state = State::Done;
            }
        }
    }

    pub(crate) fn reset(&mut self, position: u64) {
        self.generation += 1;
        for version in &mut self.log {
            let ahead = version.live && version.idx > position;
            version.attempts = 0;
            version.error = None;
            version.state = if ahead { State::New } else { State::Done };
        }
    }

    /// The current version of a dead record, if it is to be delivered again.
    pub(crate) fn redrive(&mut self, record: RecordId, position: u64) -> Option<u64> {
        self.generation += 1;
        self.dead.remove(&record);
        let at = self.log.iter().position(|v| v.record == record && v.live)?;
        let version = &self.log[at];
        if !self.matches(version) || version.idx > position || version.state != State::Done {
            return self.matches(version).then_some(version.idx);
        }
        self.log[at].state = State::New;
        self.log[at].attempts = 0;
        self.log[at].error = None;
        Some(self.log[at].idx)
    }

    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.generation += 1;
        let generation = self.generation;
        for version in &mut self.log {
            if matches!(version.state, State::Out { .. }) {
                let wait = State::Wait {
                    due: now,
                    expired: false,
                    generation,
                };
                version.state = if version.live { wait } else { State::Done };
            }
        }
    }

    pub(crate) fn set_back(&mut self, now: Timestamp, by: Duration, policy: &Policy) {
        let fresh = now + policy.ack_wait;
        for version in &mut self.log {
            match &mut version.state {
                State::Out { until, .. } if *until > fresh => *until = (*until - by).max(fresh),
                State::Out { .. } => {}
                State::Wait {
                    due, expired: true, ..
                } => *due = (*due).min(now),
                State::Wait { due, .. } if *due > now => {
                    *due = (*due - by).clamp(now, now + LONGEST_DELAY);
                }
                State::Wait { .. } => {}
                State::New | State::Done => {}
            }
        }
    }

    pub(crate) fn pending(&self) -> usize {
        let new = |v: &&Version| v.live && v.state == State::New && self.matches(v);
        self.log.iter().filter(new).count()
    }

    pub(crate) fn outstanding(&self) -> usize {
        let out = |v: &&Version| matches!(v.state, State::Out { .. } | State::Wait { .. });
        self.log.iter().filter(out).count()
    }

    pub(crate) fn applied(&self, record: RecordId, idx: u64) -> bool {
        !self.log.iter().any(|v| {
            let open = match v.state {
                State::New => v.live && self.matches(v),
                State::Out { .. } | State::Wait { .. } => true,
                State::Done => false,
            };
            v.record == record && v.idx <= idx && open
        })
    }
}
