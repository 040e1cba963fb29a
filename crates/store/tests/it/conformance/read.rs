//! Reading the log: selections, orders, limits, counts, and what dropping it leaves.

use std::sync::Arc;

use headrace_model::record::Observation;
use headrace_model::{LaneNo, RecordId, StreamId, SyncId};
use headrace_store::{Place, Range, Selection, Store};
use uuid::Uuid;

use super::Backend;
use super::world::*;

const OTHER: SyncId = SyncId(Uuid::from_u128(20));

/// Two syncs, two collections, some tombstones; every index from 1 to 12 is there.
async fn mixed_log(store: &dyn Store) {
    for n in 0..4 {
        let id = format!("r{n}");
        let customer = if n == 1 {
            gone(&id, 100)
        } else {
            seen(&id, 100, "customer")
        };
        append(store, 100 + n, batch([customer])).await;
        append(
            store,
            100 + n,
            batch_of(SYNC, "invoice", [seen(&id, 100, "invoice")]),
        )
        .await;
        let other = if n == 2 {
            gone(&id, 100)
        } else {
            seen(&id, 100, "other")
        };
        append(store, 100 + n, batch_of(OTHER, COLLECTION, [other])).await;
    }
}

async fn lane(store: &dyn Store, sync: SyncId, collection: &str) -> LaneNo {
    let lanes = store.lanes(STREAM).await.unwrap();
    let lane = lanes
        .iter()
        .find(|lane| lane.sync == sync && &*lane.collection == collection);
    lane.unwrap().no
}

async fn indexes(store: &dyn Store, selection: &Selection, range: Range) -> (Vec<u64>, bool) {
    let page = store.read(STREAM, selection, range).await.unwrap();
    (page.rows.iter().map(|row| row.idx).collect(), page.more)
}

