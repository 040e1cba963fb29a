//! Appending: newer wins, indexes without holes, cursors and fences in the same transaction.

use std::sync::Arc;

use headrace_model::record::{Mark, Observation, Origin, Version};
use headrace_model::{RecordId, SyncId};
use headrace_store::{Batch, CursorWrite, Fence, Outcome, Range, Row, StoreError};
use uuid::Uuid;

use super::Backend;
use super::world::*;

fn new(idx: u64) -> Outcome {
    Outcome::Appended { idx, new: true }
}

fn changed(idx: u64) -> Outcome {
    Outcome::Appended { idx, new: false }
}

/// In doubt against what is at this index and was seen at this second.
fn doubt(idx: u64, second: i64) -> Outcome {
    Outcome::Doubt(mark(idx, second))
}

fn mark(idx: u64, second: i64) -> Mark {
    let version = Version::Seen(at(second));
    Mark { idx, version }
}

pub(crate) async fn newer_wins_and_older_is_in_doubt(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(put(&*store, "a", 100, "1").await, new(1));
    assert_eq!(put(&*store, "b", 100, "1").await, new(2));
    assert_eq!(put(&*store, "a", 110, "2").await, changed(3));
    assert_eq!(put(&*store, "a", 105, "3").await, doubt(3, 110));
    assert_eq!(put(&*store, "a", 120, "2").await, Outcome::Unchanged);
    assert_eq!(short(&log(&*store).await), ["2:b=1", "3:a=2"]);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 3);
}

pub(crate) async fn an_older_version_of_the_providers_own_is_stale(backend: &impl Backend) {
    let store = backend.open().await;
    let revision = |revision, data| Observation {
        version: Version::Own(revision),
        ..seen("a", 100, data)
    };
    let revisions = batch([revision(5, "1"), revision(4, "2"), revision(6, "3")]);
    let outcomes = append(&*store, 100, revisions).await.outcomes;
    assert_eq!(outcomes, [new(1), Outcome::Stale, changed(2)]);
}

pub(crate) async fn a_doubt_is_settled_by_a_recheck(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    assert_eq!(put(&*store, "a", 101, "2").await, doubt(1, 100));
    let recheck = || Observation {
        origin: Origin::Recheck(mark(1, 100)),
        ..seen("a", 101, "3")
    };
    let outcomes = append(&*store, 101, batch([recheck(), recheck()]))
        .await
        .outcomes;
    assert_eq!(outcomes, [changed(2), Outcome::Unchanged]);
    assert_eq!(short(&log(&*store).await), ["2:a=3"]);
}

/// Its clock was set back: what it has read is newer all the same, and is compared as such from then on.
pub(crate) async fn a_recheck_with_an_earlier_time_makes_the_version_no_older(
    backend: &impl Backend,
) {
    let store = backend.open().await;
    put(&*store, "a", 4_000, "1").await;
    assert_eq!(put(&*store, "a", 400, "2").await, doubt(1, 4_000));
    let recheck = Observation {
        origin: Origin::Recheck(mark(1, 4_000)),
        ..seen("a", 401, "2")
    };
    let outcomes = append(&*store, 401, batch([recheck])).await.outcomes;
    assert_eq!(outcomes, [changed(2)]);
    let late = Observation {
        origin: Origin::Event,
        ..seen("a", 3_990, "1")
    };
    let outcomes = append(&*store, 402, batch([late])).await.outcomes;
    assert_eq!(outcomes, [doubt(2, 4_000)]);
    assert_eq!(short(&log(&*store).await), ["2:a=2"]);
}

/// The read that was to settle a doubt waited, and an event has confirmed the known content since.
pub(crate) async fn a_recheck_does_not_undo_what_was_seen_after_it(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    assert_eq!(put(&*store, "a", 101, "2").await, doubt(1, 100));
    let event = Observation {
        origin: Origin::Event,
        ..seen("a", 110, "1")
    };
    let recheck = Observation {
        origin: Origin::Recheck(mark(1, 100)),
        ..seen("a", 102, "2")
    };
    let outcomes = append(&*store, 110, batch([event, recheck])).await.outcomes;
    assert_eq!(outcomes, [Outcome::Unchanged, doubt(1, 110)]);
    assert_eq!(short(&log(&*store).await), ["1:a=1"]);
}

