//! The consumers' journal: what a power cut, or damage, makes of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use headrace_model::delivery::Consumer;
use headrace_store::{Message, Store, StoreError};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::conformance::Backend;
use crate::conformance::world::{CONSUMER, Worker, append, at, batch, seen};
use crate::sqlite::{Sqlite, url};

const FILES: [&str; 2] = ["consumers-a.journal", "consumers-b.journal"];
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Next(usize),
    Ack(usize),
    Nack(usize),
    Reject(usize),
}

/// What there was after a step.
struct Instant {
    /// Of the journal's first file.
    len: usize,
    /// The step was answered as being safe.
    safe: bool,
    state: Consumer,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..5_usize).prop_map(Op::Next),
        4 => any::<usize>().prop_map(Op::Ack),
        2 => any::<usize>().prop_map(Op::Nack),
        1 => any::<usize>().prop_map(Op::Reject),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The power fails after some step. Everything up to the last answer is there; of what came after
    /// it, any sector may be missing or torn. What opens is the state after one of those steps.
    #[test]
    fn what_was_answered_survives_a_power_cut(
        ops in prop::collection::vec(op(), 1..30),
        cut in any::<Index>(),
        torn in prop::collection::vec(any::<bool>(), 64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sqlite = Sqlite::new();
            let store = filled(&sqlite, 40).await;
            let history = play(&*store, &sqlite, &ops).await;
            let cut = cut.index(history.len());
            let safe = (0..=cut).rev().find(|at| history[*at].safe).unwrap();
            let copy = sqlite.copy();
            let file = copy.path().join(FILES[0]);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes.truncate(history[cut].len);
            for (sector, torn) in bytes[history[safe].len..].chunks_mut(SECTOR).zip(torn) {
                if torn {
                    sector.fill(0);
                }
            }
            std::fs::write(&file, &bytes).unwrap();
            let store = headrace_store::open(&url(copy.path())).await.unwrap();
            let found = state(&*store).await;
            // The database itself may be further: it was copied at the end.
            let possible = history[safe..]
                .iter()
                .any(|instant| instant.state == found);
            assert!(possible, "{found:?}");
        });
    }
}

/// What was promised is damaged, and what came after it proves that: it does not start.
#[tokio::test]
async fn damage_before_what_is_safe_is_told() {
    let sqlite = Sqlite::new();
    let store = filled(&sqlite, 40).await;
    let ops = [Op::Next(4), Op::Ack(0), Op::Next(4), Op::Ack(0)];
    let history = play(&*store, &sqlite, &ops).await;
    let damaged = |at: usize, len: usize| {
        let copy = sqlite.copy();
        let file = copy.path().join(FILES[0]);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[at] ^= 1;
        bytes.truncate(len);
        std::fs::write(&file, &bytes).unwrap();
        copy
    };
    // The format, the salt, its checksum; the first step, which was synced with the second.
    for (at, place) in [
        (0, "byte 0"),
        (9, "byte 0"),
        (23, "byte 0"),
        (26, "byte 24"),
    ] {
        let copy = damaged(at, history[4].len);
        let before = content(copy.path());
        let error = refusal(copy.path()).await;
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(FILES[0]) && text.contains(place) && text.contains("restore"),
            "{text}"
        );
        assert!(content(copy.path()) == before, "it changed what is there");
    }
    // The last byte: nothing tells that it was safe. It is cut off.
    let last = history[4].len - 1;
    let copy = damaged(last, history[4].len);
    let store = headrace_store::open(&url(copy.path())).await.unwrap();
    assert_eq!(state(&*store).await, history[3].state);
}

/// A power cut may take a header only before anything was appended.
#[tokio::test]
async fn a_header_that_a_power_cut_took_is_no_damage() {
    let sqlite = Sqlite::new();
    let store = filled(&sqlite, 4).await;
    let expected = state(&*store).await;
    for content in [&[][..], &[0; 10], &[0; 24]] {
        let copy = sqlite.copy();
        std::fs::write(copy.path().join(FILES[0]), content).unwrap();
        let store = headrace_store::open(&url(copy.path())).await.unwrap();
        assert_eq!(state(&*store).await, expected);
    }
}

