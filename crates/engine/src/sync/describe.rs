//! From what is stored and what runs to what users are shown.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::config::Sync;
use headrace_model::health::{Health, HealthStatus};

use super::board::{Live, Trouble};
use super::state::{Aim, CollectionState, Doubtful, Run, Unseen};
use super::{Activity, BackfillStatus, CollectionStatus, SyncStatus};
use super::{extent, run};

/// The status of a sync; `lives` holds what is known of each collection.
pub(super) fn describe(
    sync: &Sync,
    live: impl Fn(&str) -> Live,
    runs: bool,
    now: Timestamp,
) -> SyncStatus {
    let known: Vec<(&String, Live)> = sync
        .collection_ids
        .iter()
        .map(|id| (id, live(id)))
        .collect();
    let completed = known.iter().map(|(_, live)| live.state.first_completed_at);
    let initial_backfill_completed_at = completed
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().max());
    let described: Vec<(CollectionStatus, HealthStatus)> = known
        .into_iter()
        .map(|(id, live)| collection(id, live, sync, runs, now))
        .collect();
    SyncStatus {
        health: health(&described, now),
        initial_backfill_completed_at,
        collections: described
            .into_iter()
            .map(|(collection, _)| collection)
            .collect(),
    }
}

fn collection(
    id: &str,
    live: Live,
    sync: &Sync,
    runs: bool,
    now: Timestamp,
) -> (CollectionStatus, HealthStatus) {
    let trouble = worst(&live);
    let is_paused = sync.paused.contains(id);
    let status = if !sync.enabled {
        Activity::Disabled
    } else if is_paused {
        Activity::Paused
    } else {
        activity(&live, trouble.as_ref(), runs)
    };
    let warnings = warnings(&live, id);
    let health = match status {
        Activity::Failed => HealthStatus::Error,
        Activity::Retrying => HealthStatus::Warning,
        _ if !warnings.is_empty() => HealthStatus::Warning,
        Activity::Waiting => HealthStatus::Initializing,
        _ if live.state.first_completed_at.is_none() => HealthStatus::Initializing,
        Activity::Backfilling | Activity::Live | Activity::Paused | Activity::Disabled => {
            HealthStatus::Healthy
        }
    };
    let described = CollectionStatus {
        id: id.to_owned(),
        status,
        backfill: backfill(&live, now),
        last_checked_at: live.checked_at,
        lag_ms: live.lag_ms,
        error: trouble.map(|trouble| trouble.words),
        notes: warnings
            .into_iter()
            .chain(remarks(&live, id, status))
            .collect(),
    };
    (described, health)
}

fn worst(live: &Live) -> Option<Trouble> {
    if live.unknown {
        let words = "The provider's definition has no such collection: take it out of the sync.";
        return Some(Trouble {
            words: words.to_owned(),
            stands_still: true,
        });
    }
    let troubles = [&live.trouble, &live.feed_trouble];
    let mut troubles = troubles.into_iter().flatten();
    let first = troubles.next()?;
    let worse = troubles
        .next()
        .filter(|second| second.stands_still && !first.stands_still);
    Some(worse.unwrap_or(first).clone())
}

fn activity(live: &Live, trouble: Option<&Trouble>, runs: bool) -> Activity {
    match trouble {
        Some(trouble) if trouble.stands_still => Activity::Failed,
        Some(_) => Activity::Retrying,
        None if !runs => Activity::Waiting,
        None if reading(&live.state).is_some() => Activity::Backfilling,
        None if live.state.first_completed_at.is_none() => Activity::Waiting,
        None => Activity::Live,
    }
}

/// The reading that is shown as a backfill.
fn reading(state: &CollectionState) -> Option<&Run> {
    state.run.as_ref().filter(|run| !run.aim.is_routine())
}