pub(crate) async fn a_selection_is_lanes_and_deleted(backend: &impl Backend) {
    let store = backend.open().await;
    mixed_log(&*store).await;
    let invoices = lane(&*store, SYNC, "invoice").await;
    let others = lane(&*store, OTHER, COLLECTION).await;
    let select = |lanes: Option<&[LaneNo]>, deleted| Selection {
        lanes: lanes.map(Arc::from),
        deleted,
    };
    let ascending = all_after(0);
    let descending = Range {
        newest_first: true,
        ..ascending
    };
    let cases: [(Selection, &[u64]); 7] = [
        (select(None, None), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (select(None, Some(true)), &[4, 9]),
        (
            select(None, Some(false)),
            &[1, 2, 3, 5, 6, 7, 8, 10, 11, 12],
        ),
        (select(Some(&[invoices]), None), &[2, 5, 8, 11]),
        (
            select(Some(&[others, invoices]), None),
            &[2, 3, 5, 6, 8, 9, 11, 12],
        ),
        (
            select(Some(&[others, invoices]), Some(false)),
            &[2, 3, 5, 6, 8, 11, 12],
        ),
        (select(Some(&[]), None), &[]),
    ];
    for (selection, expected) in cases {
        let (found, more) = indexes(&*store, &selection, ascending).await;
        assert_eq!((&found[..], more), (expected, false), "{selection:?}");
        let (mut found, more) = indexes(&*store, &selection, descending).await;
        found.reverse();
        assert_eq!(
            (&found[..], more),
            (expected, false),
            "{selection:?} backwards"
        );
    }
}

pub(crate) async fn pages_go_on_where_the_last_one_ended(backend: &impl Backend) {
    let store = backend.open().await;
    mixed_log(&*store).await;
    for newest_first in [false, true] {
        let mut collected = Vec::new();
        let mut after = 0;
        loop {
            let range = Range {
                after,
                limit: 4,
                max_bytes: usize::MAX,
                newest_first,
            };
            let (page, more) = indexes(&*store, &everything(), range).await;
            after = *page.last().unwrap();
            assert_eq!(page.len(), 4);
            collected.extend(page);
            assert_eq!(more, collected.len() < 12);
            if !more {
                break;
            }
        }
        if newest_first {
            collected.reverse();
        }
        assert_eq!(collected, (1..=12).collect::<Vec<u64>>());
    }
}

pub(crate) async fn a_page_stops_at_the_byte_limit(backend: &impl Backend) {
    let store = backend.open().await;
    for id in ["a", "b", "c"] {
        put(&*store, id, 100, "0123456789").await;
    }
    let limited = |max_bytes| Range {
        max_bytes,
        ..all_after(0)
    };
    for newest_first in [false, true] {
        let read = async |max_bytes| {
            let range = Range {
                newest_first,
                ..limited(max_bytes)
            };
            let (page, more) = indexes(&*store, &everything(), range).await;
            (page.len(), more)
        };
        assert_eq!(read(0).await, (1, true), "at least one");
        assert_eq!(read(19).await, (1, true));
        assert_eq!(read(20).await, (2, true));
        assert_eq!(read(30).await, (3, false));
    }
}

pub(crate) async fn a_time_has_a_position(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(store.position_before(STREAM, at(5)).await.unwrap(), 0);
    for (n, second) in [100, 100, 110, 120, 120, 130].into_iter().enumerate() {
        append(&*store, second, batch([seen(&format!("r{n}"), 1, "1")])).await;
    }
    // The first entry leaves; the rest keep their places.
    append(&*store, 140, batch([seen("r0", 100, "2")])).await;
    let position = async |second| store.position_before(STREAM, at(second)).await.unwrap();
    assert_eq!(position(0).await, 1);
    assert_eq!(position(100).await, 1);
    assert_eq!(position(101).await, 2);
    assert_eq!(position(110).await, 2);
    assert_eq!(position(115).await, 3);
    assert_eq!(position(120).await, 3);
    assert_eq!(position(121).await, 5);
    assert_eq!(position(140).await, 6);
    assert_eq!(position(141).await, 7);
}

pub(crate) async fn counts_are_those_of_the_log(backend: &impl Backend) {
    let store = backend.open().await;
    mixed_log(&*store).await;
    put(&*store, "r0", 200, "longer than before").await;
    append(&*store, 200, batch([gone("r3", 200)])).await;
    let expected = store.stats(STREAM).await.unwrap();
    let rows = log(&*store).await;
    assert_eq!(expected.records, rows.len() as u64);
    let live = rows.iter().filter(|row| !row.deleted).count();
    assert_eq!(expected.live, live as u64);
    let bytes: usize = rows.iter().map(|row| row.data.len()).sum();
    assert_eq!(expected.bytes, bytes as u64);
    assert_eq!(expected.last_idx, 14);
    for lane in &expected.lanes {
        let of_lane = rows.iter().filter(|row| row.lane == lane.lane.no);
        assert_eq!(lane.records, of_lane.clone().count() as u64);
        let live = of_lane.filter(|row| !row.deleted).count();
        assert_eq!(lane.live, live as u64);
    }
    assert_eq!(expected.lanes.len(), 3);
    store.close().await.unwrap();
    let store = backend.open().await;
    assert_eq!(store.stats(STREAM).await.unwrap(), expected);
}

pub(crate) async fn a_record_is_found_by_its_id(backend: &impl Backend) {
    let store = backend.open().await;
    mixed_log(&*store).await;
    let record = RecordId::of(OTHER, COLLECTION, "r2");
    let row = store.record(STREAM, record).await.unwrap().unwrap();
    assert_eq!((row.idx, row.deleted), (9, true));
    let elsewhere = headrace_model::StreamId(Uuid::from_u128(77));
    assert_eq!(store.record(elsewhere, record).await.unwrap(), None);
    let unknown = RecordId::of(OTHER, COLLECTION, "r9");
    assert_eq!(store.record(STREAM, unknown).await.unwrap(), None);
}

pub(crate) async fn records_are_located_without_their_data(backend: &impl Backend) {
    let store = backend.open().await;
    let located = async |ids: &[&str]| {
        let records = ids.iter().map(|id| record(id)).collect();
        let places = store.places(STREAM, records).await.unwrap();
        let brief = |place: Option<Place>| place.map(|place| (place.idx, place.deleted));
        places.into_iter().map(brief).collect::<Vec<_>>()
    };
    assert_eq!(located(&["a"]).await, [None]);
    put(&*store, "a", 100, "1").await;
    put(&*store, "b", 100, "1").await;
    append(&*store, 110, batch([gone("a", 110)])).await;
    put(&*store, "c", 120, "1").await;
    purge(&*store, "c").await;
    let places = located(&["b", "nobody", "a", "c", "b"]).await;
    let b = Some((2, false));
    assert_eq!(places, [b, None, Some((3, true)), None, b]);
    let place = store.places(STREAM, vec![record("b")]).await.unwrap()[0];
    let lane = lane(&*store, SYNC, COLLECTION).await;
    assert_eq!(place.map(|place| place.lane), Some(lane));
}

pub(crate) async fn a_dropped_log_is_gone_and_can_be_begun_anew(backend: &impl Backend) {
    let store = backend.open().await;
    mixed_log(&*store).await;
    let worker = Worker::new(&*store).await;
    let messages = worker.next(200, 1).await;
    worker.reject(&messages[0], 200).await;
    let lanes = store.lanes(STREAM).await.unwrap();
    store.drop_log(STREAM).await.unwrap();
    assert_eq!(log(&*store).await, []);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 0);
    assert_eq!(store.stats(STREAM).await.unwrap().records, 0);
    assert!(store.lanes(STREAM).await.unwrap().is_empty());
    assert!(matches!(
        worker.try_next(200, 1, &everything()).await,
        Err(headrace_store::StoreError::NoConsumer)
    ));
    put(&*store, "r0", 50, "anew").await;
    assert_eq!(short(&log(&*store).await), ["1:r0=anew"]);
    let new_lane = lane(&*store, SYNC, COLLECTION).await;
    assert!(
        lanes.iter().all(|old| old.no != new_lane),
        "numbers are not used again"
    );
    store.close().await.unwrap();
    let store = backend.open().await;
    assert_eq!(short(&log(&*store).await), ["1:r0=anew"]);
    put(&*store, "r0", 60, "newer").await;
    assert_eq!(short(&log(&*store).await), ["2:r0=newer"]);
}

