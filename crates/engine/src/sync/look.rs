//! What a look at a feed gathers: the newest event of each record wins. Where two are so close that
//! their order cannot be told, or an event's object cannot be used as it is, the record is read by id:
//! once for all events before the read, whether the feed shows the newest first or last.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headrace_model::Timestamp;
use headrace_model::provider::{Action, Event};
use headrace_model::quota::Priority;
use headrace_model::record::{Content, DOUBT, Observation};

use super::context::Watched;
use super::failure::Failure;
use super::settle;

/// Children are listed at most so many times for one event.
const LISTED: usize = 3;

/// Ids of the overlap that are remembered. Beyond it some work is done twice.
const REMEMBERED: usize = 50_000;

/// The events of the overlap that were applied for a collection, so that they are not applied again
/// at each look.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<(String, String), Timestamp>);

impl Seen {
    pub(super) fn has(&self, collection: &str, event: &str) -> bool {
        self.0
            .contains_key(&(collection.to_owned(), event.to_owned()))
    }

    pub(super) fn add(&mut self, collection: String, event: String, at: Timestamp) {
        if self.0.len() < REMEMBERED {
            self.0.insert((collection, event), at);
        }
    }

    /// Keeps those of which this holds, by collection and time.
    pub(super) fn retain(&mut self, keeps: impl Fn(&str, Timestamp) -> bool) {
        self.0.retain(|(collection, _), at| keeps(collection, *at));
    }
}

/// A look that is under way.
pub(super) struct Poll {
    /// The collections it is for, with their positions.
    pub(super) wanted: BTreeMap<String, Timestamp>,
    /// Those of them that cannot get on, and why.
    pub(super) failed: BTreeMap<String, Failure>,
    /// When the page that is being applied was asked for: whatever it has read is read later.
    pub(super) page_at: Timestamp,
    /// Up to when what happened to a record was applied in this look.
    pub(super) handled: HashMap<(String, String), Timestamp>,
    /// The same of parents whose children were listed.
    pub(super) relisted: HashMap<(String, String), Timestamp>,
    pub(super) applied: Vec<(String, String, Timestamp)>,
}

/// What one page of events asks for in one collection.
#[derive(Default)]
pub(super) struct Work {
    pub(super) seen: BTreeMap<String, Observation>,
    pub(super) refetch: BTreeSet<String>,
    pub(super) relist: BTreeSet<String>,
    pub(super) newest: Option<Timestamp>,
    pub(super) unusable: usize,
}

impl Poll {
    pub(super) fn new(wanted: BTreeMap<String, Timestamp>) -> Self {
        Self {
            wanted,
            failed: BTreeMap::new(),
            page_at: Timestamp::from_micros(0),
            handled: HashMap::new(),
            relisted: HashMap::new(),
            applied: Vec::new(),
        }
    }

    /// Notes what an event asks for, in view of what was done for the same record already.
    pub(super) fn add(&mut self, work: &mut Work, collection: &str, event: &Event, action: Action) {
        self.applied
            .push((collection.to_owned(), event.id.clone(), event.at));
        work.newest = work.newest.max(Some(event.at));
        match action {
            Action::Upsert(row) => {
                let id = row.upstream_id.clone();
                self.note(
                    work,
                    collection,
                    id,
                    event.at,
                    Some(settle::event(*row, event.at)),
                );
            }
            Action::Gone(id) => {
                let gone = settle::gone_event(id.clone(), event.at);
                self.note(work, collection, id, event.at, Some(gone));
            }
            Action::Refetch(id) => self.note(work, collection, id, event.at, None),
            Action::Relist { parent_id } => {
                let key = (collection.to_owned(), parent_id.clone());
                let listed = self.relisted.get(&key);
                if listed.is_none_or(|listed| listed.since(event.at) < DOUBT) {
                    self.relisted.insert(key, self.page_at.max(event.at));
                    work.relist.insert(parent_id);
                }
            }
            Action::Unusable => work.unusable += 1,
        }
    }

    /// Notes one record, with what the event shows of it if that can be used.
    fn note(
        &mut self,
        work: &mut Work,
        collection: &str,
        id: String,
        at: Timestamp,
        seen: Option<Observation>,
    ) {
        let key = (collection.to_owned(), id.clone());
        let is_clear = match self.handled.get(&key) {
            Some(handled) if handled.since(at) >= DOUBT => return,
            Some(handled) => at.since(*handled) >= DOUBT,
            None => true,
        };
        match seen {
            Some(seen) if is_clear => {
                work.seen.insert(id, seen);
                self.handled.insert(key, at);
            }
            _ => {
                work.seen.remove(&id);
                work.refetch.insert(id);
                self.handled.insert(key, self.page_at.max(at));
            }
        }
    }
}

