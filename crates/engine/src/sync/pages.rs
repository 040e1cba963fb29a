//! Fetching: a page of a collection, or of the children of some parents, ready to be stored.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headrace_model::Timestamp;
use headrace_model::provider::{Above, Failure as Upstream, Listing, One, Page, PageCursor, Row};
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
    /// The parents whose children were listed, with the ids of those.
    pub(super) families: Vec<(String, HashSet<String>)>,
}

/// All children of a parent.
struct Children {
    rows: Vec<(Row, Timestamp)>,
    turned: bool,
    /// The parent cannot be seen any more: this is not all.
    hidden: bool,
}

impl Watched {
    /// Fetches a step of a reading: a page, or the children of a page of parents.
    pub(super) async fn fetch(
        &self,
        from: Bounds,
        at: Option<&PageCursor>,
        priority: Priority,
        course: &mut Course,
    ) -> Result<Fetched, Failure> {
        let began_at = self.context.provider_now();
        let mut fetched = match self.parent() {
            None => self.fetch_page(from, at, priority, course).await?,
            Some(parent) => {
                let below = self.fetch_below(&parent, from, at, priority, course);
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

    /// All children of a parent: those that its record holds, where it holds all of them. No children
    /// where the parent is gone.
    pub(super) async fn children(
        &self,
        parent_id: &str,
        priority: Priority,
    ) -> Result<Vec<(Row, Timestamp)>, Failure> {
        let mut record = None;
        if (self.collection().is_embedded() || self.collection().needs_parents())
            && let Some(parent) = self.parent()
        {
            let known = match parent.collection().reads_by_link() {
                true => parent.held_data(parent_id).await?,
                false => None,
            };
            let request = parent.collection().get(parent_id, known.as_deref())?;
            let response = match self.context.ask(&request, priority).await {
                Ok(response) => response,
                Err(Failure::Call(error)) if error.failure() == Some(Upstream::Gone) => {
                    return Ok(Vec::new());
                }
                Err(failure) => return Err(failure),
            };
            let (One::Present(row), _) = parent.collection().parse_one(&response.body)? else {
                return Ok(Vec::new());
            };
            if let Some(children) = self.collection().embedded(&row) {
                return Ok(below(parent_id, children?, response.seen_at).collect());
            }
            record = Some(row.data);
        }
        let above = Above {
            id: parent_id,
            record: record.as_deref(),
        };
        let children = self
            .list_children(above, Bounds::default(), priority)
            .await?;
        Ok(children.rows)
    }

    /// The collection that this one is listed under.
    pub(super) fn parent(&self) -> Option<Self> {
        let parent = self.collection().parent.as_ref()?;
        let parent = self.context.definition().collection(&parent.collection)?;
        Self::new(&self.context, &parent.id)
    }

    async fn list_children(
        &self,
        parent: Above<'_>,
        from: Bounds,
        priority: Priority,
    ) -> Result<Children, Failure> {
        let mut rows = Vec::new();
        let mut cursor = None;
        let mut course = Course::default();
        let mut turned = false;
        loop {
            let listing = Listing {
                parent: Some(parent),
                changed_from: from.changed,
                cursor: cursor.as_ref(),
                page_size: self.context.parts.settings.page_size,
                ..Listing::default()
            };
            let (page, response) = match self.ask_page(&listing, priority).await {
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
                Err(failure) => {
                    let hidden = match failure.upstream() {
                        Some(Upstream::Gone) => false,
                        Some(Upstream::Hidden) => true,
                        _ => return Err(failure),
                    };
                    return Ok(Children {
                        rows,
                        turned,
                        hidden,
                    });
                }
            };
            course.follow(page.records.is_empty(), page.next.as_ref())?;
            rows.extend(below(parent.id, page.records, response.seen_at));
            match page.next {
                Some(next) => cursor = Some(next),
                None => {
                    let hidden = false;
                    return Ok(Children {
                        rows,
                        turned,
                        hidden,
                    });
                }
            }
            turned = true;
        }
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
                    let newest = page.records.first().and_then(|row| row.created_at);
                    let rows = page.records.into_iter().filter(|row| from.admits(row));
                    return Ok(Fetched {
                        rows: rows.map(|row| (row, response.seen_at)).collect(),
                        turned: page.next.is_some(),
                        asked_at: response.seen_at,
                        families: Vec::new(),
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
        from: Bounds,
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
            match parent.ask_page(&listing, priority).await? {
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
            if let Some(children) = self.collection().embedded(&parent) {
                let children = Children {
                    rows: below(&parent.upstream_id, children?, seen_at).collect(),
                    turned: false,
                    hidden: false,
                };
                return Ok((parent.upstream_id, children));
            }
            let above = Above {
                id: &parent.upstream_id,
                record: Some(&parent.data),
            };
            let children = self.list_children(above, from, priority).await?;
            Ok::<_, Failure>((parent.upstream_id, children))
        });
        let families: Vec<(String, Children)> = stream::iter(families)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let turned = page.next.is_some() || families.iter().any(|(_, family)| family.turned);
        let seen = families.iter().filter(|(_, family)| !family.hidden);
        let listed = seen.map(|(parent, family)| {
            let ids = family.rows.iter().map(|(row, _)| row.upstream_id.clone());
            (parent.clone(), ids.collect())
        });
        let listed = listed.collect();
        let rows = families.into_iter().flat_map(|(_, family)| family.rows);
        Ok(Fetched {
            rows: rows.filter(|(row, _)| from.admits(row)).collect(),
            next: page.next,
            newest,
            reached,
            turned,
            asked_at: seen_at,
            families: listed,
        })
    }

    /// Asks for a page. Where the record behind the cursor is gone, tells where to go on instead.
    async fn ask_page(&self, listing: &Listing<'_>, priority: Priority) -> Result<Asked, Failure> {
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