pub(crate) async fn children_are_found_by_their_parent(backend: &impl Backend) {
    let store = backend.open().await;
    let below = |id: &str, second, parent: &str| Observation {
        parent_id: Some(parent.to_owned()),
        ..seen(id, second, "1")
    };
    let items = [below("a", 1, "p"), below("b", 1, "p"), below("c", 1, "q")];
    append(&*store, 1, batch(items)).await;
    append(&*store, 1, batch([seen("d", 1, "1")])).await;
    let other = SyncId(Uuid::from_u128(77));
    append(
        &*store,
        1,
        batch_of(other, COLLECTION, [below("e", 1, "p")]),
    )
    .await;
    let children = async |parent| {
        let found = store.children(STREAM, SYNC, COLLECTION, parent).await;
        found.unwrap()
    };
    assert_eq!(children("p").await, ["a", "b"]);
    assert_eq!(children("q").await, ["c"]);
    assert_eq!(children("r").await, [""; 0]);
    let parent = async |stream, id| store.parent(stream, record(id)).await.unwrap();
    assert_eq!(parent(STREAM, "c").await.as_deref(), Some("q"));
    for (stream, id) in [(STREAM, "d"), (STREAM, "x"), (StreamId(Uuid::nil()), "c")] {
        assert_eq!(parent(stream, id).await, None);
    }
    // One moves to another parent, one goes, one is seen again without its parent being told.
    let moved = Observation {
        parent_id: Some("q".to_owned()),
        ..seen("a", 9, "2")
    };
    append(&*store, 9, batch([moved, gone("b", 9), seen("c", 9, "2")])).await;
    assert_eq!(children("p").await, [""; 0]);
    assert_eq!(children("q").await, ["a", "c"]);
    purge(&*store, "c").await;
    assert_eq!(children("q").await, ["a"]);
}
