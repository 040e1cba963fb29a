//! Looks at the consumers' states from within, now and then, and counts anew what they count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use headrace_engine::Error;
use headrace_model::ConsumerId;
use headrace_model::delivery::{Consumer, Phase};
use headrace_model::filter::Filter;
use headrace_store::{Counts, Row};
use uuid::Uuid;

use super::account::{ORG, STREAM};
use super::machine::Process;
use super::wire::still_up;
use super::world::lock;

const EVERY: Duration = Duration::from_secs(11);

/// What a consumer was like.
#[derive(Clone, PartialEq)]
pub(super) struct Look {
    filters: Filter,
    is_applied: bool,
    state: Consumer,
    counts: Counts,
    last: u64,
}

impl Process {
    /// Audits for ever.
    pub(super) async fn audit_forever(&self) {
        let mut audited = HashMap::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let ids: Vec<Uuid> = lock(&self.world.ledgers)
                .consumers
                .keys()
                .copied()
                .collect();
            for id in ids {
                self.audit_one(id, audited.entry(id).or_default()).await;
            }
        }
    }

    /// Audits one consumer, unless nothing has changed since it was last looked at.
    pub(super) async fn audit_one(&self, id: Uuid, looked_at: &mut Option<Look>) {
        let audited = self.audit(id, looked_at).await;
        still_up(&self.world).await;
        // A store that fails can be looked at later.
        if let Ok(Err(words)) = audited {
            self.world.violated(format!("consumer {id}: {words}"));
        }
    }

    /// Whether a consumer counts right and knows what left the log.
    async fn audit(
        &self,
        id: Uuid,
        looked_at: &mut Option<Look>,
    ) -> Result<Result<(), String>, Error> {
        let consumer = self.engine.consumer(ORG, &id.to_string()).await?;
        let filters = consumer.value.filters.clone();
        let last = self.store.last_idx(STREAM).await?;
        let book = self.engine.lane_book(ORG, STREAM).await?;
        let selection = book.select(&filters);
        let before = self.state(id).await?;
        let counts = self.store.counts(ConsumerId(id), &selection).await?;
        let look = Look {
            filters: filters.clone(),
            is_applied: consumer.value.unapplied.is_nothing(),
            state: before.clone(),
            counts,
            last,
        };
        if looked_at.replace(look.clone()) == Some(look) {
            return Ok(Ok(()));
        }
        let rows = self.rows().await?;
        let after = self.state(id).await?;
        let is_still = before == after && last == self.store.last_idx(STREAM).await?;
        if !is_still || rows.iter().any(|row| row.idx > last) {
            return Ok(Ok(()));
        }
        if consumer.value.unapplied.is_nothing() {
            let is_stray = |row: &&Row| !selection.takes(row.lane, row.deleted);
            let stray = rows.iter().filter(is_stray).map(|row| row.idx).find(|idx| {
                let is_out = before.outstanding().any(|(out, _)| out == *idx);
                is_out || before.held_versions().any(|(held, _)| held == *idx)
            });
            if let Some(idx) = stray {
                return Ok(Err(format!(
                    "{idx} is kept, which the filter does not take"
                )));
            }
        }
        let live: HashSet<u64> = rows.iter().map(|row| row.idx).collect();
        let beyond = rows.iter().filter(|row| row.idx > before.position());
        let beyond = beyond
            .filter(|row| selection.takes(row.lane, row.deleted))
            .count();
        Ok(check(&before, counts, &live, beyond as u64))
    }

    async fn state(&self, id: Uuid) -> Result<Consumer, Error> {
        let mut seen = None;
        let look = &mut |state: &Consumer| seen = Some(state.clone());
        self.store.inspect(ConsumerId(id), look).await?;
        Ok(seen.unwrap())
    }
}

fn check(state: &Consumer, counts: Counts, live: &HashSet<u64>, beyond: u64) -> Result<(), String> {
    let mut records = HashSet::new();
    for (idx, entry) in state.outstanding() {
        if !records.insert(entry.record) {
            return Err(format!("two versions of {entry:?} are out"));
        }
        let is_leased = matches!(entry.phase, Phase::Leased { .. });
        if !is_leased && !live.contains(&idx) {
            return Err(format!("{idx} has left the log, and waits: {entry:?}"));
        }
    }
    if let Some((idx, _)) = state.held_versions().find(|(idx, _)| !live.contains(idx)) {
        return Err(format!("{idx} has left the log, and is held"));
    }
    let counted = (counts.pending, counts.ack_pending);
    let right = (state.held() as u64 + beyond, state.ack_pending() as u64);
    match counted == right {
        true => Ok(()),
        false => Err(format!("counts {counted:?}, and should {right:?}")),
    }
}
