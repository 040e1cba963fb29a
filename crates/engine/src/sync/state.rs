//! What a sync remembers: one document per collection and one per feed, stored as cursors with the
//! records they stand for. Fields may be added with a default; none may change its meaning.

use std::collections::BTreeMap;

use headrace_model::Timestamp;
use headrace_model::provider::PageCursor;
use serde::{Deserialize, Serialize};

use super::{SyncError, families};

/// The state of a collection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CollectionState {
    /// The API version that everything was read in.
    pub(super) version: Option<String>,
    /// The reading under way.
    pub(super) run: Option<Run>,
    /// What to read after that, because it was asked for meanwhile.
    pub(super) queued: Option<Aim>,
    /// Records that somebody wants to have read again.
    pub(super) wanted: Vec<String>,
    /// When everything had been read for the first time.
    pub(super) first_completed_at: Option<Timestamp>,
    /// The last reading that was completed, listing again apart.
    pub(super) last: Option<Finished>,
    /// When it was last listed as far as changes may go back.
    pub(super) relisted_at: Option<Timestamp>,
    /// When that listing began, by the clock that was behind the other: what changed later is to be
    /// looked for.
    pub(super) covered_at: Option<Timestamp>,
    /// When what changed was last listed.
    pub(super) followed_at: Option<Timestamp>,
    /// When that listing began, by the clock that was behind the other: what changed later is to be
    /// listed.
    pub(super) followed_to: Option<Timestamp>,
    /// How often the same was listed again, because what is removed meanwhile shifts numbered pages.
    pub(super) repeated: u32,
    /// The greatest age, in days, that was admitted when everything was read; `None` for any.
    pub(super) max_age_days: Option<u32>,
    /// Changes of this time are lost; deletes of this time are not known.
    pub(super) gap: Option<Gap>,
    /// The sum of the parents whose children were listed when everything was read: where another one is
    /// listed, or one no more, its children are not known or not looked after.
    pub(super) parents: Option<u64>,
    /// Lists of children that the last reading could not see.
    pub(super) unseen: Option<Unseen>,
    /// So many records were found to be gone that none was deleted.
    pub(super) doubtful: Option<Doubtful>,
}

/// Lists of children that cannot be seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Unseen {
    /// How many.
    pub(super) lists: u64,
    /// The parent of one of them, and what the provider says.
    pub(super) parent: String,
    pub(super) why: String,
}

impl Unseen {
    pub(super) fn add(&mut self, unseen: &families::Unseen) {
        if self.lists == 0 {
            self.parent.clone_from(&unseen.parent);
            self.why.clone_from(&unseen.why);
        }
        self.lists += 1;
    }
}

/// More records are gone than is likely.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Doubtful {
    /// At least so many are gone.
    pub(super) gone: u64,
    /// So many the stream held.
    pub(super) held: u64,
}

/// A reading from beginning to end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Why and what.
    pub(super) aim: Aim,
    /// The API version it reads in.
    pub(super) version: Option<String>,
    /// When it began.
    pub(super) started_at: Timestamp,
    /// When its first page was asked for, on the provider's clock.
    #[serde(default)]
    pub(super) asked_at: Option<Timestamp>,
    /// Records read so far.
    pub(super) records: u64,
    /// Those of them that were new or had changed, and whether a list had more than one page.
    #[serde(default)]
    pub(super) changed: u64,
    #[serde(default)]
    pub(super) turned: bool,
    /// The sum of the parents whose children were listed ([`CollectionState::parents`]), and those of which
    /// they could not be.
    #[serde(default)]
    pub(super) parents: u64,
    #[serde(default)]
    pub(super) unseen: Unseen,
    /// The page to read next; `None` for the first.
    pub(super) at: Option<PageCursor>,
    /// The page that was stored last, if doubts about its records may be left. After a crash it is
    /// read once more.
    #[serde(default)]
    pub(super) unsettled: Option<Place>,
    /// What the stream held when it began is looked for in it.
    #[serde(default)]
    pub(super) sweep: Option<Sweep>,
    /// The sync's greatest age when it began.
    #[serde(default)]
    pub(super) max_age_days: Option<u32>,
    /// How much there is to read, as far as it is known.
    #[serde(default)]
    pub(super) extent: Extent,
}

/// What the stream held and the provider no longer lists is asked for by id when everything is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sweep {
    /// The newest index of the stream when the reading began.
    pub(super) upto: u64,
    /// How many notes hold the ids that were listed.
    pub(super) listed_notes: u32,
    /// Whether everything is listed.
    pub(super) listed: bool,
    /// Up to which index of the stream what was not listed has been asked for.
    pub(super) after: u64,
    /// How many records are gone, and how many notes hold them.
    pub(super) gone: u64,
    pub(super) gone_notes: u32,
    /// The user has said that any number may be gone.
    pub(super) confirmed: bool,
}

/// How much there is to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extent {
    /// Records that the stream held when the reading began.
    pub(super) held: Option<u64>,
    /// The creation time of the newest record.
    pub(super) newest: Option<Timestamp>,
    /// About that of the oldest one.
    pub(super) oldest: Option<Timestamp>,
    /// Whether the oldest one was looked for.
    pub(super) probed: bool,
}

