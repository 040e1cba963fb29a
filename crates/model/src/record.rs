//! Observations of upstream records, and which of two is the newer.
//!
//! Pages, events, webhooks and re-reads race each other. Each brings an [`Observation`] with a
//! [`Version`]; [`decide`] compares it with what the stream holds. It runs inside the append
//! transaction, so that a stale page never overwrites fresher data and never brings back what was
//! deleted.
//!
//! A time that something was seen at may be too early, by much where a clock was wrong, and is never
//! too late. So what seems newer is newer, and what seems older proves nothing: it is read again.

use std::time::Duration;

use bytes::Bytes;

use crate::Timestamp;

/// How close two observation times may be before their order cannot be trusted: providers' clocks
/// tick in whole seconds, and a read and an event are stamped by different machines.
pub const DOUBT: Duration = Duration::from_secs(2);

/// When, or as which revision, a record was observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The provider's own version number or modification time: exact, grows with every change.
    Own(i64),
    /// The provider's clock when the record was seen: an event's time, or the start of the read. Too
    /// early if it is wrong, never too late.
    Seen(Timestamp),
}

impl Version {
    /// The version of a record at this one that is now seen at another: of two times that are not too
    /// late, the later one says more.
    pub fn then(self, seen: Self) -> Self {
        match (self, seen) {
            (Self::Seen(known), Self::Seen(seen)) => Self::Seen(known.max(seen)),
            _ => seen,
        }
    }
}

/// The way an observation was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A list page or a read that nothing had asked for.
    Read,
    /// An event of the provider's feed, or a webhook.
    Event,
    /// A read by id that was begun after a doubt ([`Verdict::Doubt`]) arose, to settle it. Whatever the
    /// clocks say it decides, unless the record has changed or a later version was seen meanwhile.
    Recheck(Mark),
}

/// What was seen of the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// It exists, with these tokens and this canonical hash.
    Present {
        /// The provider's own JSON tokens, without whitespace outside strings.
        data: Bytes,
        /// The canonical content hash ([`crate::json::hash`]).
        hash: u128,
    },
    /// It is gone. The stream keeps the data it knew.
    Gone,
}

/// One sighting of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// The record's id at the provider.
    pub upstream_id: String,
    /// The upstream id of its parent, for a collection that is listed under one.
    pub parent_id: Option<String>,
    /// What was seen.
    pub content: Content,
    /// When, or as which revision.
    pub version: Version,
    /// How it was seen.
    pub origin: Origin,
    /// The provider's creation time, where it tells.
    pub created_at: Option<Timestamp>,
    /// The provider's modification time, or the event's.
    pub updated_at: Option<Timestamp>,
}

/// What the stream holds of a record: enough to compare, without its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The index of its current entry.
    pub idx: u64,
    /// The content hash of its data; 0 when no data was ever seen.
    pub hash: u128,
    /// Whether the current entry is a tombstone.
    pub deleted: bool,
    /// The version that was applied last.
    pub version: Version,
}

impl Known {
    fn mark(&self) -> Mark {
        Mark {
            idx: self.idx,
            version: self.version,
        }
    }
}

/// What a record was compared by when a doubt arose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The index of its entry.
    pub idx: u64,
    /// Its version.
    pub version: Version,
}

/// What to do with an observation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it as the record's newest version.
    Append,
    /// The content is what the stream already holds: write nothing. With `raise`, remember the newer
    /// version, so that an older event that arrives late is still recognised as old.
    Unchanged {
        /// Whether the known version is to be replaced by the observed one.
        raise: bool,
    },
    /// Older than what the stream holds by the provider's own version: write nothing.
    Stale,
    /// The order cannot be told. Read the record again by id and append that as
    /// [`Origin::Recheck`] of this; never guess.
    Doubt(Mark),
}

/// Compares an observation with what the stream holds of the record.
pub fn decide(known: Option<&Known>, seen: &Observation) -> Verdict {
    let Some(known) = known else {
        return Verdict::Append;
    };
    let order = compare(known.version, seen.version);
    let same = match &seen.content {
        Content::Present { hash, .. } => !known.deleted && *hash == known.hash,
        Content::Gone => known.deleted,
    };
    if same {
        // Reads do not raise: a full re-read of unchanged records must cost no writes, and the feed
        // brings whatever a late event would get wrong.
        let raise = order == Order::Newer && seen.origin == Origin::Event;
        return Verdict::Unchanged { raise };
    }
    match (order, seen.origin) {
        (Order::Newer, _) => Verdict::Append,
        (Order::Older, _) => Verdict::Stale,
        (Order::Unclear, Origin::Recheck(mark)) if mark == known.mark() => Verdict::Append,
        (Order::Unclear, _) => Verdict::Doubt(known.mark()),
    }
}

