//! Dead letters: what is given up on, and how it comes back.

use headrace_model::delivery::{Policy, Settled};
use headrace_store::{Next, Selection, Store};

use super::Backend;
use super::world::*;

async fn dead(store: &dyn Store) -> Vec<(u64, u32, Option<String>)> {
    let letters = store.dead_letters(CONSUMER, None, 99).await.unwrap();
    let mut dead: Vec<_> = letters
        .into_iter()
        .map(|letter| {
            (
                letter.idx,
                letter.attempts,
                letter.last_error.map(|error| error.to_string()),
            )
        })
        .collect();
    dead.sort();
    dead
}

/// A worker that has rejected records `a`, `b` and `c`.
async fn after_three_deaths(store: &dyn Store) -> Worker<'_> {
    append(
        store,
        100,
        batch(["a", "b", "c"].map(|id| seen(id, 100, "1"))),
    )
    .await;
    let worker = Worker::new(store).await;
    for message in worker.next(200, 9).await {
        assert_eq!(worker.reject(&message, 200).await, Settled::Done);
    }
    worker
}

/// A worker that has rejected so many records.
async fn after_many_deaths(store: &dyn Store, count: usize) -> Worker<'_> {
    let ids = (0..count).map(|n| seen(&format!("r{n}"), 100, "1"));
    append(store, 100, batch(ids)).await;
    let worker = Worker {
        policy: Policy {
            max_ack_pending: 20_000,
            ..POLICY
        },
        ..Worker::new(store).await
    };
    for message in worker.next(200, count).await {
        worker.reject(&message, 200).await;
    }
    worker
}

pub(crate) async fn the_last_delivery_ends_in_the_dead_letters(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", 100, "1").await;
    put(&*store, "b", 100, "1").await;
    let worker = Worker::new(&*store).await;
    let first = worker.next(200, 9).await;
    worker.ack(&first[1]).await;
    worker.nack(&first[0], 200, 0).await;
    let second = worker.next(200, 9).await;
    assert_eq!(brief(&second), ["a=1×2"]);
    let third = worker.next(230, 9).await;
    assert_eq!(brief(&third), ["a=1×3"]);
    assert!(worker.next(260, 9).await.is_empty());
    assert_eq!(worker.counts().await, (0, 0, 1));
    let error = Some("no ack within the ack window".to_owned());
    assert_eq!(dead(&*store).await, [(1, 3, error)]);
    let letter = store
        .dead_letters(CONSUMER, None, 9)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((letter.record, letter.died_at), (record("a"), at(260)));
    store.close().await.unwrap();
    let store = backend.open().await;
    assert_eq!(Worker::of(&*store).counts().await, (0, 0, 1));
    assert_eq!(dead(&*store).await.len(), 1);
}

pub(crate) async fn dead_letters_come_in_pages(backend: &impl Backend) {
    let store = backend.open().await;
    after_three_deaths(&*store).await;
    let mut after = None;
    let mut records = Vec::new();
    loop {
        let page = store.dead_letters(CONSUMER, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.record);
        records.extend(page.iter().map(|letter| letter.record));
    }
    let mut expected = ["a", "b", "c"].map(record);
    expected.sort();
    assert_eq!(records, expected);
}

pub(crate) async fn the_oldest_death_is_told(backend: &impl Backend) {
    let store = backend.open().await;
    let ids = ["a", "b", "c"];
    append(&*store, 100, batch(ids.map(|id| seen(id, 100, "1")))).await;
    let worker = Worker::new(&*store).await;
    let oldest = async || store.oldest_death(CONSUMER).await.unwrap();
    assert_eq!(oldest().await, None);
    let messages = worker.next(200, 9).await;
    for (message, second) in messages.iter().zip([202, 201, 203]) {
        worker.reject(message, second).await;
    }
    assert_eq!(oldest().await, Some(at(201)));
    let second = [record("b")];
    store
        .drop_dead_letters(CONSUMER, Some(&second))
        .await
        .unwrap();
    assert_eq!(oldest().await, Some(at(202)));
    store.drop_dead_letters(CONSUMER, None).await.unwrap();
    assert_eq!(oldest().await, None);
}

