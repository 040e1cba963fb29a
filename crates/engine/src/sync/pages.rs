//! Fetching: a page of a collection, or of the children of some parents, ready to be stored.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headrace_model::Timestamp;
use headrace_model::provider::{Failure as Upstream, Listing, One, Page, PageCursor, Request, Row};
use headrace_model::quota::Priority;
use headrace_model::record::Observation;
use headrace_store::{Breakpoint, breakpoint};

use super::context::Watched;
use super::course::Course;
use super::failure::Failure;
use super::settle::{self, AT_ONCE};
use crate::outbound::Response;

/// So many parents are listed as one step when their children are read.
const PARENTS: u32 = 20;

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
}

impl Watched {
    /// Fetches a step of a reading: a page, or the children of a page of parents.
    pub(super) async fn fetch(
        &self,
        from: Option<Timestamp>,
        at: Option<&PageCursor>,
        priority: Priority,
        course: &mut Course,
    ) -> Result<Fetched, Failure> {
        let fetched = match self.parent() {
            None => self.fetch_page(from, at, priority, course).await?,
            Some(parent) => {
                let below = self.fetch_below(&parent, from, at, priority, course);
                below.await?
            }
        };
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

    /// All children of a parent: those that its record holds, where it holds all of them. No children
    /// where the parent is gone.
    pub(super) async fn children(
        &self,
        parent_id: &str,
        priority: Priority,
    ) -> Result<Vec<(Row, Timestamp)>, Failure> {
        if self.collection().is_embedded()
            && let Some(parent) = self.parent()
        {
            let request = parent.collection().get(parent_id)?;
            let response = match self.context.ask(&request, priority).await {
                Ok(response) => response,
                Err(Failure::Call(error)) if error.failure() == Some(Upstream::Gone) => {
                    return Ok(Vec::new());
                }
                Err(failure) => return Err(failure),
            };
            if let (One::Present(row), _) = parent.collection().parse_one(&response.body)?
                && let Some(children) = self.collection().embedded(&row)
            {
                return Ok(below(parent_id, children?, response.seen_at).collect());
            }
        }
        self.list_children(parent_id, priority).await
    }

    /// The collection that this one is listed under.
    pub(super) fn parent(&self) -> Option<Self> {
        let parent = self.collection().parent.as_ref()?;
        let parent = self.context.definition().collection(&parent.collection)?;
        Self::new(&self.context, &parent.id)
    }

    async fn list_children(
        &self,
        parent: &str,
        priority: Priority,
    ) -> Result<Vec<(Row, Timestamp)>, Failure> {
        let mut rows = Vec::new();
        let mut cursor = None;
        let mut course = Course::default();
        loop {
            let listing = Listing {
                parent: Some(parent),
                cursor: cursor.as_ref(),
                page_size: self.context.parts.settings.page_size,
                ..Listing::default()
            };
            let request = self.collection().list(&listing)?;
            let (page, response) = match self.ask_page(&request, cursor.as_ref(), priority).await {
                Ok(Asked::Page(page)) => page,
                Ok(Asked::Elsewhere(at)) => {
                    if at.is_none() {
                        rows.clear();
                    }
                    course.begin_again(at.as_ref())?;
                    cursor = at;
                    continue;
                }
                // A later page that is gone may be a cursor that has ended: what came before is not all.
                Err(failure) if cursor.is_some() => return Err(failure.of_a_part()),
                Err(Failure::Call(error)) if error.failure() == Some(Upstream::Gone) => {
                    return Ok(rows);
                }
                Err(failure) => return Err(failure),
            };
            course.follow(page.records.is_empty(), page.next.as_ref())?;
            rows.extend(below(parent, page.records, response.seen_at));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(rows),
            }
        }
    }