/// Entries of before there were headers are not dropped without a word.
#[tokio::test]
async fn a_journal_of_an_earlier_version_is_refused() {
    let sqlite = Sqlite::new();
    let _store = filled(&sqlite, 4).await;
    let copy = sqlite.copy();
    std::fs::write(
        copy.path().join(FILES[1]),
        [&b"HRj1"[..], &[1; 80]].concat(),
    )
    .unwrap();
    let before = content(copy.path());
    let refused = refusal(copy.path()).await;
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        why.contains(FILES[1]) && why.contains("an earlier version"),
        "{why}"
    );
    assert!(content(copy.path()) == before, "it changed what is there");
}

/// An older database was put beside the journal: what is between them is gone.
#[tokio::test]
async fn a_journal_that_is_too_new_for_the_database_is_refused() {
    let sqlite = Sqlite::new();
    let mut store = filled(&sqlite, 4).await;
    Worker::of(&*store).next(1, 1).await;
    // Each start that finds something goes on with the next generation.
    for _ in 0..2 {
        drop(store);
        store = sqlite.open().await;
        Worker::of(&*store).next(1, 1).await;
    }
    let copy = sqlite.copy();
    let db = rusqlite::Connection::open(copy.path().join("headrace.db")).unwrap();
    // While one file is filled, the other one may not be in the database yet: two generations.
    let set = "update journal set written = written + ?";
    db.execute(set, [-1]).unwrap();
    drop(db);
    headrace_store::open(&url(copy.path())).await.unwrap();
    let copy = sqlite.copy();
    let db = rusqlite::Connection::open(copy.path().join("headrace.db")).unwrap();
    db.execute(set, [-2]).unwrap();
    drop(db);
    let refused = refusal(copy.path()).await.to_string();
    assert!(
        refused.contains(FILES[0]) && refused.contains("newer than the database"),
        "{refused}"
    );
}

/// The older file is gone, and its steps are in no row yet.
#[tokio::test]
async fn a_file_that_is_missing_is_told() {
    let sqlite = Sqlite::new();
    let store = filled(&sqlite, 40).await;
    let worker = patient(&*store);
    let error: Arc<str> = "x".repeat(1_000).into();
    let file = |name: &str| sqlite.directory().join(name);
    // The second file is in use, and synced, before the first one can be written.
    worker.counts().await;
    let database = rusqlite::Connection::open(file("headrace.db")).unwrap();
    database.execute_batch("begin immediate").unwrap();
    let mut round = 0;
    while file(FILES[1]).metadata().unwrap().len() < 200_000 {
        round += 1;
        let messages = worker.next(round, 40).await;
        let mut nack = |consumer: &mut Consumer| {
            for message in &messages {
                let (token, after) = (message.leased.token(message.consumer), Default::default());
                let error = Some(Arc::clone(&error));
                consumer.nack(&token, at(round), after, error, &worker.policy);
            }
        };
        store.update(CONSUMER, &mut nack).await.unwrap();
    }
    let copy = sqlite.copy();
    std::fs::remove_file(copy.path().join(FILES[0])).unwrap();
    let text = refusal(copy.path()).await.to_string();
    assert!(
        text.contains(FILES[0]) && text.contains("restore"),
        "{text}"
    );
    // What it tells to do helps.
    std::fs::remove_file(copy.path().join(FILES[1])).unwrap();
    headrace_store::open(&url(copy.path())).await.unwrap();
}

/// A power cut that takes a delivery takes no later one's place: its token settles nothing.
#[tokio::test]
async fn a_token_of_before_a_power_cut_is_not_one_of_after_it() {
    let sqlite = Sqlite::new();
    let store = filled(&sqlite, 1).await;
    store.begin().await.unwrap();
    let forgotten = Worker::of(&*store).next(1, 1).await.remove(0);
    let copy = sqlite.copy();
    for name in FILES {
        std::fs::write(copy.path().join(name), b"").unwrap();
    }
    let store = headrace_store::open(&url(copy.path())).await.unwrap();
    store.begin().await.unwrap();
    let worker = Worker::of(&*store);
    let again = worker.next(1, 1).await.remove(0);
    assert_eq!(again.leased.idx, forgotten.leased.idx);
    worker.ack(&forgotten).await;
    assert_eq!(worker.counts().await, (0, 1, 0));
    worker.ack(&again).await;
    assert_eq!(worker.counts().await, (0, 0, 0));
}