/// Applies what a page asks for in one collection.
///
/// What was before `began`, the position that the sync was started with, and of which the stream has
/// nothing: where it was gone, that was applied by an earlier run of the program, and everything that is
/// read by this one is read later. Its tombstone has left, and is not brought back. Where it was there, the
/// event is shown late, and that it is gone since may have been passed over so: it is read.
pub(super) async fn apply_work(
    watched: &Watched,
    work: Work,
    began: Option<Timestamp>,
) -> Result<(), Failure> {
    let mut news = Vec::with_capacity(work.seen.len());
    let mut unknown = HashMap::new();
    for seen in work.seen.into_values() {
        let is_before = |began| seen.updated_at.is_some_and(|at| at + DOUBT < began);
        let is_old = began.is_some_and(is_before);
        if !is_old || watched.is_held(&seen.upstream_id).await? {
            news.push(seen);
        } else if seen.content != Content::Gone {
            match watched.sweeps() {
                true => drop(unknown.insert(seen.upstream_id.clone(), seen)),
                false => news.push(seen),
            }
        }
    }
    let refused = watched.read_wanted(unknown.keys().cloned().collect());
    let refused = refused.await?;
    // Nothing else tells of those.
    news.extend(refused.iter().filter_map(|id| unknown.remove(id)));
    let mut changed = watched.store(news, Vec::new()).await?;
    watched.note_refused(refused).await?;
    changed += watched.refetch(work.refetch, Priority::Refetch).await?;
    for parent in work.relist {
        changed += list_again(watched, &parent).await?;
    }
    let context = &watched.context;
    let lag = work
        .newest
        .filter(|_| changed > 0)
        .map(|newest| context.provider_now().since(newest));
    let lag = lag.and_then(|lag| u64::try_from(lag.as_millis()).ok());
    context.board.set(&watched.id, |live| {
        live.lag_ms = lag.or(live.lag_ms);
        live.unusable += work.unusable;
    });
    Ok(())
}

/// Lists the children of a parent again, once more where they were listed so shortly before that nobody
/// knows which of both is the newer. Answers how many changed.
async fn list_again(watched: &Watched, parent: &str) -> Result<usize, Failure> {
    let mut changed = 0;
    for _ in 0..LISTED {
        let reached = watched.reached().await?;
        let children = watched.children(parent, Priority::Refetch).await?;
        if children.is_whole {
            let ids = children.rows.iter().map(|(row, _)| row.upstream_id.clone());
            changed += watched
                .check_up_on_children(parent, &ids.collect(), Priority::Refetch)
                .await?;
        }
        let seen = watched.observe(children.rows, Priority::Refetch).await?;
        match watched.store_listed(reached, seen, Vec::new()).await {
            Err(Failure::Unsettled { .. }) => watched.context.pause(DOUBT).await?,
            stored => return Ok(changed + stored?),
        }
    }
    Err(Failure::Unsettled { count: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "cus_1";

    fn second(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn what_was_applied_is_forgotten_only_with_its_time() {
        let mut seen = Seen::default();
        seen.add("c".to_owned(), "evt_1".to_owned(), second(10));
        seen.add("c".to_owned(), "evt_2".to_owned(), second(20));
        seen.retain(|_, at| at >= second(15));
        assert!(!seen.has("c", "evt_1") && seen.has("c", "evt_2") && !seen.has("d", "evt_2"));
    }

    /// What a page that was asked for at this time does about events of a record.
    fn page(poll: &mut Poll, page_at: i64, events: &[(i64, bool)]) -> (bool, bool) {
        poll.page_at = second(page_at);
        let mut work = Work::default();
        for (at, usable) in events {
            let at = second(*at);
            let seen = usable.then(|| settle::gone_event(ID.to_owned(), at));
            poll.note(&mut work, "stripe:customer", ID.to_owned(), at, seen);
        }
        (work.seen.contains_key(ID), work.refetch.contains(ID))
    }

    const APPLIED: (bool, bool) = (true, false);
    const READ: (bool, bool) = (false, true);
    const NOTHING: (bool, bool) = (false, false);

    #[test]
    fn one_read_is_enough_for_all_events_before_it() {
        let mut poll = Poll::new(BTreeMap::new());
        assert_eq!(page(&mut poll, 100, &[(90, false), (80, false)]), READ);
        assert_eq!(page(&mut poll, 101, &[(70, false), (98, true)]), NOTHING);
    }

    #[test]
    fn what_happens_after_the_read_is_not_passed_over() {
        for (event, expected) in [
            ((99, false), READ),
            ((100, true), READ),
            ((107, false), READ),
        ] {
            let mut poll = Poll::new(BTreeMap::new());
            assert_eq!(page(&mut poll, 100, &[(50, false)]), READ);
            assert_eq!(page(&mut poll, 110, &[event]), expected, "{event:?}");
        }
        let mut poll = Poll::new(BTreeMap::new());
        assert_eq!(page(&mut poll, 100, &[(50, false)]), READ);
        assert_eq!(page(&mut poll, 110, &[(107, true)]), APPLIED);
    }

    #[test]
    fn the_newest_event_wins_in_either_order() {
        for events in [[(50, true), (60, true)], [(60, true), (50, true)]] {
            let mut poll = Poll::new(BTreeMap::new());
            assert_eq!(page(&mut poll, 100, &events), APPLIED);
            assert_eq!(poll.handled.values().collect::<Vec<_>>(), [&second(60)]);
        }
        let mut poll = Poll::new(BTreeMap::new());
        assert_eq!(page(&mut poll, 100, &[(50, true), (51, true)]), READ);
    }

    #[test]
    fn children_are_listed_again_for_what_happens_after_the_listing() {
        let mut poll = Poll::new(BTreeMap::new());
        let mut listed = |page_at: i64, at: i64| {
            poll.page_at = second(page_at);
            let event = Event {
                id: format!("evt_{at}"),
                at: second(at),
                kind: "customer.subscription.updated".to_owned(),
                object: bytes::Bytes::new(),
                api_version: None,
                data: bytes::Bytes::new(),
            };
            let action = Action::Relist {
                parent_id: "sub_1".to_owned(),
            };
            let mut work = Work::default();
            poll.add(&mut work, "stripe:subscription_item", &event, action);
            !work.relist.is_empty()
        };
        assert!(listed(100, 90));
        assert!(!listed(100, 80));
        assert!(listed(110, 107));
    }
}
