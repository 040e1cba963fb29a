//! Fetching: a page of a collection, or of the children of some parents ([`super::families`]), ready to be
//! stored.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headrace_model::Timestamp;
use headrace_model::provider::{Failure as Upstream, Listing, Page, PageCursor, Row};
use headrace_model::quota::Priority;
use headrace_model::record::Observation;
use headrace_store::{Breakpoint, breakpoint};

use super::context::Watched;
use super::course::Course;
use super::failure::Failure;
use super::families::{Family, Unseen};
use super::settle::{self, AT_ONCE};
use crate::outbound::Response;

/// What part of the lists is read.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds {
    /// The earliest creation time.
    pub(super) created: Option<Timestamp>,
    /// The earliest time of the last change.
    pub(super) changed: Option<Timestamp>,
}

impl Bounds {
    fn admits(self, row: &Row) -> bool {
        let created = row.created_at.zip(self.created);
        created.is_none_or(|(created, from)| created >= from)
    }
}

/// What is remembered of a reading from step to step beside its cursor: a crash costs it.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) course: Course,
    /// The lists of children that go on, by their parents.
    pub(super) families: HashMap<String, Family>,
}

/// What one step of a reading brought.
pub(super) struct Fetched {
    /// The records, some of them not complete yet.
    pub(super) rows: Vec<(Row, Timestamp)>,
    /// Where the next step begins; `None` at the end.
    pub(super) next: Option<PageCursor>,
    /// When the first record that was listed was created: the newest of the step.
    pub(super) newest: Option<Timestamp>,
    /// How far the stream had come when it was asked for.
    pub(super) reached: u64,
    /// When the first request of it was made, on the provider's clock, at the latest.
    pub(super) asked_at: Timestamp,
    /// Whether a list of it has more pages than one.
    pub(super) turned: bool,
    /// The parents whose lists came to their end.
    pub(super) whole: Vec<String>,
    /// The parents whose lists cannot be seen.
    pub(super) unseen: Vec<Unseen>,
}

impl Fetched {
    /// A step that begins when the stream has come to this index.
    pub(super) fn begun(reached: u64, asked_at: Timestamp) -> Self {
        Self {
            rows: Vec::new(),
            next: None,
            newest: None,
            reached,
            asked_at,
            turned: false,
            whole: Vec::new(),
            unseen: Vec::new(),
        }
    }

    /// Takes what is admitted of these.
    pub(super) fn take(&mut self, rows: Vec<(Row, Timestamp)>, from: Bounds) {
        let admitted = rows.into_iter().filter(|(row, _)| from.admits(row));
        self.rows.extend(admitted);
    }
}

impl Watched {
    /// Fetches a step of a reading: a page, or the children of a page of parents.
    pub(super) async fn fetch(
        &self,
        from: Bounds,
        at: Option<&PageCursor>,
        priority: Priority,
        trail: &mut Trail,
    ) -> Result<Fetched, Failure> {
        let began_at = self.context.provider_now();
        let mut fetched = match self.parent() {
            None => {
                let course = &mut trail.course;
                self.fetch_page(from, at, priority, course).await?
            }
            Some(parent) => {
                let below = self.fetch_below(&parent, from, at, priority, trail);
                below.await?
            }
        };
        // A list without rows was asked as well, and before the provider's time was known this machine's
        // stands for it.
        let rows = fetched.rows.iter().map(|(_, seen_at)| *seen_at);
        fetched.asked_at = rows.fold(fetched.asked_at.min(began_at), Timestamp::min);
        breakpoint(Breakpoint::PageFetched);
        Ok(fetched)
    }

    /// Completes the records of a step. One whose parts have moved is read anew by its id.
    pub(super) async fn observe(
        &self,
        rows: Vec<(Row, Timestamp)>,
        priority: Priority,
    ) -> Result<Vec<Observation>, Failure> {
        let completing = rows.into_iter().map(|(mut row, seen_at)| async move {
            match self.complete(&mut row, priority).await {
                Ok(()) => Ok((Some(settle::read(row, seen_at)), None)),
                Err(failure) if failure.is_of_a_part() && self.collection().reads_by_id() => {
                    Ok((None, Some(row.upstream_id)))
                }
                Err(failure) => Err(failure),
            }
        });
        let (seen, moved): (Vec<Option<Observation>>, Vec<Option<String>>) =
            stream::iter(completing)
                .buffered(AT_ONCE)
                .try_collect::<Vec<_>>()
                .await?
                .into_iter()
                .unzip();
        let mut seen: Vec<Observation> = seen.into_iter().flatten().collect();
        let moved: Vec<String> = moved.into_iter().flatten().collect();
        if !moved.is_empty() {
            let (anew, refused) = self.look_each(moved, priority).await?;
            self.note_refused(refused).await?;
            seen.extend(anew);
        }
        Ok(seen)
    }

    async fn fetch_page(
        &self,
        from: Bounds,
        at: Option<&PageCursor>,
        priority: Priority,
        course: &mut Course,
    ) -> Result<Fetched, Failure> {
        let reached = self.reached().await?;
        let mut at = at.cloned();
        loop {
            let listing = Listing {
                created_from: from.created,
                changed_from: from.changed,
                cursor: at.as_ref(),
                page_size: self.context.parts.settings.page_size,
                ..Listing::default()
            };
            match self.ask_page(&listing, priority).await? {
                Asked::Elsewhere(elsewhere) => {
                    course.begin_again(elsewhere.as_ref())?;
                    at = elsewhere;
                }
                Asked::Page((page, response)) => {
                    course.follow(page.records.is_empty(), page.next.as_ref())?;
                    let mut fetched = Fetched::begun(reached, response.seen_at);
                    fetched.newest = page.records.first().and_then(|row| row.created_at);
                    fetched.turned = page.next.is_some();
                    fetched.next = page.next;
                    let rows = page.records.into_iter();
                    fetched.take(rows.map(|row| (row, response.seen_at)).collect(), from);
                    return Ok(fetched);
                }
            }
        }
    }

    /// Asks for a page. Where the record behind the cursor is gone, tells where to go on instead.
    pub(super) async fn ask_page(
        &self,
        listing: &Listing<'_>,
        priority: Priority,
    ) -> Result<Asked, Failure> {
        let request = self.collection().list(listing)?;
        let response = match self.context.ask(&request, priority).await {
            Ok(response) => response,
            Err(Failure::Call(error)) => {
                return match listing.cursor {
                    Some(cursor) if error.failure() == Some(Upstream::UnknownCursor) => {
                        Ok(Asked::Elsewhere(self.collection().resume(cursor)))
                    }
                    _ => Err(error.into()),
                };
            }
            Err(failure) => return Err(failure),
        };
        let page = self.collection().parse_page(listing, &response.answer())?;
        self.note_repaired(page.repaired);
        Ok(Asked::Page((page, response)))
    }
}

/// What a provider answers who is asked for a page.
pub(super) enum Asked {
    Page((Page, Response)),
    /// Begin here; at the first page for `None`.
    Elsewhere(Option<PageCursor>),
}
