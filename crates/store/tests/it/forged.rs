//! What others write into the consumers' journal is never taken for a part of it.
//!
//! Whoever forges knows everything but the salt of the file. That each forgery is a good one is shown by
//! the same with the right salt.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::ConsumerId;
use headrace_model::delivery::Consumer;
use headrace_store::StoreError;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::conformance::Backend;
use crate::conformance::world::{CONSUMER, STREAM, Worker, append, at, batch, everything, seen};
use crate::sqlite::{Sqlite, url};

const FILE: &str = "consumers-a.journal";
/// The header of a file, and of an entry.
const HEADER: usize = 24;
const HEAD: usize = 40;
/// A consumer that takes nothing, and its number.
const VICTIM: ConsumerId = ConsumerId(Uuid::from_u128(99));
const VICTIM_NO: u64 = 2;
const RECORDS: u64 = 4;
/// What a worker says when it gives a message back, and room for an entry.
const WORDS: [u8; 100] = [b'~'; 100];

/// A longer filling of the file has left a worker's words behind the newest entry.
#[tokio::test]
async fn a_workers_words_move_no_consumer() {
    let sqlite = Sqlite::new();
    let earlier = salt(&with_words(&sqlite).await);
    let store = sqlite.open().await;
    Worker::of(&*store).next(9, 1).await;
    let journal = journal(&sqlite);
    let right = salt(&journal);
    assert_ne!(right, earlier, "each start has another one");
    for (salt, pending) in [(0, RECORDS), (earlier, RECORDS), (right, 0)] {
        let forged = entry(&journal, salt, journal.len(), 0);
        let copy = copy(&sqlite, &[&journal[..], &forged].concat());
        let store = headrace_store::open(&url(copy.path())).await.unwrap();
        let counts = store.counts(VICTIM, &everything()).await.unwrap();
        assert_eq!(counts.pending, pending, "{salt}");
    }
}

/// A power cut has torn the entry that has the words in it.
#[tokio::test]
async fn a_workers_words_are_not_taken_for_damage() {
    let sqlite = Sqlite::new();
    let journal = with_words(&sqlite).await;
    let second = HEADER + HEAD + length(&journal, HEADER);
    let words = journal.windows(WORDS.len()).position(|some| some == WORDS);
    let words = words.unwrap();
    assert!(words > second, "it is in the second entry");
    for (salt, opens) in [(0, true), (salt(&journal), false)] {
        let forged = entry(&journal, salt, words, u64::MAX);
        let mut torn = journal.clone();
        torn[second..second + HEAD].fill(0);
        torn[words..words + forged.len()].copy_from_slice(&forged);
        let copy = copy(&sqlite, &torn);
        match headrace_store::open(&url(copy.path())).await {
            Ok(_) => assert!(opens, "{salt}"),
            Err(error) => assert!(
                !opens && matches!(error, StoreError::Damaged { .. }),
                "{salt}: {error}"
            ),
        }
    }
}

#[tokio::test]
async fn a_backup_does_not_tell_the_salt() {
    let sqlite = Sqlite::new();
    let store = sqlite.open().await;
    let salt = salt(&journal(&sqlite)).to_le_bytes();
    let backup = sqlite.file("backup");
    store.back_up(&backup, at(1)).await.unwrap();
    let found = std::fs::read(&backup).unwrap();
    let reversed: Vec<u8> = salt.iter().rev().copied().collect();
    for salt in [&salt[..], &reversed] {
        assert!(!found.windows(salt.len()).any(|some| some == salt));
    }
}

/// The journal of a store that was killed after a worker had said its words.
async fn with_words(sqlite: &Sqlite) -> Vec<u8> {
    let store = sqlite.open().await;
    let records = (0..RECORDS).map(|n| seen(&n.to_string(), 1, "1"));
    append(&*store, 1, batch(records)).await;
    let worker = Worker::new(&*store).await;
    store.create_consumer(STREAM, VICTIM, 0).await.unwrap();
    let message = worker.next(1, 1).await.remove(0);
    let token = message.leased.token(message.consumer);
    let words: Arc<str> = std::str::from_utf8(&WORDS).unwrap().into();
    let mut nack = |consumer: &mut Consumer| {
        let words = Some(Arc::clone(&words));
        consumer.nack(&token, at(1), Duration::ZERO, words, &worker.policy);
    };
    store.update(CONSUMER, &mut nack).await.unwrap();
    journal(sqlite)
}

/// A step of the victim past everything, as it would be at this place of the file.
fn entry(journal: &[u8], salt: u64, at: usize, synced: u64) -> Vec<u8> {
    let far = 1_000_000_u64.to_le_bytes();
    let mut step = [VICTIM_NO.to_le_bytes(), [0; 8], far].concat();
    step.push(0);
    step.extend(far);
    // Of this file's format and generation.
    let mut forged = journal[HEADER..][..HEAD].to_vec();
    let length = u32::try_from(step.len()).unwrap();
    forged[4..8].copy_from_slice(&length.to_le_bytes());
    forged[16..24].copy_from_slice(&synced.to_le_bytes());
    let mut hash = Xxh3::with_seed(salt ^ at as u64);
    hash.update(&forged[..32]);
    hash.update(&step);
    forged[32..].copy_from_slice(&hash.digest().to_le_bytes());
    forged.extend(step);
    forged
}

/// The length of the step of the entry at this place.
fn length(journal: &[u8], at: usize) -> usize {
    let bytes = journal[at + 4..].first_chunk().unwrap();
    u32::from_le_bytes(*bytes) as usize
}

fn salt(journal: &[u8]) -> u64 {
    u64::from_le_bytes(*journal[8..].first_chunk().unwrap())
}

fn journal(sqlite: &Sqlite) -> Vec<u8> {
    std::fs::read(sqlite.directory().join(FILE)).unwrap()
}

/// What the end of the process would leave, with this journal.
fn copy(sqlite: &Sqlite, journal: &[u8]) -> tempfile::TempDir {
    let copy = sqlite.copy();
    std::fs::write(copy.path().join(FILE), journal).unwrap();
    copy
}
