//! Streams in memory: what readers see of each log.
//!
//! The writer publishes what it has committed, in commit order, under one lock per stream. So what is
//! visible here is durable, and everything before it is visible too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use headrace_model::{LaneNo, StreamId, SyncId};
use rusqlite::Connection;
use tokio::sync::watch;
use uuid::Uuid;

use super::consumers::ConsumerCell;
use super::error::Tx;
use super::live::LiveSet;
use super::summary;
use crate::Lane;

/// Bits of a log row's id that hold the index; the stream's number is above them.
const INDEX_BITS: u32 = 40;
/// No index can be above this.
pub(super) const HIGHEST_IDX: u64 = (1 << INDEX_BITS) - 1;

/// The id of a log row.
pub(super) fn row_id(stream: i64, idx: u64) -> i64 {
    stream << INDEX_BITS | idx.cast_signed()
}

/// The stream's number and the index of a log row's id.
pub(super) fn split_row_id(id: i64) -> (i64, u64) {
    let idx = id & ((1 << INDEX_BITS) - 1);
    (id >> INDEX_BITS, idx.cast_unsigned())
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    cells: Mutex<HashMap<StreamId, Arc<StreamCell>>>,
    changes: Arc<AtomicUsize>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct StreamCell {
    log: RwLock<Log>,
    tail: watch::Sender<u64>,
    /// The consumers whose state is in memory, by number: they are told what leaves the log.
    consumers: Mutex<HashMap<i64, Weak<ConsumerCell>>>,
    /// How many entries came and left since that was written down: here, and in all streams.
    changes: AtomicUsize,
    all_changes: Arc<AtomicUsize>,
}

/// What readers see of a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The stream's number; `None` before the first append.
    pub(super) no: Option<i64>,
    /// The newest index.
    pub(super) last_idx: u64,
    /// Bytes of data in the log.
    pub(super) bytes: u64,
    /// Its lanes.
    pub(super) lanes: Arc<Vec<Lane>>,
    /// The indexes in it.
    pub(super) live: LiveSet,
}

/// What one append changed, in order.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) no: i64,
    pub(super) last_idx: u64,
    pub(super) bytes: u64,
    pub(super) lanes: Vec<Lane>,
    pub(super) moves: Vec<Move>,
    /// Dead letters that were purged: the number of the consumer of each.
    pub(super) undead: Vec<i64>,
}

/// An entry that came to the log or left it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    In {
        idx: u64,
        lane: LaneNo,
        deleted: bool,
    },
    Out {
        idx: u64,
        lane: LaneNo,
        deleted: bool,
    },
}

impl Streams {
    /// Reads every stream, without its entries.
    pub(super) fn load(db: &Connection) -> Tx<Self> {
        let mut logs = HashMap::new();
        let mut numbers = HashMap::new();
        let mut query = db.prepare("select no, id, last_idx, bytes from stream")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let no: i64 = row.get(0)?;
            numbers.insert(no, StreamId(Uuid::from_bytes(row.get(1)?)));
            let log = Log {
                no: Some(no),
                last_idx: row.get::<_, i64>(2)?.cast_unsigned(),
                bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                ..Log::default()
            };
            logs.insert(no, log);
        }
        load_lanes(db, &mut logs)?;
        let mut since = HashMap::new();
        for (no, (live, changes)) in summary::load(db)? {
            if let Some(log) = logs.get_mut(&no) {
                log.live = live;
                since.insert(no, changes);
            }
        }
        let changes = Arc::new(AtomicUsize::new(since.values().sum()));
        let cells = logs.into_iter().filter_map(|(no, log)| {
            let id = numbers.get(&no)?;
            let cell = StreamCell::new(log, Arc::clone(&changes));
            let since = since.get(&no).copied().unwrap_or(0);
            cell.changes.store(since, Ordering::Relaxed);
            Some((*id, Arc::new(cell)))
        });
        Ok(Self {
            cells: Mutex::new(cells.collect()),
            changes: Arc::clone(&changes),
        })
    }

    /// How many entries came and left since that was written down.
    pub(super) fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    /// The streams in which some did.
    pub(super) fn changed(&self) -> Vec<Arc<StreamCell>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = |cell: &&Arc<StreamCell>| cell.changes.load(Ordering::Relaxed) > 0;
        cells.values().filter(is_changed).cloned().collect()
    }

    /// Everything is written down.
    pub(super) fn written_down(&self) {
        for cell in self.changed() {
            let changes = cell.changes.swap(0, Ordering::Relaxed);
            self.changes.fetch_sub(changes, Ordering::Relaxed);
            let mut log = cell.log.write().unwrap_or_else(PoisonError::into_inner);
            log.live.written_down();
        }
    }

    /// The stream, empty when nothing was ever appended to it.
    pub(super) fn get(&self, id: StreamId) -> Arc<StreamCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(id);
        Arc::clone(cell.or_insert_with(|| {
            Arc::new(StreamCell::new(Log::default(), Arc::clone(&self.changes)))
        }))
    }
}

