//! Records: listed and read.

use std::collections::BTreeMap;

use headrace_model::filter::Filter;
use headrace_model::{OrgId, RecordId, StreamId, config};
use headrace_store::{Lane, Page, Range, Row};

use crate::entity;
use crate::selection::LaneBook;
use crate::{Engine, Error};

/// The most bytes of record data in one answer.
pub const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Records of one stream with what is needed to write them out.
#[derive(Clone, Debug)]
pub struct Records {
    /// Their stream.
    pub stream: StreamId,
    /// Their lanes and syncs.
    pub book: LaneBook,
    /// The records.
    pub page: Page,
}

/// How much more data an answer takes. The first row goes in whatever its size.
#[derive(Debug)]
pub(crate) struct Room {
    left: usize,
    empty: bool,
}

impl Room {
    /// An answer that nothing is in yet.
    pub(crate) fn of_answer() -> Self {
        Self {
            left: MAX_ANSWER_BYTES,
            empty: true,
        }
    }

    /// Whether the row goes in; it is counted then.
    pub(crate) fn takes(&mut self, row: &Row) -> bool {
        let size = row.data.len();
        let fits = size <= self.left || self.empty;
        if fits {
            self.left = self.left.saturating_sub(size);
            self.empty = false;
        }
        fits
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

impl Engine {
    /// Records of a stream that match, in log order from `after` on, or newest first.
    pub async fn records(
        &self,
        org: OrgId,
        stream: StreamId,
        filter: &Filter,
        range: Range,
    ) -> Result<Records, Error> {
        // The bound first: a lane or sync that the filter does not know yet lies beyond it.
        let upto = self.store.last_idx(stream).await?;
        let book = self.lane_book(org, stream).await?;
        let from_the_end = range.newest_first && (range.after == 0 || range.after > upto);
        let after = if from_the_end { upto + 1 } else { range.after };
        let range = Range { after, ..range };
        let mut page = self.store.read(stream, &book.select(filter), range).await?;
        if page.rows.iter().any(|row| row.idx > upto) {
            page.rows.retain(|row| row.idx <= upto);
            page.more = true;
        }
        Ok(Records { stream, book, page })
    }

    /// The records with this upstream id, in the order asked for: one look-up per sync and collection
    /// that the filter takes.
    pub async fn records_by_upstream_id(
        &self,
        org: OrgId,
        stream: StreamId,
        filter: &Filter,
        upstream_id: &str,
        range: Range,
    ) -> Result<Records, Error> {
        let book = self.lane_book(org, stream).await?;
        let id = |lane: &Lane| RecordId::of(lane.sync, &lane.collection, upstream_id);
        let ids: Vec<RecordId> = book.taken_by(filter).map(id).collect();
        let places = self.store.places(stream, ids.clone()).await?;
        let wanted = |deleted| filter.deleted.is_none_or(|wanted| wanted == deleted);
        let ahead = |idx| match range.newest_first {
            true => range.after == 0 || idx < range.after,
            false => idx > range.after,
        };
        let found = places.into_iter().zip(ids);
        let mut left: BTreeMap<u64, RecordId> = found
            .filter_map(|(place, id)| Some((place?, id)))
            .filter(|(place, _)| wanted(place.deleted) && ahead(place.idx))
            .map(|(place, id)| (place.idx, id))
            .collect();
        let mut page = Page::default();
        let mut room = Room::of_answer();
        while let Some((idx, id)) = match range.newest_first {
            true => left.pop_last(),
            false => left.pop_first(),
        } {
            let Some(row) = self.store.record(stream, id).await? else {
                continue;
            };
            if row.idx != idx {
                // It has changed meanwhile: its turn is where it is now.
                left.extend(wanted(row.deleted).then_some((row.idx, id)));
                continue;
            }
            page.more = page.rows.len() == range.limit || !room.takes(&row);
            if page.more {
                break;
            }
            page.rows.push(row);
        }
        Ok(Records { stream, book, page })
    }

    /// One record by its id, whichever stream of the organisation it is in.
    pub async fn record(&self, org: OrgId, id: RecordId) -> Result<Records, Error> {
        for stream in entity::all::<config::Stream>(&*self.store, Some(org)).await? {
            let stream = StreamId(stream.id);
            if let Some(row) = self.store.record(stream, id).await? {
                let book = self.lane_book(org, stream).await?;
                return Ok(Records {
                    stream,
                    book,
                    page: Page {
                        rows: vec![row],
                        more: false,
                    },
                });
            }
        }
        Err(Error::not_found("record", id))
    }

    /// The stream a call means: the one it names, or the organisation's only one.
    pub async fn stream_or_only(&self, org: OrgId, named: Option<&str>) -> Result<StreamId, Error> {
        if let Some(name) = named {
            return Ok(StreamId(self.stream(org, name).await?.id));
        }
        match self.streams(org).await?.as_slice() {
            [only] => Ok(StreamId(only.id)),
            [] => Err(Error::invalid(
                "stream_id",
                "is needed: make a stream first (POST /v1/streams)",
            )),
            _ => Err(Error::invalid(
                "stream_id",
                "is needed, as there is more than one stream",
            )),
        }
    }
}
