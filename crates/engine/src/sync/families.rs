//! Fetching children: the lists of some parents at once, a page of each as one step. The lists that go on
//! are read on in the steps that follow, before those of other parents.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headrace_model::Timestamp;
use headrace_model::provider::{Above, Failure as Upstream, Listing, One, PageCursor, Row, Within};
use headrace_model::quota::Priority;

use super::context::Watched;
use super::course::Course;
use super::failure::Failure;
use super::pages::{Asked, Bounds, Fetched, Trail};
use super::settle::AT_ONCE;

/// So many parents are listed at once when their children are read.
const PARENTS: u32 = 20;

/// A list of children that is being read.
#[derive(Debug)]
pub(super) struct Family {
    parent: String,
    /// The parent's record, where the address of the list needs it.
    record: Option<Bytes>,
    course: Course,
}

impl Family {
    fn of(parent: String, record: Option<Bytes>) -> Self {
        Self {
            parent,
            record,
            course: Course::default(),
        }
    }
}

/// Lists that the provider does not show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unseen {
    /// The parent.
    pub(super) parent: String,
    /// What the provider says.
    pub(super) why: String,
}

/// A page of a list of children.
struct Brood {
    family: Family,
    rows: Vec<(Row, Timestamp)>,
    end: End,
}

/// How a page of a list of children ends.
enum End {
    /// More follow.
    Next(PageCursor),
    /// The list is whole.
    Whole,
    /// The list cannot be seen, for what the provider says. What it held may still be there.
    Unseen(String),
}

/// All children of a parent that there are to be seen.
pub(super) struct Children {
    pub(super) rows: Vec<(Row, Timestamp)>,
    /// Whether those are all.
    pub(super) is_whole: bool,
}

impl Watched {
    /// All children of a parent: those that its record holds, where it holds all of them. No children
    /// where the parent is gone.
    pub(super) async fn children(
        &self,
        parent_id: &str,
        priority: Priority,
    ) -> Result<Children, Failure> {
        let mut children = Children {
            rows: Vec::new(),
            is_whole: true,
        };
        let mut record = None;
        if self.collection().is_embedded() || self.collection().needs_parents() {
            let Some((parent, seen_at)) = self.read_parent(parent_id, priority).await? else {
                return Ok(children);
            };
            if let Some(embedded) = self.collection().embedded(&parent) {
                children.rows = below(parent_id, embedded?, seen_at).collect();
                return Ok(children);
            }
            record = Some(parent.data);
        }
        let mut family = Family::of(parent_id.to_owned(), record);
        let mut at = None;
        loop {
            let brood = self.brood(family, at, Bounds::default(), priority).await?;
            children.rows.extend(brood.rows);
            match brood.end {
                End::Next(next) => at = Some(next),
                End::Whole => return Ok(children),
                End::Unseen(_) => {
                    children.is_whole = false;
                    return Ok(children);
                }
            }
            family = brood.family;
        }
    }

    /// The collection that this one is listed under.
    pub(super) fn parent(&self) -> Option<Self> {
        let parent = self.collection().parent.as_ref()?;
        let parent = self.context.definition().collection(&parent.collection)?;
        Self::new(&self.context, &parent.id)
    }

