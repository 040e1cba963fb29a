//! One look at a feed: all events since the noted positions, each record once ([`super::look`]).
//!
//! Pages are applied as they come; the positions move only at the end, so a crash in between repeats
//! the whole look. After a long absence a look is at a slice of the time that was missed, so that
//! neither memory nor what is repeated grows with it.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace_model::Timestamp;
use headrace_model::provider::{Event, EventPage, Failure as Upstream, PageCursor};
use headrace_model::quota::Priority;
use tokio::time::Instant;

use super::board::Trouble;
use super::course::Course;
use super::failure::{Failure, Next};
use super::feed::{Follower, SLICE};
use super::look::{Poll, Work, apply_work};
use super::state::Gap;

/// What a look found.
#[derive(Default)]
pub(super) struct Looked {
    /// Events that had not been applied before.
    pub(super) events: usize,
    /// Whether it got on and ended before now: there is more to look at.
    pub(super) is_behind: bool,
}

/// A slice with fewer pages is followed by a longer one, one with more by a shorter one.
const PAGES_OF_A_SLICE: std::ops::RangeInclusive<usize> = 3..=20;
const LONGEST_SLICE: Duration = Duration::from_secs(86_400);
/// No time is that far ahead of the provider's clock by an honest mistake.
pub(super) const FUTURE: Duration = Duration::from_secs(60);

impl Follower {
    pub(super) async fn poll(&mut self) -> Result<Looked, Failure> {
        let wanted = self.ready();
        let (current, behind) = match self.feed().filter(|feed| feed.can_end()) {
            Some(feed) => split(wanted, self.context.provider_now() - feed.overlap),
            None => (wanted, BTreeMap::new()),
        };
        if behind.is_empty() {
            self.slice = SLICE;
        }
        let mut looked = self.look_over(current, None).await?;
        for wanted in together(behind.clone(), self.slice) {
            // Those that are up to date do not wait for those that are not, nor these for each other.
            let since = wanted.values().min().copied();
            let until = since.map(|since| since + self.slice);
            match self.look_over(wanted, until).await {
                Ok(found) => looked.events += found.events,
                Err(failure) => {
                    // A slice that is too much for the provider is tried in smaller ones.
                    self.slice = (self.slice / 2).max(self.shortest_slice());
                    return Err(failure);
                }
            }
        }
        let has_moved = |(id, before): (&String, &Timestamp)| {
            let position = self.state.positions.get(id);
            position.is_some_and(|position| position > before)
        };
        looked.is_behind = behind.iter().any(has_moved);
        Ok(looked)
    }