pub(crate) async fn a_lowered_limit_holds_from_the_next_end_of_a_delivery(backend: &impl Backend) {
    let store = backend.open().await;
    let ids = ["waits", "nacked", "expires", "acked"];
    append(&*store, 100, batch(ids.map(|id| seen(id, 100, "1")))).await;
    let worker = Worker::new(&*store).await;
    for message in worker.next(200, 9).await {
        worker.nack(&message, 200, 0).await;
    }
    let messages = worker.next(201, 9).await;
    assert_eq!(messages.len(), 4);
    worker.nack(&messages[0], 202, 3).await;
    let strict = Worker {
        policy: Policy {
            max_deliver: Some(1),
            ..POLICY
        },
        ..worker
    };
    assert_eq!(strict.counts().await, (0, 4, 0), "nothing happens at once");
    assert_eq!(strict.nack(&messages[1], 203, 0).await, Settled::Done);
    assert_eq!(strict.ack(&messages[3]).await, Settled::Done);
    let no = Some("no".to_owned());
    assert_eq!(dead(&*store).await, [(2, 2, no.clone())]);
    let policy = &strict.policy;
    store.expire(CONSUMER, at(231), policy).await.unwrap();
    let late = Some("no ack within the ack window".to_owned());
    assert_eq!(dead(&*store).await, [(2, 2, no), (3, 2, late)]);
    // What waited already is delivered once more; that delivery's end is its last.
    let last = strict.next(240, 9).await;
    assert_eq!(brief(&last), ["waits=1×3"]);
    assert_eq!(strict.nack(&last[0], 241, 0).await, Settled::Done);
    assert_eq!(strict.counts().await, (0, 0, 3));
}

pub(crate) async fn a_newer_version_removes_the_dead_letter(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = after_three_deaths(&*store).await;
    put(&*store, "a", 110, "2").await;
    assert_eq!(worker.counts().await, (1, 0, 3), "until it is delivered");
    assert_eq!(brief(&worker.next(210, 9).await), ["a=2×1"]);
    assert_eq!(worker.counts().await, (0, 1, 2));
    assert_eq!(dead(&*store).await.len(), 2);
}

pub(crate) async fn a_purge_removes_the_dead_letter(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = after_three_deaths(&*store).await;
    purge(&*store, "b").await;
    assert_eq!(worker.counts().await, (0, 0, 2));
    assert_eq!(dead(&*store).await.len(), 2);
    assert_eq!(
        store
            .redrive(CONSUMER, None, &everything(), u64::MAX)
            .await
            .unwrap(),
        2
    );
    assert_eq!(brief(&worker.next(300, 9).await), ["a=1×1", "c=1×1"]);
}

pub(crate) async fn redriven_records_are_delivered_anew(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = after_three_deaths(&*store).await;
    let some = [record("a"), record("a"), record("nobody")];
    let redriven = store
        .redrive(CONSUMER, Some(&some), &everything(), u64::MAX)
        .await
        .unwrap();
    assert_eq!(redriven, 1);
    assert_eq!(worker.counts().await, (1, 0, 2));
    assert_eq!(brief(&worker.next(300, 9).await), ["a=1×1"]);

    put(&*store, "b", 110, "2").await;
    append(&*store, 120, batch([gone("c", 120)])).await;
    let present = Selection {
        lanes: None,
        deleted: Some(false),
    };
    assert_eq!(
        store
            .redrive(CONSUMER, None, &present, u64::MAX)
            .await
            .unwrap(),
        2
    );
    assert_eq!(brief(&worker.next_of(300, 9, &present).await), ["b=2×1"]);
    assert_eq!(worker.counts().await.2, 0);
    assert_eq!(
        store
            .redrive(CONSUMER, None, &everything(), u64::MAX)
            .await
            .unwrap(),
        0
    );
}

pub(crate) async fn what_the_selection_cannot_know_is_redriven(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = after_three_deaths(&*store).await;
    let nothing_yet = Selection {
        lanes: Some([].into()),
        deleted: None,
    };
    let redriven = store.redrive(CONSUMER, None, &nothing_yet, 2);
    assert_eq!(redriven.await.unwrap(), 3);
    assert_eq!(brief(&worker.next(300, 9).await), ["c=1×1"]);
}

pub(crate) async fn a_redrive_outlives_the_store(backend: &impl Backend) {
    let store = backend.open().await;
    after_three_deaths(&*store).await;
    store
        .redrive(CONSUMER, None, &everything(), u64::MAX)
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = backend.open().await;
    let worker = Worker::of(&*store);
    assert_eq!(worker.counts().await, (3, 0, 0));
    assert_eq!(worker.next(300, 9).await.len(), 3);
}