#[derive(PartialEq, Eq)]
enum Order {
    Newer,
    Older,
    Unclear,
}

fn compare(known: Version, seen: Version) -> Order {
    match (known, seen) {
        (Version::Own(known), Version::Own(seen)) if seen > known => Order::Newer,
        (Version::Own(known), Version::Own(seen)) if seen < known => Order::Older,
        (Version::Seen(known), Version::Seen(seen)) if seen.since(known) >= DOUBT => Order::Newer,
        // Equal, too close, earlier, or not comparable at all because the definition changed its versions.
        _ => Order::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Version {
        Version::Seen(Timestamp::from_seconds(seconds))
    }

    fn known(hash: u128, deleted: bool, version: Version) -> Known {
        Known {
            idx: 7,
            hash,
            deleted,
            version,
        }
    }

    fn seen(content: Content, version: Version, origin: Origin) -> Observation {
        let upstream_id = "cus_1".to_owned();
        Observation {
            upstream_id,
            parent_id: None,
            content,
            version,
            origin,
            created_at: None,
            updated_at: None,
        }
    }

    fn present(hash: u128) -> Content {
        Content::Present {
            data: Bytes::new(),
            hash,
        }
    }

    #[test]
    fn a_first_sighting_is_appended_even_of_a_delete() {
        assert_eq!(
            decide(None, &seen(present(1), at(5), Origin::Read)),
            Verdict::Append
        );
        assert_eq!(
            decide(None, &seen(Content::Gone, at(5), Origin::Event)),
            Verdict::Append
        );
    }

    fn doubt(known: &Known) -> Verdict {
        Verdict::Doubt(known.mark())
    }

    #[test]
    fn newer_wins_and_what_seems_older_is_read_again() {
        let known = known(1, false, at(100));
        for origin in [Origin::Read, Origin::Event] {
            let verdict = |second| decide(Some(&known), &seen(present(2), at(second), origin));
            assert_eq!(verdict(102), Verdict::Append);
            for second in [101, 99, 98, 50] {
                assert_eq!(verdict(second), doubt(&known), "{second}");
            }
        }
    }

    #[test]
    fn a_stale_page_does_not_bring_back_a_tombstone() {
        let gone = known(1, true, at(100));
        assert_eq!(
            decide(Some(&gone), &seen(present(1), at(50), Origin::Read)),
            doubt(&gone)
        );
        assert_eq!(
            decide(Some(&gone), &seen(present(1), at(200), Origin::Read)),
            Verdict::Append
        );
    }

    #[test]
    fn the_same_content_is_silent_and_events_raise_the_version() {
        let known = known(1, false, at(100));
        let same = |origin| decide(Some(&known), &seen(present(1), at(200), origin));
        assert_eq!(same(Origin::Read), Verdict::Unchanged { raise: false });
        assert_eq!(same(Origin::Event), Verdict::Unchanged { raise: true });
    }

    #[test]
    fn a_recheck_decides_whatever_its_clock_says() {
        let known = known(1, false, at(100));
        for second in [1, 99, 101] {
            let recheck = Origin::Recheck(known.mark());
            let verdict = decide(Some(&known), &seen(present(2), at(second), recheck));
            assert_eq!(verdict, Verdict::Append, "{second}");
        }
    }

    #[test]
    fn a_recheck_settles_only_the_doubt_it_was_made_for() {
        let before = known(1, false, at(100));
        let changed = Known { idx: 8, ..before };
        let raised = Known {
            version: at(110),
            ..before
        };
        for now in [changed, raised] {
            let recheck = Origin::Recheck(before.mark());
            let verdict = |second| decide(Some(&now), &seen(present(2), at(second), recheck));
            assert_eq!(verdict(101), doubt(&now));
            assert_eq!(verdict(112), Verdict::Append);
        }
    }

    #[test]
    fn a_version_never_goes_back() {
        assert_eq!(at(100).then(at(40)), at(100));
        assert_eq!(at(100).then(at(140)), at(140));
        assert_eq!(Version::Own(7).then(at(40)), at(40));
    }

    #[test]
    fn own_versions_are_exact() {
        let known = known(1, false, Version::Own(5));
        let verdict = |v| decide(Some(&known), &seen(present(2), v, Origin::Read));
        assert_eq!(verdict(Version::Own(6)), Verdict::Append);
        assert_eq!(verdict(Version::Own(4)), Verdict::Stale);
        assert_eq!(verdict(Version::Own(5)), doubt(&known));
        assert_eq!(verdict(at(500)), doubt(&known));
    }
}
