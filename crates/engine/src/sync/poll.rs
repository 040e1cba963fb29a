//! One look at a feed: all events since the noted positions, each record once.
//!
//! The newest event of a record wins. Where two are so close that their order cannot be told, or an
//! event's object cannot be used as it is, the record is read by id: once for all events before the
//! read, whether the feed shows the newest first or last. Pages are applied as they come; the positions
//! move only at the end, so a crash in between repeats the whole look.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headrace_model::Timestamp;
use headrace_model::provider::{Action, Event, EventPage, Failure as Upstream, PageCursor};
use headrace_model::quota::Priority;
use headrace_model::record::{DOUBT, Observation};
use tokio::time::Instant;

use super::board::Trouble;
use super::context::Watched;
use super::failure::{Failure, Next};
use super::feed::Follower;
use super::settle;
use super::state::Gap;

/// Ids of the overlap that are remembered. Beyond it some work is done twice.
const REMEMBERED: usize = 50_000;

/// What a look found.
pub(super) struct Looked {
    /// Events that had not been applied before.
    pub(super) events: usize,
}

/// The events of the overlap that were applied for a collection, so that they are not applied again
/// at each look.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<(String, String), Timestamp>);

impl Seen {
    fn has(&self, collection: &str, event: &str) -> bool {
        self.0
            .contains_key(&(collection.to_owned(), event.to_owned()))
    }

    fn add(&mut self, collection: String, event: String, at: Timestamp) {
        if self.0.len() < REMEMBERED {
            self.0.insert((collection, event), at);
        }
    }

    fn forget_before(&mut self, time: Timestamp) {
        self.0.retain(|_, at| *at >= time);
    }
}

/// A look that is under way.
struct Poll {
    /// The collections it is for, with their positions.
    wanted: BTreeMap<String, Timestamp>,
    /// Those of them that cannot get on, and why.
    failed: BTreeMap<String, Failure>,
    /// When the page that is being applied was asked for: whatever it has read is read later.
    page_at: Timestamp,
    /// Up to when what happened to a record was applied in this look.
    handled: HashMap<(String, String), Timestamp>,
    /// The same of parents whose children were listed.
    relisted: HashMap<(String, String), Timestamp>,
    applied: Vec<(String, String, Timestamp)>,
}

/// What one page of events asks for in one collection.
#[derive(Default)]
struct Work {
    seen: HashMap<String, Observation>,
    refetch: BTreeSet<String>,
    relist: BTreeSet<String>,
    newest: Option<Timestamp>,
    unusable: usize,
}

