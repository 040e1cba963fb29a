//! What of the consumers' states is in the journal only: the net effect of their steps since their
//! rows were written. A message that was taken and acknowledged meanwhile never becomes a row.

use std::collections::{BTreeMap, HashMap, HashSet};

use headrace_model::delivery::Change;

use super::entry::Plain;

/// By the consumer's number.
#[derive(Debug, Default)]
pub(super) struct Unwritten(HashMap<i64, Consumer>);

#[derive(Debug, Default)]
struct Consumer {
    /// The indexes that may have rows; `None` while that is unknown.
    rows: Option<HashSet<u64>>,
    net: Option<Net>,
}

/// What is done to a consumer's rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// There is one of this index.
    One(u64),
    /// There is none of it any more.
    NoMore(u64),
    /// There is none at all.
    None,
}

/// What is to be written of one consumer.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// How many steps the consumer has made in all.
    pub(crate) seq: i64,
    /// The position after them.
    pub(crate) position: u64,
    /// The last change of each index; `None` where nothing is to be left of it.
    pub(crate) changes: BTreeMap<u64, Option<Change>>,
}

impl Net {
    /// Adds the step that follows.
    pub(super) fn add(&mut self, step: Plain, rows: Option<&HashSet<u64>>) {
        self.seq = step.seq + 1;
        self.position = step.position;
        for change in step.changes {
            match change {
                Change::Put(idx, _) | Change::Hold(idx, _) => {
                    self.changes.insert(idx, Some(change));
                }
                Change::Remove(idx) | Change::Unhold(idx) => {
                    match rows.is_some_and(|rows| !rows.contains(&idx)) {
                        true => self.changes.remove(&idx),
                        false => self.changes.insert(idx, None),
                    };
                }
                _ => {}
            }
        }
    }

    /// Puts what was to be written before under what came after it.
    fn add_older(&mut self, older: Self) {
        for (idx, change) in older.changes {
            self.changes.entry(idx).or_insert(change);
        }
    }
}

impl Unwritten {
    /// A step was journalled.
    pub(super) fn add(&mut self, step: Plain) {
        let consumer = self.0.entry(step.no).or_default();
        let net = consumer.net.get_or_insert_default();
        net.add(step, consumer.rows.as_ref());
    }

    /// These are the rows of the consumer, all written.
    pub(super) fn loaded(&mut self, no: i64, rows: HashSet<u64>) {
        self.0.entry(no).or_default().rows = Some(rows);
    }

    /// This was done to the rows of the consumer.
    pub(super) fn wrote(&mut self, no: i64, changes: &[Rows]) {
        let Some(rows) = self.0.get_mut(&no).and_then(|of| of.rows.as_mut()) else {
            return;
        };
        for change in changes {
            match change {
                Rows::One(idx) => {
                    rows.insert(*idx);
                }
                Rows::NoMore(idx) => {
                    rows.remove(idx);
                }
                Rows::None => rows.clear(),
            }
        }
    }

    /// Whether a step is the one that follows.
    pub(super) fn follows(&self, no: i64, seq: i64) -> bool {
        let net = self.0.get(&no).and_then(|of| of.net.as_ref());
        net.is_none_or(|net| net.seq == seq)
    }

    /// The consumer was removed.
    pub(super) fn forget(&mut self, no: i64) {
        self.0.remove(&no);
    }

    /// Takes what is to be written of a consumer.
    pub(super) fn take(&mut self, no: i64) -> Option<Net> {
        self.0.get_mut(&no)?.take()
    }

    /// Takes what is to be written of all.
    pub(super) fn take_all(&mut self) -> Vec<(i64, Net)> {
        let consumers = self.0.iter_mut();
        let taken = consumers.filter_map(|(no, consumer)| Some((*no, consumer.take()?)));
        taken.collect()
    }

    /// It could not be written. What was taken last is given back first.
    pub(super) fn give_back(&mut self, no: i64, taken: Net) {
        let Consumer { rows, net } = self.0.entry(no).or_default();
        if let Some(rows) = rows {
            rows.extend(taken.changes.keys());
        }
        *net = Some(match net.take() {
            None => taken,
            Some(mut kept) if kept.seq > taken.seq => {
                kept.add_older(taken);
                kept
            }
            Some(kept) => {
                let mut taken = taken;
                taken.add_older(kept);
                taken
            }
        });
    }

    /// Whether there is something to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|consumer| consumer.net.is_none())
    }
}

impl Consumer {
    fn take(&mut self) -> Option<Net> {
        let net = self.net.take()?;
        // A row that turns out not to exist costs a delete of nothing, one that is not known of would
        // stay for ever: what is being written counts as written.
        if let Some(rows) = &mut self.rows {
            for (idx, change) in &net.changes {
                match change {
                    Some(_) => rows.insert(*idx),
                    None => rows.remove(idx),
                };
            }
        }
        Some(net)
    }
}
