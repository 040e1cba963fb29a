//! Reading a log: the live set chooses the indexes, a reader fetches the rows.

use std::sync::Arc;

use headrace_model::StreamId;
use rusqlite::Connection;

use super::SqliteStore;
use super::rows::{self, Found, Room};
use super::streams::StreamCell;
use crate::{LaneStats, Page, Range, Result, Selection, StreamStats};

/// So many rows are read on the caller's thread.
const FEW: usize = 256;

impl SqliteStore {
    /// Entries that match, in the order asked for.
    pub(super) async fn page(
        &self,
        stream: StreamId,
        selection: &Selection,
        range: Range,
    ) -> Result<Page> {
        let cell = self.stream(stream)?;
        let mut page = Page::default();
        let mut after = range.after;
        let mut bytes = 0;
        while page.rows.len() < range.limit {
            let limit = range.limit - page.rows.len();
            // One more than fits tells whether there is more.
            let mut chosen = choose(&cell, selection, range.newest_first, after, limit + 1);
            page.more = chosen.len() > limit;
            chosen.truncate(limit);
            let Some(last) = chosen.last().copied() else {
                break;
            };
            let room = Room {
                bytes: range.max_bytes.saturating_sub(bytes),
                at_least_one: page.rows.is_empty(),
            };
            let asked = chosen.len();
            let found = self.rows(&cell, chosen, room).await?;
            bytes += found.rows.iter().map(|row| row.data.len()).sum::<usize>();
            page.rows.extend(found.rows);
            if found.looked_at < asked {
                page.more = true;
                break;
            }
            if !page.more {
                break;
            }
            // Entries that were superseded meanwhile left gaps: fill them from what follows.
            after = last;
        }
        Ok(page)
    }

    /// Reads rows of a stream by index.
    pub(super) async fn rows(
        &self,
        cell: &Arc<StreamCell>,
        indexes: Vec<u64>,
        room: Room,
    ) -> Result<Found> {
        let Some(no) = cell.log().no else {
            return Ok(Found::default());
        };
        let few = indexes.len() <= FEW;
        let read = move |db: &Connection| rows::at(db, no, &indexes, room);
        match few {
            true => self.readers.read_here("read the log", read).await,
            false => self.readers.read("read the log", read).await,
        }
    }
}

/// Counts of a stream.
pub(super) fn stats(cell: &StreamCell) -> StreamStats {
    let log = cell.log();
    let (records, live) = log.live.totals();
    let of_lane = |lane: &crate::Lane| {
        let (records, live) = log.live.lane_totals(lane.no);
        LaneStats {
            lane: lane.clone(),
            records,
            live,
        }
    };
    StreamStats {
        records,
        live,
        bytes: log.bytes,
        last_idx: log.last_idx,
        lanes: log.lanes.iter().map(of_lane).collect(),
    }
}

fn choose(
    cell: &StreamCell,
    selection: &Selection,
    newest_first: bool,
    after: u64,
    limit: usize,
) -> Vec<u64> {
    let log = cell.log();
    if newest_first {
        let before = if after == 0 { u64::MAX } else { after };
        log.live.before(selection, before, limit)
    } else {
        log.live.after(selection, after, log.last_idx, limit)
    }
}