pub(crate) async fn a_tombstone_keeps_what_was_known(backend: &impl Backend) {
    let store = backend.open().await;
    let first = Observation {
        created_at: Some(at(50)),
        updated_at: Some(at(60)),
        ..seen("a", 100, "1")
    };
    append(&*store, 100, batch([first])).await;
    append(&*store, 110, batch([gone("a", 110), gone("b", 110)])).await;
    let rows = log(&*store).await;
    assert_eq!(short(&rows), ["2:-a=1", "3:-b=null"]);
    let expected = Row {
        upstream_created_at: Some(at(50)),
        upstream_updated_at: Some(at(60)),
        inserted_at: at(100),
        updated_at: at(110),
        record: record("a"),
        ..rows[0].clone()
    };
    assert_eq!(rows[0], expected);
    assert_eq!(put(&*store, "a", 105, "0").await, doubt(2, 110));
    let again = append(&*store, 120, batch([gone("a", 120)])).await;
    assert_eq!(again.outcomes, [Outcome::Unchanged]);
    assert_eq!(put(&*store, "a", 130, "1").await, changed(4), "restored");
    let rows = log(&*store).await;
    assert_eq!(short(&rows), ["3:-b=null", "4:a=1"]);
    assert_eq!(rows[1].inserted_at, at(100));
}

pub(crate) async fn times_fall_back_to_what_was_known(backend: &impl Backend) {
    let store = backend.open().await;
    let created = Observation {
        created_at: Some(at(50)),
        ..seen("a", 100, "1")
    };
    append(&*store, 100, batch([created, seen("b", 100, "1")])).await;
    let rows = log(&*store).await;
    assert_eq!(rows[0].upstream_updated_at, Some(at(50)));
    assert_eq!(rows[1].upstream_updated_at, None);
    let updated = Observation {
        updated_at: Some(at(105)),
        ..seen("a", 110, "2")
    };
    append(&*store, 110, batch([updated])).await;
    put(&*store, "a", 120, "3").await;
    let row = store.record(STREAM, record("a")).await.unwrap().unwrap();
    assert_eq!(row.upstream_created_at, Some(at(50)));
    assert_eq!(row.upstream_updated_at, Some(at(105)));
}

pub(crate) async fn an_event_with_known_content_raises_the_version(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    let event = Observation {
        origin: Origin::Event,
        ..seen("a", 200, "1")
    };
    let same = append(&*store, 200, batch([event])).await;
    assert_eq!(same.outcomes, [Outcome::Unchanged]);
    assert_eq!(put(&*store, "a", 150, "2").await, doubt(1, 200));
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 1);
}

pub(crate) async fn one_batch_works_in_order(backend: &impl Backend) {
    let store = backend.open().await;
    let seen = [
        seen("a", 100, "1"),
        gone("a", 110),
        seen("a", 105, "2"),
        seen("a", 120, "3"),
    ];
    let outcomes = append(&*store, 200, batch(seen)).await.outcomes;
    assert_eq!(outcomes, [new(1), changed(2), doubt(2, 110), changed(3)]);
    assert_eq!(short(&log(&*store).await), ["3:a=3"]);
    let stats = store.stats(STREAM).await.unwrap();
    assert_eq!((stats.records, stats.live, stats.bytes), (1, 1, 1));
}

pub(crate) async fn an_upstream_id_of_two_syncs_is_two_records(backend: &impl Backend) {
    let store = backend.open().await;
    let other = SyncId(Uuid::from_u128(20));
    append(&*store, 1, batch([seen("512", 100, "mine")])).await;
    append(
        &*store,
        2,
        batch_of(other, COLLECTION, [seen("512", 100, "yours")]),
    )
    .await;
    append(
        &*store,
        3,
        batch_of(SYNC, "stripe:invoice", [seen("512", 100, "bill")]),
    )
    .await;
    let rows = log(&*store).await;
    assert_eq!(short(&rows), ["1:512=mine", "2:512=yours", "3:512=bill"]);
    assert_eq!(rows[1].record, RecordId::of(other, COLLECTION, "512"));
    let lanes: Vec<_> = rows.iter().map(|row| row.lane).collect();
    assert!(lanes[0] != lanes[1] && lanes[1] != lanes[2] && lanes[0] != lanes[2]);
}