    /// A parent's record; `None` where it is gone.
    async fn read_parent(
        &self,
        id: &str,
        priority: Priority,
    ) -> Result<Option<(Row, Timestamp)>, Failure> {
        let Some(parent) = self.parent() else {
            return Ok(None);
        };
        let known = match parent.collection().reads_by_link() {
            true => parent.held_data(id).await?,
            false => None,
        };
        let request = parent.collection().get(id, known.as_deref())?;
        let response = match self.context.ask(&request, priority).await {
            Ok(response) => response,
            Err(failure) if failure.upstream() == Some(Upstream::Gone) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let (one, _) = parent.collection().parse_one(&response.body)?;
        Ok(match one {
            One::Present(row) => Some((*row, response.seen_at)),
            One::Gone | One::Nothing => None,
        })
    }

    /// Fetches a step: a page each of the lists of some parents.
    pub(super) async fn fetch_below(
        &self,
        parent: &Self,
        from: Bounds,
        at: Option<&PageCursor>,
        priority: Priority,
        trail: &mut Trail,
    ) -> Result<Fetched, Failure> {
        let mut fetched = Fetched::begun(self.reached().await?, self.context.provider_now());
        let (families, rest, next) = match at {
            Some(PageCursor::Below { rest, next }) => {
                let count = rest.len().min(AT_ONCE);
                let (now, later) = rest.split_at(count);
                let families = self.taken_up(now, priority, trail, &mut fetched).await?;
                (families, later.to_vec(), next.as_deref().cloned())
            }
            at => {
                let (families, next) = self
                    .parents(parent, from, at, priority, trail, &mut fetched)
                    .await?;
                (families, Vec::new(), next)
            }
        };
        let families = families.into_iter();
        let broods = families.map(|(family, at)| self.brood(family, at, from, priority));
        let broods = stream::iter(broods).buffered(AT_ONCE);
        let broods: Vec<Brood> = broods.try_collect().await?;
        let mut going_on = Vec::new();
        for brood in broods {
            fetched.take(brood.rows, from);
            let parent = brood.family.parent.clone();
            match brood.end {
                End::Next(at) => {
                    fetched.turned = true;
                    trail.families.insert(parent.clone(), brood.family);
                    going_on.push(Within { parent, at });
                }
                End::Whole => fetched.whole.push(parent),
                End::Unseen(why) => fetched.unseen.push(Unseen { parent, why }),
            }
        }
        going_on.extend(rest);
        fetched.next = match going_on.is_empty() {
            true => next,
            false => Some(PageCursor::Below {
                rest: going_on,
                next: next.map(Box::new),
            }),
        };
        Ok(fetched)
    }

    /// The lists that go on. Of what a crash has cost the parents' records are read again.
    async fn taken_up(
        &self,
        rest: &[Within],
        priority: Priority,
        trail: &mut Trail,
        fetched: &mut Fetched,
    ) -> Result<Vec<(Family, Option<PageCursor>)>, Failure> {
        let mut families = Vec::with_capacity(rest.len());
        for Within { parent, at } in rest {
            let family = match trail.families.remove(parent) {
                Some(family) => family,
                None if self.collection().needs_parents() => {
                    match self.read_parent(parent, priority).await {
                        Ok(Some((row, _))) => Family::of(parent.clone(), Some(row.data)),
                        Ok(None) => continue,
                        Err(failure) if self.passes_over(&failure) => {
                            fetched.unseen.push(Unseen {
                                parent: parent.clone(),
                                why: failure.to_string(),
                            });
                            continue;
                        }
                        Err(failure) => return Err(failure),
                    }
                }
                None => Family::of(parent.clone(), None),
            };
            families.push((family, Some(at.clone())));
        }
        Ok(families)
    }

    /// The lists of a page of parents. What their records hold is taken at once.
    async fn parents(
        &self,
        parent: &Self,
        from: Bounds,
        at: Option<&PageCursor>,
        priority: Priority,
        trail: &mut Trail,
        fetched: &mut Fetched,
    ) -> Result<(Vec<(Family, Option<PageCursor>)>, Option<PageCursor>), Failure> {
        trail.families.clear();
        let wanted = self.context.parts.settings.page_size;
        let page_size = match self.collection().is_embedded() {
            true => wanted,
            false => Some(wanted.unwrap_or(PARENTS).min(PARENTS)),
        };
        let course = &mut trail.course;
        let mut at = at.cloned();
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
        fetched.asked_at = fetched.asked_at.min(seen_at);
        fetched.newest = page.records.first().and_then(|row| row.created_at);
        let mut families = Vec::new();
        for row in page.records {
            match self.collection().embedded(&row) {
                Some(children) => {
                    let children = below(&row.upstream_id, children?, seen_at);
                    fetched.take(children.collect(), from);
                    fetched.whole.push(row.upstream_id);
                }
                None => families.push((Family::of(row.upstream_id, Some(row.data)), None)),
            }
        }
        Ok((families, page.next))
    }

    /// Whether other lists are read although this one cannot be: all are asked for again soon.
    fn passes_over(&self, failure: &Failure) -> bool {
        let collection = self.collection();
        let lists_again = collection.relist.is_some() || collection.follow.is_some();
        lists_again && failure.is_of_what_was_asked()
    }

    /// Fetches a page of a list of children. One that cannot be gone on with is begun anew.
    async fn brood(
        &self,
        mut family: Family,
        mut at: Option<PageCursor>,
        from: Bounds,
        priority: Priority,
    ) -> Result<Brood, Failure> {
        loop {
            let listing = Listing {
                parent: Some(Above {
                    id: &family.parent,
                    record: family.record.as_deref(),
                }),
                changed_from: from.changed,
                cursor: at.as_ref(),
                page_size: self.context.parts.settings.page_size,
                ..Listing::default()
            };
            match self.ask_page(&listing, priority).await {
                Ok(Asked::Page((page, response))) => {
                    let next = page.next;
                    let is_empty = page.records.is_empty();
                    family.course.follow(is_empty, next.as_ref())?;
                    let rows = below(&family.parent, page.records, response.seen_at);
                    return Ok(Brood {
                        rows: rows.collect(),
                        end: next.map_or(End::Whole, End::Next),
                        family,
                    });
                }
                Ok(Asked::Elsewhere(elsewhere)) => {
                    family.course.begin_again(elsewhere.as_ref())?;
                    at = elsewhere;
                }
                // It may be the cursor that is gone.
                Err(failure) if at.is_some() && failure.is_of_what_was_asked() => {
                    family.course.begin_again(None)?;
                    at = None;
                }
                Err(failure) => {
                    let end = match failure.upstream() {
                        Some(Upstream::Gone) => End::Whole,
                        _ if self.passes_over(&failure) => End::Unseen(failure.to_string()),
                        _ => return Err(failure),
                    };
                    let rows = Vec::new();
                    return Ok(Brood { family, rows, end });
                }
            }
        }
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
