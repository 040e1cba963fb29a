//! Handing out: chooses from the live set, reads, leases what was read.

use std::collections::HashMap;

use std::sync::atomic::Ordering;

use headrace_model::delivery::Entry;
use headrace_model::{ConsumerId, RecordId};

use super::consumers::Active;
use super::rows::{Found, Room};
use super::turn::{Safe, Turn};
use super::{SqliteStore, dead};
use crate::{Breakpoint, Message, Next, REDRIVEN_AT_ONCE, Result, Row, breakpoint};

impl SqliteStore {
    /// Leases what is due and what follows. Durable when it answers.
    pub(super) async fn hand_out(
        &self,
        consumer: ConsumerId,
        next: Next<'_>,
    ) -> Result<Vec<Message>> {
        loop {
            let mut turn = self.turn(consumer).await?;
            turn.active.machine.expire(next.now, next.policy);
            self.redrive_on(&mut turn, next.batch, next.selection, next.upto)
                .await?;
            let messages = self.fill(&mut turn, &next).await?;
            let machine = &turn.active.machine;
            // What was dead and does not match has made room for what may.
            let has_more = messages.is_empty()
                && machine.redriving().is_some()
                && machine.ready() < next.batch.min(REDRIVEN_AT_ONCE);
            let buries = self.buries(&turn, &messages).await?;
            match self.submit(&mut turn, buries)? {
                Some(submitted) => {
                    drop(turn);
                    self.until(Safe::FromKills, submitted).await?;
                    if has_more {
                        continue;
                    }
                    breakpoint(Breakpoint::Leased);
                    return Ok(messages);
                }
                None if self.settled(turn).await? => return Ok(messages),
                None => {}
            }
        }
    }

    /// Whether a message may be of a record among the dead letters: its first delivery ends that.
    async fn buries(&self, turn: &Turn, messages: &[Message]) -> Result<bool> {
        if messages.is_empty() {
            return Ok(false);
        }
        // The record may have died in a step that nobody can read yet.
        if turn.cell.unsettled.load(Ordering::SeqCst) > 0 {
            return Ok(true);
        }
        if turn.cell.dead.load(Ordering::SeqCst) <= 0 {
            return Ok(false);
        }
        let no = turn.active.no;
        let records: Vec<RecordId> = messages.iter().map(|message| message.row.record).collect();
        self.readers
            .read_here("look for dead letters", move |db| {
                Ok(!dead::dead_of(db, no, records)?.is_empty())
            })
            .await
    }

    async fn fill(&self, turn: &mut Turn, next: &Next<'_>) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < next.batch {
            let active = &mut *turn.active;
            let (again, fresh) = choose(active, next, next.batch - messages.len());
            if again.is_empty() && fresh.is_empty() {
                break;
            }
            let indexes: Vec<u64> = again.iter().chain(&fresh).copied().collect();
            let room = Room {
                bytes: next.max_bytes.saturating_sub(bytes),
                at_least_one: messages.is_empty(),
            };
            let asked = indexes.len();
            let stream = std::sync::Arc::clone(&active.stream);
            let found = self.rows(&stream, indexes, room).await?;
            let looked_at = found.looked_at;
            let cut = looked_at < asked;
            let leased = lease(&mut turn.active, next, &again, &fresh, found);
            bytes += leased
                .iter()
                .map(|message| message.row.data.len())
                .sum::<usize>();
            messages.extend(leased);
            // Nothing was looked at where the stream was dropped meanwhile.
            if cut && (!messages.is_empty() || looked_at == 0) {
                break;
            }
        }
        Ok(messages)
    }
}

/// The indexes to read: those to deliver again, and what follows the position.
fn choose(active: &mut Active, next: &Next<'_>, batch: usize) -> (Vec<u64>, Vec<u64>) {
    let wants = active.machine.wants(next.now, batch, next.policy);
    active.starved = wants.again.len() + wants.fresh < batch;
    let position = active.machine.position();
    let log = active.stream.log();
    let fresh = log
        .live
        .after(next.selection, position, next.upto, wants.fresh);
    (wants.again, fresh)
}

/// Leases what was read. What is missing has left the log since it was chosen: its successor is ahead.
/// What is due again under a filter that does not take it is done: a crash between a new filter and
/// [`headrace_model::delivery::Consumer::refilter`] heals here.
fn lease(
    active: &mut Active,
    next: &Next<'_>,
    again: &[u64],
    fresh: &[u64],
    found: Found,
) -> Vec<Message> {
    let again = again.get(..found.looked_at).unwrap_or(again);
    let seen = found.looked_at.saturating_sub(again.len());
    let fresh = fresh.get(..seen).unwrap_or(fresh);
    let mut rows: HashMap<u64, Row> = found.rows.into_iter().map(|row| (row.idx, row)).collect();
    // Of what lies beyond, the selection may not know the lane yet.
    let takes = |row: &Row| row.idx > next.upto || next.selection.takes(row.lane, row.deleted);
    for idx in again {
        if !rows.get(idx).is_some_and(takes) {
            active.machine.supersede(*idx);
        }
    }
    let entry = |idx: &u64| {
        let row = rows.get(idx)?;
        Some(Entry {
            idx: row.idx,
            record: row.record,
        })
    };
    let entries: Vec<Entry> = fresh.iter().filter_map(entry).collect();
    let scanned_to = fresh.last().copied().unwrap_or(0);
    let machine = &mut active.machine;
    let leased = machine.lease(next.now, next.policy, again, &entries, scanned_to);
    let message = |leased: headrace_model::delivery::Leased| {
        let row = rows.remove(&leased.idx)?;
        let consumer = active.no.cast_unsigned();
        Some(Message {
            leased,
            consumer,
            row,
        })
    };
    leased.into_iter().filter_map(message).collect()
}