impl Follower {
    pub(super) async fn poll(&mut self) -> Result<Looked, Failure> {
        let mut poll = Poll::new(self.ready());
        let mut began_at = None;
        let mut cursor = None;
        while let Some(since) = poll.wanted.values().min().copied() {
            let (page, seen_at) = self.page(since, &mut cursor).await?;
            if began_at.is_none() {
                began_at = Some(seen_at);
                self.find_gaps(&mut poll, seen_at);
            }
            poll.page_at = seen_at;
            self.apply(&mut poll, &page).await?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(self.finish(poll, began_at))
    }

    /// The collections to look for: those that are covered and not held back.
    fn ready(&mut self) -> BTreeMap<String, Timestamp> {
        let now = Instant::now();
        let mut ready = BTreeMap::new();
        for (id, member) in &mut self.members {
            if member.blocked_until.is_some_and(|until| until <= now) {
                member.blocked_until = None;
            }
            if let Some(position) = self.state.positions.get(id)
                && member.blocked_until.is_none()
                && !self.gaps.contains(id)
            {
                ready.insert(id.clone(), *position);
            }
        }
        ready
    }

    async fn page(
        &self,
        since: Timestamp,
        cursor: &mut Option<PageCursor>,
    ) -> Result<(EventPage, Timestamp), Failure> {
        loop {
            let feed = self.feed().ok_or(Failure::Stopped)?;
            let request = feed.list(since, cursor.as_ref());
            match (self.context.ask(&request, Priority::Changes).await, &cursor) {
                (Ok(response), _) => {
                    return Ok((feed.parse_page(&response.body)?, response.seen_at));
                }
                (Err(Failure::Call(error)), Some(lost))
                    if error.failure() == Some(Upstream::UnknownCursor) =>
                {
                    *cursor = feed.resume(lost);
                }
                (Err(failure), _) => return Err(failure),
            }
        }
    }

    /// Takes the collections out whose events may be lost.
    fn find_gaps(&mut self, poll: &mut Poll, now: Timestamp) {
        let Some(feed) = self.feed() else {
            return;
        };
        let lost = |position: Timestamp| feed.has_gap(position, now);
        let gaps: Vec<(String, Gap)> = poll
            .wanted
            .iter()
            .filter(|(_, position)| lost(**position))
            .map(|(id, position)| {
                (
                    id.clone(),
                    Gap {
                        from: *position,
                        to: now,
                    },
                )
            })
            .collect();
        for (id, gap) in gaps {
            poll.wanted.remove(&id);
            self.fill_gap(&id, gap);
        }
    }

    async fn apply(&mut self, poll: &mut Poll, page: &EventPage) -> Result<(), Failure> {
        let mut work: BTreeMap<String, Work> = BTreeMap::new();
        for event in &page.events {
            for routed in self.context.definition().route(&self.name, event) {
                let id = &routed.collection.id;
                if self.is_news(poll, id, event) {
                    poll.add(
                        work.entry(id.clone()).or_default(),
                        id,
                        event,
                        routed.action,
                    );
                }
            }
        }
        for (id, work) in work {
            let Some(member) = self.members.get(&id) else {
                continue;
            };
            member.watched.note_repaired(page.repaired);
            if let Err(failure) = apply_work(&member.watched, work).await {
                if matches!(failure.next(), Next::Stop | Next::Yield) {
                    return Err(failure);
                }
                poll.wanted.remove(&id);
                poll.failed.insert(id, failure);
            }
        }
        Ok(())
    }

    fn is_news(&self, poll: &Poll, id: &str, event: &Event) -> bool {
        let overlap = self.feed().map(|feed| feed.overlap).unwrap_or_default();
        let wanted = poll.wanted.get(id);
        wanted.is_some_and(|position| event.at >= *position - overlap)
            && !self.seen.has(id, &event.id)
    }

    /// Moves the positions, remembers what was applied, and tells how it went.
    fn finish(&mut self, poll: Poll, began_at: Option<Timestamp>) -> Looked {
        let now = self.context.now();
        let applied = poll
            .applied
            .into_iter()
            .filter(|(id, ..)| !poll.failed.contains_key(id));
        let mut events = 0;
        for (id, event, at) in applied {
            events += 1;
            self.seen.add(id, event, at);
        }
        if let (Some(began_at), Some(feed)) = (began_at, self.context.definition().feed(&self.name))
        {
            self.seen
                .forget_before(began_at - feed.overlap - feed.overlap);
            for (id, position) in poll.wanted {
                self.context.board.set(&id, |live| {
                    live.feed_trouble = None;
                    live.checked_at = Some(now);
                });
                if let Some(member) = self.members.get_mut(&id) {
                    member.pace.succeeded();
                }
                self.state.positions.insert(id, position.max(began_at));
            }
        }
        for (id, failure) in poll.failed {
            self.block(&id, &failure);
        }
        Looked { events }
    }

    /// Holds a collection back whose events could not be applied; the others go on.
    fn block(&mut self, id: &str, failure: &Failure) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let next = failure.next();
        let pause = member.pace.after_failure(next);
        member.blocked_until = Some(Instant::now() + pause);
        let words = failure.words(&member.watched.collection().title);
        let trouble = Trouble::new(words.clone(), next);
        let is_news = self
            .context
            .board
            .set(id, |live| live.feed_trouble = Some(trouble));
        if is_news {
            tracing::warn!(sync = %self.context.id, collection = %id, "{words}");
        }
    }
}

impl Poll {
    fn new(wanted: BTreeMap<String, Timestamp>) -> Self {
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
    fn add(&mut self, work: &mut Work, collection: &str, event: &Event, action: Action) {
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
async fn apply_work(watched: &Watched, work: Work) -> Result<(), Failure> {
    let mut changed = watched
        .store(work.seen.into_values().collect(), Vec::new())
        .await?;
    changed += watched.refetch(work.refetch, Priority::Refetch).await?;
    for parent in work.relist {
        let children = watched.children(&parent, Priority::Refetch).await?;
        let seen = watched.observe(children, Priority::Refetch).await?;
        changed += watched.store(seen, Vec::new()).await?;
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
        seen.forget_before(second(15));
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
