//! Lists inside a record that the provider cuts short: they are completed from their own pages, so
//! that what is stored is the whole record.

use bytes::Bytes;

use super::answer::Answer;
use super::collection::{Collection, Row};
use super::list::{List, Listing, PageCursor, PageError};
use super::request::{Request, RequestError};
use crate::json::{self, Path};

/// A list inside a record that is cut short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Truncated {
    /// Where the list is in the record, such as `lines`.
    pub path: Path,
    upstream_id: String,
    cursor: Option<PageCursor>,
}

/// A page of a list inside a record.
#[derive(Clone, Debug)]
pub struct Part {
    /// The elements, as they are written.
    pub elements: Vec<Bytes>,
    /// What is still missing after them.
    pub next: Option<Truncated>,
    /// How many sequences of invalid UTF-8 were replaced by U+FFFD.
    pub repaired: usize,
}

/// A declared list inside a record. It has the shape of a page, and is paged like one.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    pub(super) path: Path,
    pub(super) list: List,
}

impl Collection {
    /// The request for what is missing of a list.
    pub fn part(&self, truncated: &Truncated) -> Result<Request, RequestError> {
        let collection = self.id.clone();
        let nested = self
            .nested_at(&truncated.path)
            .ok_or(RequestError::ListsOnly { collection })?;
        let listing = Listing {
            cursor: truncated.cursor.as_ref(),
            ..Listing::default()
        };
        nested.list.request_for(&truncated.upstream_id, &listing)
    }

    /// Reads the answer to [`Self::part`].
    pub fn parse_part(&self, truncated: &Truncated, body: &[u8]) -> Result<Part, PageError> {
        let path = &truncated.path;
        let nested = self
            .nested_at(path)
            .ok_or_else(|| PageError::NoRecords { path: path.clone() })?;
        let page = nested.list.parse(&Answer::without_links(body))?;
        if page.next.is_some() && page.next == truncated.cursor {
            return Err(PageError::Stuck);
        }
        let next = page.next.map(|cursor| Truncated {
            cursor: Some(cursor),
            ..truncated.clone()
        });
        Ok(Part {
            elements: page.items,
            next,
            repaired: page.repaired,
        })
    }

    /// Completes a record with the elements that were missing of the list at `path`. The rest of the
    /// record stays as it is written.
    pub fn complete(&self, row: &mut Row, path: &Path, missing: &[Bytes]) -> Result<(), PageError> {
        let nested = self.nested_at(path);
        let nested = nested.ok_or_else(|| PageError::NoRecords { path: path.clone() })?;
        let records = path.join(&nested.list.records);
        let no_records = || PageError::NoRecords {
            path: records.clone(),
        };
        let known = json::get(&row.data, &records).ok_or_else(no_records)?;
        let all: Vec<&[u8]> = json::elements(known)
            .chain(missing.iter().map(AsRef::as_ref))
            .collect();
        let filled = json::replace(&row.data, &records, &json::array(&all));
        let ended = filled.and_then(|data| nested.list.end(&data, path));
        row.data = Bytes::from(ended.ok_or_else(no_records)?);
        row.hash = json::hash(&row.data, &self.volatile);
        row.truncated.retain(|truncated| truncated.path != *path);
        Ok(())
    }

    /// The lists of a record that are cut short.
    pub(super) fn truncated(&self, upstream_id: &str, record: &[u8]) -> Vec<Truncated> {
        let cut = self.nested.iter().filter_map(|nested| {
            let cursor = nested.list.cut(json::get(record, &nested.path)?)?;
            Some(Truncated {
                path: nested.path.clone(),
                upstream_id: upstream_id.to_owned(),
                cursor,
            })
        });
        cut.collect()
    }

    fn nested_at(&self, path: &Path) -> Option<&Nested> {
        self.nested.iter().find(|nested| nested.path == *path)
    }
}
