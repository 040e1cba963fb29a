//! How much there is to read, where the provider tells no totals: how far it has come in time.
//!
//! Lists go from the newest record back. How far back they go is found by a few requests for one
//! record each; what lies between then and the place that was reached is taken to be as dense as what
//! was read. That is an estimate, and is called one.

use headrace_model::Timestamp;
use headrace_model::provider::{Listing, PageCursor};
use headrace_model::quota::Priority;

use super::context::Watched;
use super::failure::{Failure, Next};
use super::state::{Aim, Extent, Run};

/// Shorter readings are over before an estimate helps anybody.
const WORTH_PROBING: u64 = 300;
/// Each halves the time that the oldest record may be in.
const PROBES: u32 = 8;
/// No API that is read has older records: 2005.
const EPOCH: Timestamp = Timestamp::from_seconds(1_104_537_600);

impl Watched {
    /// Finds out how far back a long reading goes, once.
    pub(super) async fn measure(&self, run: &mut Run) -> Result<(), Failure> {
        let Some(reached) = run.at.as_ref().and_then(PageCursor::created) else {
            return Ok(());
        };
        let extent = &mut run.extent;
        // A listing again is not shown as a backfill.
        let is_known = extent.probed || held(extent, &run.aim).is_some();
        let is_known = is_known || run.aim.is_routine();
        if is_known || run.records < WORTH_PROBING {
            return Ok(());
        }
        extent.probed = true;
        let floor = run.aim.from().max(self.context.cutoff());
        match self.oldest(floor.unwrap_or(EPOCH), reached).await {
            Ok(oldest) => extent.oldest = oldest,
            Err(failure) if matches!(failure.next(), Next::Stop | Next::Yield) => {
                return Err(failure);
            }
            // An estimate is not worth more than that.
            Err(failure) => {
                tracing::debug!(sync = %self.context.id, collection = %self.id, "no estimate: {failure}");
            }
        }
        Ok(())
    }

    /// About when the oldest record was created, between these times.
    async fn oldest(
        &self,
        mut nothing_at: Timestamp,
        mut something_at: Timestamp,
    ) -> Result<Option<Timestamp>, Failure> {
        let lister = self.parent().unwrap_or_else(|| self.clone());
        if !lister.collection().tells_its_extent() {
            return Ok(None);
        }
        for _ in 0..PROBES {
            let middle = nothing_at + something_at.since(nothing_at) / 2;
            let listing = Listing {
                created_until: Some(middle),
                page_size: Some(1),
                ..Listing::default()
            };
            let request = lister.collection().list(&listing)?;
            let response = self.context.ask(&request, Priority::Backfill).await?;
            let page = lister
                .collection()
                .parse_page(&listing, &response.answer())?;
            match page.records.first() {
                Some(row) => something_at = row.created_at.map_or(middle, |at| at.min(middle)),
                None => nothing_at = middle,
            }
        }
        Ok(Some(something_at))
    }
}

/// What the stream held, where that tells how much there is to read.
fn held(extent: &Extent, aim: &Aim) -> Option<u64> {
    extent
        .held
        .filter(|_| matches!(aim, Aim::All | Aim::Gap | Aim::Version))
}

/// About how many records a reading will have read in the end.
pub(super) fn total(run: &Run) -> Option<u64> {
    let Extent { newest, oldest, .. } = run.extent;
    if run.is_listed() {
        // What is left is to look for what was deleted: nobody knows how long that takes.
        return None;
    }
    if let Some(held) = held(&run.extent, &run.aim) {
        return Some(held.max(run.records));
    }
    let at = run.at.as_ref()?;
    if matches!(at, PageCursor::List { .. }) {
        // The time begins anew with each list.
        return None;
    }
    let reached = at.created()?;
    let (newest, oldest) = (newest?, oldest?);
    let whole = newest.since(oldest).as_secs_f64();
    let read = newest.since(reached).as_secs_f64();
    if read < whole / 1_000.0 || whole <= 0.0 {
        return None;
    }
    let total = run.records as f64 * (whole / read).max(1.0);
    Some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::super::state::Unseen;
    use super::*;

    fn run(records: u64, reached: i64, extent: Extent) -> Run {
        Run {
            aim: Aim::Initial,
            version: None,
            started_at: EPOCH,
            asked_at: None,
            records,
            changed: 0,
            turned: false,
            parents: 0,
            unseen: Unseen::default(),
            at: Some(PageCursor::At {
                created: Timestamp::from_seconds(reached),
            }),
            unsettled: None,
            sweep: None,
            max_age_days: None,
            extent,
        }
    }

    fn between(newest: i64, oldest: i64) -> Extent {
        Extent {
            newest: Some(Timestamp::from_seconds(newest)),
            oldest: Some(Timestamp::from_seconds(oldest)),
            ..Extent::default()
        }
    }

    #[test]
    fn a_quarter_of_the_time_is_a_quarter_of_the_records() {
        assert_eq!(total(&run(500, 1_750, between(2_000, 1_000))), Some(2_000));
        assert_eq!(total(&run(500, 900, between(2_000, 1_000))), Some(500));
        assert_eq!(total(&run(500, 2_000, between(2_000, 1_000))), None);
        assert_eq!(total(&run(500, 1_000, Extent::default())), None);
    }

    #[test]
    fn what_the_stream_holds_is_the_better_estimate() {
        let held = Extent {
            held: Some(900),
            ..between(2_000, 1_000)
        };
        let again = |records| Run {
            aim: Aim::All,
            ..run(records, 1_750, held)
        };
        assert_eq!(total(&again(500)), Some(900));
        assert_eq!(total(&again(950)), Some(950));
        // What a first reading finds there was kept from before, and may be a part of it.
        assert_eq!(total(&run(500, 1_750, held)), Some(2_000));
    }
}
