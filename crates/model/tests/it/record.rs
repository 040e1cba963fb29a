//! One record that changes, and what is seen of it in any order: pages that were long on the way, late
//! events, reads whose clock was wrong.

use bytes::Bytes;
use headrace_model::Timestamp;
use headrace_model::record::{Content, Known, Mark, Observation, Origin, Verdict, Version, decide};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;

/// What a record was like over time.
struct Truth {
    /// From when on, in microseconds, it had this content; 0 is that it was gone.
    changes: Vec<(i64, u128)>,
}

impl Truth {
    fn new(pauses: Vec<(i64, u128)>) -> Self {
        let mut at = 1_000 * SECOND;
        let changes = pauses.into_iter().map(|(pause, content)| {
            at += pause;
            (at, content)
        });
        Self {
            changes: changes.collect(),
        }
    }

    /// The content at this time.
    fn at(&self, time: i64) -> u128 {
        let before = self.changes.iter().rev().find(|(at, _)| *at <= time);
        before.map_or(0, |(_, content)| *content)
    }

    fn last(&self) -> i64 {
        self.changes.last().map_or(0, |(at, _)| *at)
    }
}

/// What the stream holds of it, as the store would.
#[derive(Default)]
struct Stream {
    known: Option<Known>,
}

impl Stream {
    fn append(&mut self, content: u128, at: i64, origin: Origin) -> Option<Mark> {
        let seen = observation(content, at, origin);
        match decide(self.known.as_ref(), &seen) {
            Verdict::Append => {
                let known = self.known;
                self.known = Some(Known {
                    idx: known.map_or(1, |known| known.idx + 1),
                    hash: content,
                    deleted: content == 0,
                    version: known.map_or(seen.version, |known| known.version.then(seen.version)),
                });
                None
            }
            Verdict::Unchanged { raise } => {
                if let Some(known) = self.known.as_mut().filter(|_| raise) {
                    known.version = seen.version;
                }
                None
            }
            Verdict::Stale => None,
            Verdict::Doubt(mark) => Some(mark),
        }
    }

    /// Takes what was seen, and reads again what is in doubt, at this time and by this clock.
    fn settle(&mut self, truth: &Truth, seen: (u128, i64, Origin), now: i64, clock: i64) {
        let (content, at, origin) = seen;
        if let Some(mark) = self.append(content, at, origin) {
            let again = self.append(truth.at(now), clock, Origin::Recheck(mark));
            assert_eq!(again, None, "a recheck that nothing came between decides");
        }
    }

    fn content(&self) -> u128 {
        self.known
            .as_ref()
            .filter(|known| !known.deleted)
            .map_or(0, |known| known.hash)
    }
}

fn observation(content: u128, at: i64, origin: Origin) -> Observation {
    let content = match content {
        0 => Content::Gone,
        hash => Content::Present {
            data: Bytes::new(),
            hash,
        },
    };
    Observation {
        upstream_id: "cus_1".to_owned(),
        parent_id: None,
        content,
        version: Version::Seen(Timestamp::from_micros(at)),
        origin,
        created_at: None,
        updated_at: None,
    }
}

/// Changes: how long after the last one, and the new content.
fn changes() -> impl Strategy<Value = Vec<(i64, u128)>> {
    proptest::collection::vec((1..6 * SECOND, 0..3_u128), 1..8)
}

/// Sightings: which event (none for a read), when a read was begun, how much too early its clock was,
/// and how early that of the read was which settles a doubt about it.
fn sightings(early: i64) -> impl Strategy<Value = Vec<(Option<usize>, i64, i64, i64)>> {
    let event = proptest::option::of(0..8_usize);
    let sighting = (event, 0..60 * SECOND, 0..early, 0..early);
    proptest::collection::vec(sighting, 0..12)
}

/// Shows the stream these, all of them after everything has happened.
fn show(stream: &mut Stream, truth: &Truth, seen: &[(Option<usize>, i64, i64, i64)]) {
    let now = truth.last() + 60 * SECOND;
    for (event, begun, early, early_again) in seen {
        let change = event.and_then(|event| truth.changes.get(event));
        let sighting = match change {
            Some((at, content)) => {
                // Events are dated in whole seconds.
                let at = at - at % SECOND;
                (*content, at, Origin::Event)
            }
            None => {
                let begun = truth.changes[0].0 + begun;
                (truth.at(begun), begun - early, Origin::Read)
            }
        };
        stream.settle(truth, sighting, now, now - early_again);
    }
}

proptest! {
    /// While clocks are right to a second and a half, the order in which things are seen is nothing.
    #[test]
    fn once_its_last_event_was_seen_a_record_is_what_it_is(
        changes in changes(),
        before in sightings(3 * SECOND / 2),
        after in sightings(3 * SECOND / 2),
        early in 0..3 * SECOND / 2,
    ) {
        let truth = Truth::new(changes);
        let mut stream = Stream::default();
        show(&mut stream, &truth, &before);
        show(&mut stream, &truth, &[(Some(truth.changes.len() - 1), 0, 0, early)]);
        show(&mut stream, &truth, &after);
        prop_assert_eq!(stream.content(), truth.at(truth.last()));
    }

    /// A clock that was set back, by however much, hides nothing from a read.
    #[test]
    fn what_was_read_after_a_change_is_not_dropped_for_its_time(
        changes in changes(),
        before in sightings(2 * 86_400 * SECOND),
        early in 0..2 * 86_400 * SECOND,
        early_again in 0..2 * 86_400 * SECOND,
    ) {
        let truth = Truth::new(changes);
        let mut stream = Stream::default();
        show(&mut stream, &truth, &before);
        let now = truth.last() + 61 * SECOND;
        let read = (truth.at(now), now - early, Origin::Read);
        stream.settle(&truth, read, now, now - early_again);
        prop_assert_eq!(stream.content(), truth.at(truth.last()));
    }
}