pub(crate) async fn a_stale_fence_refuses_its_batch_alone(backend: &impl Backend) {
    let store = backend.open().await;
    let (old, now) = (Uuid::from_u128(8), Uuid::from_u128(9));
    let stale = store.lease("sync", old, at(0), at(10)).await.unwrap();
    let good = store.lease("sync", now, at(20), at(90)).await.unwrap();
    let unknown = Some(Fence {
        name: Arc::from("other"),
        number: 1,
    });
    let under = |fence, id: &str| Batch {
        fence,
        cursors: vec![CursorWrite {
            collection: Arc::from(id),
            body: b"here".to_vec(),
        }],
        ..batch([seen(id, 100, "1")])
    };
    let batches = vec![
        under(None, "a"),
        under(stale, "b"),
        under(good, "c"),
        under(unknown, "d"),
    ];
    let results = store.append(STREAM, at(100), batches).await.unwrap();
    let fenced: Vec<bool> = results
        .iter()
        .map(|result| matches!(result, Err(StoreError::Fenced)))
        .collect();
    assert_eq!(fenced, [false, true, false, true]);
    assert_eq!(short(&log(&*store).await), ["1:a=1", "2:c=1"]);
    let cursors = store.cursors(SYNC).await.unwrap();
    let kept: Vec<_> = cursors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(kept, ["a", "c"]);
}

pub(crate) async fn purged_records_leave_no_trace_for_readers(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    put(&*store, "b", 100, "1").await;
    assert_eq!(purge(&*store, "a").await, 1);
    assert_eq!(purge(&*store, "a").await, 0);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 3, "it has an index");
    assert_eq!(short(&log(&*store).await), ["2:b=1"]);
    assert_eq!(store.record(STREAM, record("a")).await.unwrap(), None);
    let stats = store.stats(STREAM).await.unwrap();
    assert_eq!((stats.records, stats.bytes), (1, 1));
    assert_eq!(put(&*store, "a", 50, "0").await, new(4), "forgotten");
    let rows = store
        .read(STREAM, &everything(), all_after(2))
        .await
        .unwrap();
    assert_eq!(short(&rows.rows), ["4:a=0"]);
}

pub(crate) async fn commit_times_never_decrease(backend: &impl Backend) {
    let store = backend.open().await;
    for (n, second) in [100, 90, 120, 110].into_iter().enumerate() {
        append(&*store, second, batch([seen(&format!("r{n}"), 1, "1")])).await;
    }
    let times = async |store: &dyn headrace_store::Store| -> Vec<i64> {
        let rows = log(store).await;
        rows.iter().map(|row| row.updated_at.as_seconds()).collect()
    };
    assert_eq!(times(&*store).await, [100, 100, 120, 120]);
    store.close().await.unwrap();
    let store = backend.open().await;
    append(&*store, 5, batch([seen("late", 1, "1")])).await;
    assert_eq!(times(&*store).await, [100, 100, 120, 120, 120]);
}

/// Writers race; a reader that follows the watch never sees an index before all those below it.
pub(crate) async fn readers_never_see_a_hole(backend: &impl Backend) {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 25;
    let store = backend.open().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..APPENDS {
                let ids = [format!("{writer}.{n}.1"), format!("{writer}.{n}.2")];
                let observed = ids.iter().map(|id| seen(id, 100, "1"));
                append(&*store, 100, batch(observed)).await;
            }
        });
    }
    let mut tail = store.watch(STREAM).await.unwrap();
    let mut position = 0;
    while position < WRITERS * APPENDS * 2 {
        let known = *tail.wait_for(|last| *last > position).await.unwrap();
        let range = Range {
            limit: usize::MAX - 1,
            ..all_after(position)
        };
        let page = store.read(STREAM, &everything(), range).await.unwrap();
        for row in &page.rows {
            assert_eq!(row.idx, position + 1);
            position = row.idx;
        }
        assert!(position >= known, "what the watch told is readable");
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert_eq!(store.last_idx(STREAM).await.unwrap(), position);
}