    async fn fetch_page(
        &self,
        from: Option<Timestamp>,
        at: Option<&PageCursor>,
        priority: Priority,
        course: &mut Course,
    ) -> Result<Fetched, Failure> {
        let reached = self.reached().await?;
        let mut at = at.cloned();
        loop {
            let listing = Listing {
                parent: None,
                created_from: from,
                cursor: at.as_ref(),
                page_size: self.context.parts.settings.page_size,
                ..Listing::default()
            };
            let request = self.collection().list(&listing)?;
            match self.ask_page(&request, at.as_ref(), priority).await? {
                Asked::Elsewhere(elsewhere) => {
                    course.begin_again(elsewhere.as_ref())?;
                    at = elsewhere;
                }
                Asked::Page((page, response)) => {
                    course.follow(page.records.is_empty(), page.next.as_ref())?;
                    let newest = page.records.first().and_then(|row| row.created_at);
                    let wanted = |row: &Row| {
                        row.created_at
                            .zip(from)
                            .is_none_or(|(created, from)| created >= from)
                    };
                    let rows = page.records.into_iter().filter(wanted);
                    return Ok(Fetched {
                        rows: rows.map(|row| (row, response.seen_at)).collect(),
                        next: page.next,
                        newest,
                        reached,
                    });
                }
            }
        }
    }

    async fn fetch_below(
        &self,
        parent: &Self,
        from: Option<Timestamp>,
        at: Option<&PageCursor>,
        priority: Priority,
        course: &mut Course,
    ) -> Result<Fetched, Failure> {
        let reached = self.reached().await?;
        let mut at = at.cloned();
        let wanted = self.context.parts.settings.page_size;
        let page_size = if self.collection().is_embedded() {
            wanted
        } else {
            Some(wanted.unwrap_or(PARENTS).min(PARENTS))
        };
        let (page, seen_at) = loop {
            let listing = Listing {
                cursor: at.as_ref(),
                page_size,
                ..Listing::default()
            };
            let request = parent.collection().list(&listing)?;
            match parent.ask_page(&request, at.as_ref(), priority).await? {
                Asked::Elsewhere(elsewhere) => {
                    course.begin_again(elsewhere.as_ref())?;
                    at = elsewhere;
                }
                Asked::Page((page, response)) => break (page, response.seen_at),
            }
        };
        course.follow(page.records.is_empty(), page.next.as_ref())?;
        let newest = page.records.first().and_then(|row| row.created_at);
        let families = page.records.into_iter().map(|parent| async move {
            match self.collection().embedded(&parent) {
                Some(children) => Ok(below(&parent.upstream_id, children?, seen_at).collect()),
                None => self.list_children(&parent.upstream_id, priority).await,
            }
        });
        let families: Vec<_> = stream::iter(families)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let is_wanted = |(row, _): &(Row, Timestamp)| {
            row.created_at
                .zip(from)
                .is_none_or(|(created, from)| created >= from)
        };
        Ok(Fetched {
            rows: families.into_iter().flatten().filter(is_wanted).collect(),
            next: page.next,
            newest,
            reached,
        })
    }

    /// Asks for a page. Where the record behind the cursor is gone, tells where to go on instead.
    async fn ask_page(
        &self,
        request: &Request,
        cursor: Option<&PageCursor>,
        priority: Priority,
    ) -> Result<Asked, Failure> {
        let response = match self.context.ask(request, priority).await {
            Ok(response) => response,
            Err(Failure::Call(error)) => {
                return match cursor {
                    Some(cursor) if error.failure() == Some(Upstream::UnknownCursor) => {
                        Ok(Asked::Elsewhere(self.collection().resume(cursor)))
                    }
                    _ => Err(error.into()),
                };
            }
            Err(failure) => return Err(failure),
        };
        let page = self.collection().parse_page(cursor, &response.answer())?;
        self.note_repaired(page.repaired);
        Ok(Asked::Page((page, response)))
    }
}

/// Rows that were found below a parent, also where they do not name it themselves.
fn below(
    parent: &str,
    rows: Vec<Row>,
    seen_at: Timestamp,
) -> impl Iterator<Item = (Row, Timestamp)> {
    rows.into_iter().map(move |mut row| {
        row.parent_id.get_or_insert_with(|| parent.to_owned());
        (row, seen_at)
    })
}

enum Asked {
    Page((Page, Response)),
    /// Begin here; at the first page for `None`.
    Elsewhere(Option<PageCursor>),
}