fn load_lanes(db: &Connection, logs: &mut HashMap<i64, Log>) -> Tx<()> {
    let mut query = db.prepare("select stream, no, sync, collection from lane order by no")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(log) = logs.get_mut(&row.get(0)?) {
            let lane = Lane {
                no: LaneNo(row.get(1)?),
                sync: SyncId(Uuid::from_bytes(row.get(2)?)),
                collection: row.get(3)?,
            };
            Arc::make_mut(&mut log.lanes).push(lane);
        }
    }
    Ok(())
}

impl StreamCell {
    fn new(log: Log, all_changes: Arc<AtomicUsize>) -> Self {
        Self {
            tail: watch::Sender::new(log.last_idx),
            log: RwLock::new(log),
            consumers: Mutex::default(),
            changes: AtomicUsize::new(0),
            all_changes,
        }
    }

    /// The log as it is now. Held for an instant only: the writer waits.
    pub(super) fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the newest index.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.tail.subscribe()
    }

    /// From now on this consumer is told what leaves the log.
    pub(super) fn register(&self, no: i64, consumer: &Arc<ConsumerCell>) {
        let mut consumers = self
            .consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|_, cell| cell.strong_count() > 0);
        consumers.insert(no, Arc::downgrade(consumer));
    }

    /// Shows readers what was appended. Called by the writer, in commit order.
    pub(super) fn publish(&self, delta: &Delta) {
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        log.no = Some(delta.no);
        log.bytes = delta.bytes;
        if !delta.lanes.is_empty() {
            Arc::make_mut(&mut log.lanes).extend(delta.lanes.iter().cloned());
        }
        log.live.apply(&delta.moves);
        self.changes.fetch_add(delta.moves.len(), Ordering::Relaxed);
        self.all_changes
            .fetch_add(delta.moves.len(), Ordering::Relaxed);
        log.last_idx = delta.last_idx;
        // Under the lock, so that a consumer that looks at the log knows what has left it.
        self.tell_consumers(delta);
        drop(log);
        self.tail.send_if_modified(|tail| {
            let grew = *tail != delta.last_idx;
            *tail = delta.last_idx;
            grew
        });
    }

    /// The log was dropped. Called by the writer.
    pub(super) fn publish_drop(&self) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = Log::default();
        let consumers = std::mem::take(
            &mut *self
                .consumers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for consumer in consumers.values().filter_map(Weak::upgrade) {
            consumer.invalidate();
        }
        self.tail.send_replace(0);
    }

    fn tell_consumers(&self, delta: &Delta) {
        let left: Vec<u64> = delta
            .moves
            .iter()
            .filter_map(|change| match change {
                Move::Out { idx, .. } => Some(*idx),
                Move::In { .. } => None,
            })
            .collect();
        if left.is_empty() {
            return;
        }
        let consumers = self
            .consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for consumer in consumers.values().filter_map(Weak::upgrade) {
            consumer.left_the_log(&left);
        }
        for no in &delta.undead {
            if let Some(consumer) = consumers.get(no).and_then(Weak::upgrade) {
                consumer.add_dead(-1);
            }
        }
    }
}