/// A page: the first one, or one after a cursor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) at: Option<PageCursor>,
}

/// Why and what is read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aim {
    /// Everything, for the first time.
    Initial,
    /// Everything, because the user asked for it.
    All,
    /// What was created since then, because the user asked for it.
    Since(Timestamp),
    /// Everything, because changes were lost.
    Gap,
    /// Everything, because it is now rendered in another API version.
    Version,
    /// Everything, because older records are admitted now.
    Older,
    /// What may have changed, because nothing tells; created since then if given.
    Relist(Option<Timestamp>),
    /// What changed since then.
    Follow(Timestamp),
}

impl Aim {
    /// The earliest creation time that is read.
    pub(super) fn from(&self) -> Option<Timestamp> {
        match self {
            Self::Initial
            | Self::All
            | Self::Gap
            | Self::Version
            | Self::Older
            | Self::Follow(_) => None,
            Self::Since(from) => Some(*from),
            Self::Relist(from) => *from,
        }
    }

    /// Whether all records are read.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(
            self,
            Self::Since(_) | Self::Relist(Some(_)) | Self::Follow(_)
        )
    }

    /// Whether it only looks for changes.
    pub(super) fn is_routine(&self) -> bool {
        matches!(self, Self::Relist(_) | Self::Follow(_))
    }

    /// The earliest change that is read.
    pub(super) fn changed_from(&self) -> Option<Timestamp> {
        match self {
            Self::Follow(from) => Some(*from),
            _ => None,
        }
    }

    /// The same once more, when it was complete.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Since(_) | Self::Relist(_) | Self::Follow(_) => self.clone(),
            Self::Initial | Self::All | Self::Gap | Self::Version | Self::Older => Self::All,
        }
    }
}

/// A reading that was completed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) started_at: Timestamp,
    pub(super) completed_at: Timestamp,
    pub(super) records: u64,
}

/// A time of which changes are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The state of a feed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FeedState {
    /// Up to when, on the provider's clock, the events of each collection are applied. Every
    /// collection has its own: one that stands still must not lose what the others pass over.
    pub(super) positions: BTreeMap<String, Timestamp>,
}

/// Everything that is stored of a sync.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) collections: BTreeMap<String, CollectionState>,
    pub(super) feeds: BTreeMap<String, FeedState>,
}

const FEED: &str = "feed/";

/// The name of the document of a feed. No collection's id has a slash.
pub(super) fn feed_document(feed: &str) -> String {
    format!("{FEED}{feed}")
}

impl Stored {
    /// Reads the documents of a sync.
    pub(super) fn read(documents: Vec<(String, Vec<u8>)>) -> Result<Self, SyncError> {
        let damaged = |what| move |source| SyncError::Damaged { what, source };
        let mut stored = Self::default();
        for (name, body) in documents {
            match name.strip_prefix(FEED) {
                Some(feed) => {
                    let state = serde_json::from_slice(&body).map_err(damaged("feed position"))?;
                    stored.feeds.insert(feed.to_owned(), state);
                }
                None => {
                    let state = serde_json::from_slice(&body).map_err(damaged("cursor"))?;
                    stored.collections.insert(name, state);
                }
            }
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_back() {
        let run = Some(Run {
            aim: Aim::Since(Timestamp::from_seconds(5)),
            version: Some("v1".to_owned()),
            started_at: Timestamp::from_seconds(9),
            asked_at: Some(Timestamp::from_seconds(8)),
            records: 300,
            changed: 3,
            turned: true,
            parents: 5,
            unseen: Unseen::default(),
            at: Some(PageCursor::Token {
                token: "t".to_owned(),
            }),
            unsettled: Some(Place { at: None }),
            sweep: Some(Sweep {
                upto: 7,
                ..Sweep::default()
            }),
            max_age_days: Some(30),
            extent: Extent::default(),
        });
        let state = CollectionState {
            run,
            ..CollectionState::default()
        };
        let feed = FeedState {
            positions: BTreeMap::from([("stripe:customer".to_owned(), Timestamp::from_seconds(7))]),
        };
        let stored = Stored::read(vec![
            (
                "stripe:customer".to_owned(),
                serde_json::to_vec(&state).unwrap(),
            ),
            (feed_document("events"), serde_json::to_vec(&feed).unwrap()),
        ]);
        let stored = stored.unwrap();
        assert_eq!(stored.collections["stripe:customer"], state);
        assert_eq!(stored.feeds["events"], feed);
    }

    #[test]
    fn a_document_of_an_older_version_reads() {
        let old = Stored::read(vec![("stripe:customer".to_owned(), b"{}".to_vec())]).unwrap();
        assert_eq!(
            old.collections["stripe:customer"],
            CollectionState::default()
        );
        let damaged = Stored::read(vec![("stripe:customer".to_owned(), b"[".to_vec())]);
        assert!(matches!(damaged, Err(SyncError::Damaged { .. })));
    }
}