/// A full file is written while the other one goes on, and nothing is missing at any time.
#[tokio::test]
async fn full_files_take_turns() {
    const ROUNDS: i64 = 60;
    let sqlite = Sqlite::new();
    let store = filled(&sqlite, 1_000).await;
    let worker = patient(&*store);
    let error: Arc<str> = "x".repeat(1_000).into();
    for round in 1..=ROUNDS {
        let messages = worker.next(round, 1_000).await;
        assert_eq!(messages.len(), 1_000);
        let mut nack = |consumer: &mut Consumer| {
            for message in &messages {
                let token = message.leased.token(message.consumer);
                let after = std::time::Duration::ZERO;
                consumer.nack(
                    &token,
                    at(round),
                    after,
                    Some(Arc::clone(&error)),
                    &worker.policy,
                );
            }
        };
        store.update(CONSUMER, &mut nack).await.unwrap();
    }
    let expected = state(&*store).await;
    let sizes = FILES.map(|name| sqlite.directory().join(name).metadata().unwrap().len());
    assert!(sizes.iter().all(|size| *size > 16 << 20), "{sizes:?}");
    let copy = sqlite.copy();
    let after = headrace_store::open(&url(copy.path())).await.unwrap();
    assert_eq!(state(&*after).await, expected, "after a kill");
    store.close().await.unwrap();
    let sizes = FILES.map(|name| sqlite.directory().join(name).metadata().unwrap().len());
    assert_eq!(sizes, [0, 0], "everything is in the database");
    let store = sqlite.open().await;
    assert_eq!(state(&*store).await, expected, "after a clean end");
}

/// A worker whose messages never die.
fn patient(store: &dyn Store) -> Worker<'_> {
    let mut worker = Worker::of(store);
    worker.policy.max_deliver = None;
    worker
}

async fn filled(sqlite: &Sqlite, records: usize) -> Arc<dyn Store> {
    let store = sqlite.open().await;
    let ids: Vec<String> = (0..records).map(|n| n.to_string()).collect();
    append(&*store, 1, batch(ids.iter().map(|id| seen(id, 1, "1")))).await;
    Worker::new(&*store).await;
    store
}

/// Plays the steps, and tells what there was after each of them and before the first.
async fn play(store: &dyn Store, sqlite: &Sqlite, ops: &[Op]) -> Vec<Instant> {
    let worker = Worker::of(store);
    let mut taken: Vec<Message> = Vec::new();
    let mut history = vec![instant(store, sqlite, true).await];
    for op in ops {
        let mut take = |index: &usize| match taken.is_empty() {
            true => None,
            false => Some(taken.swap_remove(index % taken.len())),
        };
        let safe = match op {
            Op::Next(batch) => {
                taken.extend(worker.next(1, *batch).await);
                false
            }
            Op::Ack(index) => match take(index) {
                Some(message) => {
                    worker.ack(&message).await;
                    true
                }
                None => false,
            },
            Op::Nack(index) => match take(index) {
                Some(message) => {
                    worker.nack(&message, 1, 5).await;
                    true
                }
                None => false,
            },
            Op::Reject(index) => match take(index) {
                Some(message) => {
                    worker.reject(&message, 1).await;
                    true
                }
                None => false,
            },
        };
        history.push(instant(store, sqlite, safe).await);
    }
    history
}

async fn instant(store: &dyn Store, sqlite: &Sqlite, safe: bool) -> Instant {
    let file = sqlite.directory().join(FILES[0]);
    Instant {
        len: usize::try_from(file.metadata().unwrap().len()).unwrap(),
        safe,
        state: state(store).await,
    }
}

async fn state(store: &dyn Store) -> Consumer {
    let mut found = None;
    let mut look = |consumer: &Consumer| found = Some(consumer.clone());
    store.inspect(CONSUMER, &mut look).await.unwrap();
    found.unwrap()
}

/// Why it does not open.
async fn refusal(directory: &Path) -> StoreError {
    match headrace_store::open(&url(directory)).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// What is in the directory, besides the lock, which tells who tried last.
fn content(directory: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let files = directory.read_dir().unwrap().map(|file| file.unwrap());
    files
        .filter(|file| file.file_name() != "headrace.lock")
        .map(|file| (file.file_name(), std::fs::read(file.path()).unwrap()))
        .collect()
}