    /// One look for these collections, until a time if one is given.
    async fn look_over(
        &mut self,
        wanted: BTreeMap<String, Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Looked, Failure> {
        let Some(since) = wanted.values().min().copied() else {
            return Ok(Looked::default());
        };
        let mut poll = Poll::new(wanted);
        let mut began_at = None;
        let mut cursor = None;
        let mut course = Course::default();
        let mut pages = 0;
        loop {
            let (page, seen_at) = self.page(since, until, &mut cursor, &mut course).await?;
            if began_at.is_none() {
                began_at = Some(seen_at);
                self.find_gaps(&mut poll.wanted, seen_at);
            }
            poll.page_at = seen_at;
            self.apply(&mut poll, &page).await?;
            pages += 1;
            cursor = page.next;
            if cursor.is_none() || poll.wanted.is_empty() {
                break;
            }
        }
        if until.is_some() {
            self.fit_slice(pages);
        }
        Ok(self.finish(poll, began_at, until))
    }

    fn fit_slice(&mut self, pages: usize) {
        if pages < *PAGES_OF_A_SLICE.start() {
            self.slice = (self.slice * 2).min(LONGEST_SLICE);
        } else if pages > *PAGES_OF_A_SLICE.end() {
            self.slice = (self.slice / 2).max(self.shortest_slice());
        }
    }

    fn shortest_slice(&self) -> Duration {
        self.feed().map_or(SLICE, |feed| feed.overlap).min(SLICE)
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
        until: Option<Timestamp>,
        cursor: &mut Option<PageCursor>,
        course: &mut Course,
    ) -> Result<(EventPage, Timestamp), Failure> {
        loop {
            let feed = self.feed().ok_or(Failure::Stopped)?;
            let request = feed.list(since, until, cursor.as_ref());
            match (self.context.ask(&request, Priority::Changes).await, &cursor) {
                (Ok(response), _) => {
                    let page = feed.parse_page(cursor.as_ref(), &response.answer())?;
                    course.follow(page.events.is_empty(), page.next.as_ref())?;
                    return Ok((page, response.seen_at));
                }
                (Err(Failure::Call(error)), Some(lost))
                    if error.failure() == Some(Upstream::UnknownCursor) =>
                {
                    let at = feed.resume(lost);
                    course.begin_again(at.as_ref())?;
                    *cursor = at;
                }
                (Err(failure), _) => return Err(failure),
            }
        }
    }

    /// Takes the collections out whose events may be lost.
    fn find_gaps(&mut self, wanted: &mut BTreeMap<String, Timestamp>, now: Timestamp) {
        let Some(feed) = self.feed() else {
            return;
        };
        let is_known = self.context.knows_provider_time();
        // A position in the future is of a clock that was wrong: what was passed over nobody knows.
        let lost = |position: Timestamp| {
            feed.has_gap(position, now) || position.since(now) > FUTURE && is_known
        };
        let gaps: Vec<(String, Gap)> = wanted
            .iter()
            .filter(|(_, position)| lost(**position))
            .map(|(id, position)| {
                (
                    id.clone(),
                    Gap {
                        from: (*position).min(now),
                        to: now,
                    },
                )
            })
            .collect();
        for (id, gap) in gaps {
            wanted.remove(&id);
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
            let began = self.began.get(&id).copied();
            if let Err(failure) = apply_work(&member.watched, work, began).await {
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
    fn finish(
        &mut self,
        poll: Poll,
        began_at: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Looked {
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
        // Never beyond what was there to be seen, whatever the clocks say.
        let reached = began_at.map(|began_at| until.map_or(began_at, |until| until.min(began_at)));
        if let (Some(reached), Some(feed)) = (reached, self.context.definition().feed(&self.name)) {
            for (id, position) in poll.wanted {
                let position = position.max(reached);
                self.context.board.set(&id, |live| {
                    live.feed_trouble = None;
                    live.checked_at = Some(now);
                    live.followed_to = until.map(|_| position);
                });
                if let Some(member) = self.members.get_mut(&id) {
                    member.pace.succeeded();
                }
                self.state.positions.insert(id, position);
            }
            let positions = &self.state.positions;
            self.seen.retain(|collection, at| {
                let position = positions.get(collection);
                position.is_some_and(|position| at + feed.overlap + feed.overlap >= *position)
            });
        }
        for (id, failure) in poll.failed {
            self.block(&id, &failure);
        }
        let is_behind = until.is_some();
        Looked { events, is_behind }
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

/// Those that can be looked for together, because their positions are within one slice.
fn together(
    mut behind: BTreeMap<String, Timestamp>,
    slice: Duration,
) -> Vec<BTreeMap<String, Timestamp>> {
    let mut groups = Vec::new();
    while let Some(first) = behind.values().min().copied() {
        let (group, rest) = behind
            .into_iter()
            .partition(|(_, position)| *position < first + slice);
        groups.push(group);
        behind = rest;
    }
    groups
}

/// The collections that are followed up to this time but for a slice, and those that are not.
fn split(
    wanted: BTreeMap<String, Timestamp>,
    to: Timestamp,
) -> (BTreeMap<String, Timestamp>, BTreeMap<String, Timestamp>) {
    wanted
        .into_iter()
        .partition(|(_, position)| *position + SLICE >= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_far_behind_is_looked_for_apart() {
        let at = |hours: u64| Timestamp::from_seconds(0) + SLICE * u32::try_from(hours).unwrap();
        let wanted = [("a", at(10)), ("b", at(9)), ("c", at(8)), ("d", at(1))];
        let wanted = wanted
            .map(|(id, position)| (id.to_owned(), position))
            .into();
        let (current, behind) = split(wanted, at(10));
        assert_eq!(current.into_keys().collect::<String>(), "ab");
        let groups = together(behind.clone(), SLICE * 2);
        let names = |group: BTreeMap<String, Timestamp>| group.into_keys().collect::<String>();
        assert_eq!(
            groups.into_iter().map(names).collect::<Vec<_>>(),
            ["d", "c"]
        );
        assert_eq!(together(behind.clone(), SLICE * 8).len(), 1);
        assert_eq!(names(behind), "cd");
    }
}