fn backfill(live: &Live, now: Timestamp) -> BackfillStatus {
    if let Some(reading) = reading(&live.state) {
        let estimated_total = extent::total(reading);
        return BackfillStatus {
            started_at: Some(reading.started_at),
            completed_at: None,
            records: reading.records,
            estimated_total,
            estimated_completion_at: estimated_total
                .and_then(|total| completion(reading, live.reading_since?, total, now)),
            cursor: reading.at.as_ref().map(run::words),
        };
    }
    match &live.state.last {
        None => BackfillStatus::default(),
        Some(last) => BackfillStatus {
            started_at: Some(last.started_at),
            completed_at: Some(last.completed_at),
            records: last.records,
            estimated_total: None,
            estimated_completion_at: None,
            cursor: None,
        },
    }
}

/// When a reading will be complete, if it goes on as fast as since it was taken up.
fn completion(
    reading: &Run,
    (of, since, before): (Timestamp, Timestamp, u64),
    total: u64,
    now: Timestamp,
) -> Option<Timestamp> {
    if of != reading.started_at {
        return None;
    }
    let read = reading
        .records
        .checked_sub(before)
        .filter(|read| *read > 0)?;
    let per_record = now.since(since).as_secs_f64() / read as f64;
    let left = per_record * total.saturating_sub(reading.records) as f64;
    Some(now + Duration::try_from_secs_f64(left).ok()?)
}

/// What somebody should look at.
fn warnings(live: &Live, id: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(gap) = live.state.gap {
        warnings.push(format!(
            "Changes of {id} between {} and {} could not be followed: that is longer ago than the provider tells. {}",
            gap.from,
            gap.to,
            if live.reads_everything() {
                "Everything is read again, and what was deleted is looked for where the provider can be asked for it."
            } else {
                "Everything was read again; what the provider shows no more cannot be had. Start a backfill of the collection to end this warning."
            }
        ));
    }
    if let Some(to) = live.followed_to {
        warnings.push(format!(
            "{id} is catching up: its changes are followed up to {to} so far."
        ));
    }
    if let Some(Unseen { lists, parent, why }) = &live.state.unseen {
        warnings.push(format!(
            "{lists} lists of {id} cannot be read, that of {parent} for one: {why}. What is in them may be missing or older than at the provider; nothing of it is deleted. They are asked for each time."
        ));
    }
    if let Some(Doubtful { gone, held }) = live.state.doubtful {
        warnings.push(format!(
            "At least {gone} of the {held} records of {id} are gone at the provider, which is more than usual. None was deleted: see whether the credential is of the right account and may read everything. If it is true, start a backfill of the collection with \"confirm_deletes\": true."
        ));
    }
    if live.repaired > 0 {
        warnings.push(format!(
            "{} invalid byte sequences in {id} were replaced by U+FFFD.",
            live.repaired
        ));
    }
    if live.unusable > 0 {
        warnings.push(format!(
            "{} events of {id} name no record and were passed over.",
            live.unusable
        ));
    }
    if live.is_ageless {
        warnings.push(format!(
            "max_age_days removes nothing of {id}: the provider's answers tell no time (Date headers), and this machine's clock alone is not trusted with it."
        ));
    }
    if let Some(first) = live.refused.first() {
        warnings.push(format!(
            "The provider refuses to show {} of the records of {id} by id, {first} for one: what changed of them may be missing. Those that the stream has or an event named are asked for again now and then; a backfill of the collection, or of other ids, ends this warning where it is not so any more.",
            live.refused.len()
        ));
    }
    warnings
}

/// What is as it should be, but good to know.
fn remarks(live: &Live, id: &str, status: Activity) -> Vec<String> {
    let mut remarks = Vec::new();
    if status == Activity::Paused {
        remarks.push(format!("{id} is paused."));
    }
    match live.state.run.as_ref().map(|run| &run.aim) {
        Some(Aim::Version) => remarks.push(format!(
            "{id} is read again in another version of the provider's API."
        )),
        Some(Aim::Older) => remarks.push(format!(
            "{id} is read again because max_age_days was raised."
        )),
        _ => {}
    }
    remarks
}

fn health(collections: &[(CollectionStatus, HealthStatus)], time: Timestamp) -> Health {
    let status = collections.iter().map(|(_, health)| *health).max();
    let mut notes: Vec<String> = Vec::new();
    for (collection, _) in collections {
        for note in collection.error.iter().chain(&collection.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
    }
    Health {
        status: status.unwrap_or(HealthStatus::Initializing),
        notes,
        time,
    }
}