pub(crate) async fn dead_letters_can_be_dropped(backend: &impl Backend) {
    let store = backend.open().await;
    let worker = after_three_deaths(&*store).await;
    let some = [record("a"), record("nobody"), record("a")];
    assert_eq!(
        store
            .drop_dead_letters(CONSUMER, Some(&some))
            .await
            .unwrap(),
        1
    );
    assert_eq!(worker.counts().await, (0, 0, 2));
    assert_eq!(store.drop_dead_letters(CONSUMER, None).await.unwrap(), 2);
    assert_eq!(worker.counts().await, (0, 0, 0));
    assert_eq!(dead(&*store).await, []);
    assert!(worker.next(300, 9).await.is_empty());
}

pub(crate) async fn a_redrive_of_more_than_fits_goes_on_as_it_is_delivered(backend: &impl Backend) {
    const COUNT: usize = 2_500;
    let store = backend.open().await;
    let worker = after_many_deaths(&*store, COUNT).await;
    let dead_count = COUNT as u64;
    assert_eq!(worker.counts().await, (0, 0, dead_count));
    let everything = everything();
    let redrive = store.redrive(CONSUMER, None, &everything, u64::MAX);
    assert_eq!(redrive.await.unwrap(), dead_count);
    let held = async || {
        let mut held = 0;
        let look = &mut |state: &headrace_model::delivery::Consumer| held = state.held();
        store.inspect(CONSUMER, look).await.unwrap();
        held
    };
    assert_eq!(held().await, 1_000, "no more than that in memory");
    // What dies now is not meant, also where the clock was set back.
    let first = worker.next(301, 1).await;
    worker.reject(&first[0], 150).await;
    let mut delivered = 0;
    for (batch, left) in [(999, 0), (1, 999)] {
        let messages = worker.next(302, batch).await;
        delivered += messages.len();
        assert_eq!(held().await, left, "what the next batches find ready");
        for message in &messages {
            worker.ack(message).await;
        }
    }
    loop {
        let messages = worker.next(302, 400).await;
        if messages.is_empty() {
            break;
        }
        delivered += messages.len();
        assert!(held().await <= 1_000);
        for message in &messages {
            worker.ack(message).await;
        }
    }
    assert_eq!(delivered, COUNT - 1);
    assert_eq!(worker.counts().await, (0, 0, 1));
}

pub(crate) async fn many_dead_letters_are_removed_and_counted(backend: &impl Backend) {
    const COUNT: usize = 1_201;
    let store = backend.open().await;
    let worker = after_many_deaths(&*store, COUNT).await;
    let dead_now = store.dead_letters(CONSUMER, None, COUNT).await.unwrap();
    let named = dead_now.iter().map(|letter| letter.record);
    let named: Vec<_> = named.take(600).chain([record("unknown")]).collect();
    let removed = store.drop_dead_letters(CONSUMER, Some(&named)).await;
    assert_eq!(removed.unwrap(), 600);
    let removed = store.drop_dead_letters(CONSUMER, None).await.unwrap();
    assert_eq!(removed, 601);
    assert_eq!(worker.counts().await, (0, 0, 0));
    assert_eq!(dead(&*store).await, []);
}

pub(crate) async fn a_redrive_under_way_outlives_the_store(backend: &impl Backend) {
    const COUNT: usize = 1_500;
    let store = backend.open().await;
    after_many_deaths(&*store, COUNT).await;
    let everything = everything();
    let redrive = store.redrive(CONSUMER, None, &everything, u64::MAX);
    redrive.await.unwrap();
    store.close().await.unwrap();
    let store = backend.open().await;
    // None of them matches the filter of now: they make room for each other.
    let nobody = Selection {
        deleted: Some(true),
        ..Selection::default()
    };
    let next = Next {
        now: at(400),
        policy: &POLICY,
        selection: &nobody,
        upto: store.last_idx(STREAM).await.unwrap(),
        batch: 10,
        max_bytes: usize::MAX,
    };
    assert!(store.next(CONSUMER, next).await.unwrap().is_empty());
    let counts = Worker::of(&*store).counts().await;
    assert_eq!(counts, (0, 0, 0), "all of them were redriven");
}
