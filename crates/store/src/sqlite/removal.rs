//! The ends of consumers and logs.
//!
//! A dropped log is unknown at once; its rows are cleared away piece by piece while the writer has
//! nothing else to do, and on from there after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headrace_model::{ConsumerId, StreamId};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::error::Tx;
use super::streams::row_id;
use super::summary;
use crate::{Result, StoreError};

/// Rows that are cleared away in one transaction: whoever writes next waits for it.
const CLEARED_AT_ONCE: i64 = 400;

impl SqliteStore {
    /// Removes a consumer, and its dead letters before it: there may be many.
    pub(super) async fn remove_consumer(&self, consumer: ConsumerId) -> Result<()> {
        match self.remove_dead(consumer, None).await {
            Ok(_) | Err(StoreError::NoConsumer) => {}
            Err(error) => return Err(error),
        }
        let cell = self.consumers.get(consumer);
        let consumers = Arc::clone(&self.consumers);
        let journal = Arc::clone(&self.journal);
        let remove = move |db: &Connection| remove_consumers(db, "id", consumer.0.as_bytes());
        let after = move |removed: Option<&Vec<i64>>| {
            if let Some(removed) = removed {
                removed.iter().for_each(|no| journal.forget(*no));
                cell.invalidate();
                consumers.forget(&cell);
            }
        };
        let removing = self.writer.submit("remove the consumer", 0, remove, after);
        removing.durable().await.map(drop)
    }

    /// Removes a log.
    pub(super) async fn remove_log(&self, stream: StreamId) -> Result<()> {
        let cell = self.streams.get(stream);
        let clearing = self.clearing.clone();
        let journal = Arc::clone(&self.journal);
        let remove = move |db: &Connection| detach(db, stream);
        let after = move |removed: Option<&Vec<i64>>| {
            if let Some(removed) = removed {
                removed.iter().for_each(|no| journal.forget(*no));
                cell.publish_drop();
                clearing.request();
            }
        };
        let removing = self.writer.submit("remove the log", 0, remove, after);
        removing.durable().await.map(drop)
    }
}

/// Whether rows of dropped logs may be left.
#[derive(Clone, Debug)]
pub(super) struct Clearing(Arc<AtomicBool>);

impl Clearing {
    /// A store was opened: the last run may have left some.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether there may be some.
    pub(super) fn is_pending(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// There are none any more. Only the writer says so, who also hears of new ones.
    pub(super) fn is_done(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Answers the numbers of those that were removed.
fn remove_consumers(db: &Connection, column: &str, value: &[u8; 16]) -> Tx<Vec<i64>> {
    for table in ["outstanding", "dead_letter"] {
        db.execute(
            &format!(
                "delete from {table} where consumer in (select no from consumer where {column} = ?)"
            ),
            [value],
        )?;
    }
    let mut query = db.prepare(&format!(
        "delete from consumer where {column} = ? returning no"
    ))?;
    let removed = query.query_map([value], |row| row.get(0))?;
    Ok(removed.collect::<rusqlite::Result<_>>()?)
}

/// Makes a log unknown, in a few rows. Answers the numbers of its consumers.
fn detach(db: &Connection, stream: StreamId) -> Tx<Vec<i64>> {
    let consumers = remove_consumers(db, "stream", stream.0.as_bytes())?;
    let no: Option<i64> = db
        .query_row(
            "delete from stream where id = ? returning no",
            [stream.0.as_bytes()],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(no) = no {
        db.execute("delete from lane where stream = ?", [no])?;
        summary::forget(db, no)?;
        db.execute("insert into dropped_stream (no) values (?)", [no])?;
    }
    Ok(consumers)
}

/// Clears some rows of dropped logs away. Answers whether there may be more.
pub(super) fn clear_some(db: &Connection) -> Tx<bool> {
    let no: Option<i64> = db
        .prepare_cached("select no from dropped_stream limit 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(no) = no else {
        return Ok(false);
    };
    let mut query = db.prepare_cached(
        "delete from log where id in
             (select id from log where id >= ? and id < ? order by id limit ?)
         returning record, id",
    )?;
    let bounds = params![row_id(no, 0), row_id(no + 1, 0), CLEARED_AT_ONCE];
    let cleared = query.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let cleared: Vec<([u8; 16], i64)> = cleared.collect::<rusqlite::Result<_>>()?;
    for (record, id) in &cleared {
        db.prepare_cached("delete from key where record = ? and id = ?")?
            .execute(params![record, id])?;
    }
    if cleared.is_empty() {
        db.execute("delete from dropped_stream where no = ?", [no])?;
    }
    Ok(true)
}
