//! Data that was damaged, mixed up or taken away: the server does not start on it, says what is wrong
//! and what to do, and leaves it as it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::harness::{Server, Setup, answer, sandbox};

const RESTORE: &str = "headrace restore --data-dir";

/// A data directory of which copies are damaged.
struct Data {
    scratch: TempDir,
    original: PathBuf,
    copies: usize,
}

impl Data {
    /// Of a server with a sealed credential and some records that was stopped, or killed: the log of
    /// the database is there then.
    async fn of(end: impl AsyncFnOnce(&mut Server)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let original = scratch.path().join("data");
        let (stripe, base) = sandbox().await;
        stripe.seed_all(20);
        let mut server = Setup::on(&original).stripe(&base).start();
        let sync = server.sync_stripe(&["customer", "invoice"]).await;
        server.backfilled(&sync).await;
        for slug in ["one", "two", "three"] {
            let stream = json!({"slug": slug});
            server.post("/v1/streams", stream).await.expect(201);
        }
        end(&mut server).await;
        Self {
            scratch,
            original,
            copies: 0,
        }
    }

    async fn of_a_stopped_server() -> Self {
        Self::of(async |server| assert!(server.terminate().success())).await
    }

    async fn of_a_killed_server() -> Self {
        Self::of(async |server| server.kill()).await
    }

    /// A copy that was changed like this.
    fn copy(&mut self, change: impl FnOnce(&Path)) -> PathBuf {
        self.copies += 1;
        let copy = self.scratch.path().join(format!("copy-{}", self.copies));
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(&self.original).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        change(&copy);
        copy
    }

    /// Starts on a copy that was changed like this: what it says instead of starting.
    fn refused(&mut self, change: impl FnOnce(&Path)) -> String {
        let copy = self.copy(change);
        refused(&Setup::on(&copy), &copy)
    }
}

fn refused(setup: &Setup, data: &Path) -> String {
    let before = content(data);
    let output = setup.command().output().unwrap();
    assert!(!output.status.success());
    assert_eq!(before, content(data), "it changed what is there");
    String::from_utf8(output.stderr).unwrap()
}

/// What is in the directory, besides what tells who tried last, and with which database, and the index of
/// the log, which each start makes.
fn content(data: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(data)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .filter(|(name, _)| {
            let told = ["headrace.lock", "headrace.db.number", "headrace.db-shm"];
            !told.contains(&name.as_str())
        })
        .collect()
}

fn database(data: &Path) -> PathBuf {
    data.join("headrace.db")
}

fn keys(data: &Path) -> PathBuf {
    data.join("headrace.keys")
}

fn log(data: &Path) -> PathBuf {
    data.join("headrace.db-wal")
}

/// Flips a bit of the byte at this offset.
fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(length).unwrap();
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_what_to_do() {
    let mut data = Data::of_a_stopped_server().await;
    let said = data.refused(|data| flip(&database(data), 3));
    assert_says(&said, &["headrace.db is no database", RESTORE]);
    let said = data.refused(|data| cut(&database(data), length(&database(data)) / 2));
    assert_says(&said, &["headrace.db is cut off", RESTORE]);
    let said = data.refused(|data| cut(&database(data), 0));
    assert_says(&said, &["headrace.db is cut off", RESTORE]);
    let said = data.refused(|data| {
        Connection::open(database(data))
            .unwrap()
            .execute_batch(
                "insert into schema_migration (version, name, checksum, applied_at)
                 values (999, 'later', x'00', 0)",
            )
            .unwrap();
    });
    assert_says(&said, &["newer version", "upgrade"]);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let mut data = Data::of_a_stopped_server().await;
    let said = data.refused(|data| fs::write(database(data), vec![b'x'; 8_192]).unwrap());
    assert_says(&said, &["headrace.db is no database"]);
    for (mode, name) in [("delete", 0), ("wal", 0), ("wal", 0x0102_0304)] {
        let said = data.refused(|data| {
            fs::remove_file(database(data)).unwrap();
            let other = Connection::open(database(data)).unwrap();
            other.pragma_update(None, "journal_mode", mode).unwrap();
            other.pragma_update(None, "application_id", name).unwrap();
            other.execute_batch("create table note (text)").unwrap();
        });
        assert_says(
            &said,
            &["headrace.db belongs to another program", "--data-dir"],
        );
    }
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let mut data = Data::of_a_killed_server().await;
    let said = data.refused(|data| fs::remove_file(database(data)).unwrap());
    assert_says(
        &said,
        &["headrace.db is missing", "headrace.db-wal", RESTORE],
    );
}

/// It stopped well: no log is left that would tell.
#[tokio::test]
async fn a_missing_database_is_not_replaced_by_an_empty_one() {
    let mut data = Data::of_a_stopped_server().await;
    let said = data.refused(|data| fs::remove_file(database(data)).unwrap());
    let words = ["headrace.db is missing", "headrace.db.number", "remove"];
    assert_says(&said, &words);
    assert_says(&said, &[RESTORE]);
    // What it tells to do helps.
    let copy = data.copy(|data| {
        fs::remove_file(database(data)).unwrap();
        fs::remove_file(data.join("headrace.db.number")).unwrap();
    });
    let mut server = Setup::on(&copy).start();
    let gone = server.send(reqwest::Method::GET, "/v1/streams/one").await;
    gone.expect(404);
    assert!(server.terminate().success());
}

#[tokio::test]
async fn a_database_beside_the_log_of_another_one_is_refused() {
    let mut data = Data::of_a_killed_server().await;
    let other = Data::of_a_stopped_server().await;
    let said = data.refused(|data| {
        fs::copy(database(&other.original), database(data)).unwrap();
    });
    assert_says(&said, &["is not the database", "headrace.db-wal", RESTORE]);
}

/// A frame of the log: a page of 4096 bytes behind a header of 24.
const FRAME: usize = 4_120;

#[tokio::test]
async fn a_log_that_is_damaged_before_completed_transactions_is_refused() {
    let mut data = Data::of_a_killed_server().await;
    // In the log's header, in a frame's header (page, commit, salts, checksum), and in its page.
    let places = [0, 20, 32, 37, 43, 51, 32 + 24 + 1_000];
    for place in places {
        let said = data.refused(|data| flip(&log(data), place));
        assert_says(&said, &["headrace.db-wal at byte", RESTORE]);
    }
    let middle = length(&log(&data.original)) as usize / FRAME / 2;
    let offset = 32 + middle * FRAME;
    let said = data.refused(|data| flip(&log(data), offset + 2_000));
    let named = format!("headrace.db-wal at byte {offset}");
    assert_says(&said, &[&named, RESTORE]);
}

#[tokio::test]
async fn what_a_power_cut_may_leave_of_the_log_is_no_damage() {
    let mut data = Data::of_a_killed_server().await;
    let end = length(&log(&data.original)) as usize;
    let torn = [
        data.copy(|data| cut(&log(data), end as u64 - 100)),
        data.copy(|data| cut(&log(data), end as u64 - FRAME as u64)),
        data.copy(|data| flip(&log(data), end - 100)),
        data.copy(|data| flip(&log(data), end - FRAME + 20)),
    ];
    for copy in torn {
        let mut server = Setup::on(&copy).start();
        server.get("/v1/streams/one").await;
        assert!(server.terminate().success());
        assert_eq!(verdict(&copy), "ok");
    }
}

#[tokio::test]
async fn a_journal_that_is_damaged_before_what_was_kept_safe_is_refused() {
    let mut data = Data::of(async |server| {
        let consumer = json!({"stream_id": "dev", "slug": "work"});
        let path = "/v1/http-consumers";
        server.post(path, consumer).await.expect(201);
        for _ in 0..2 {
            let next = json!({"batch_size": 1});
            let messages = server.post(&format!("{path}/work/next"), next).await;
            let ack = json!({"ack_tokens": [messages.expect(200)[0]["ack_token"]]});
            server
                .post(&format!("{path}/work/ack"), ack)
                .await
                .expect(204);
        }
        server.kill();
    })
    .await;
    let journal = |data: &Path| data.join("consumers-a.journal");
    // In the file's header, and in its first entry.
    for (place, named) in [(0, "byte 0"), (10, "byte 0"), (26, "byte 24")] {
        let said = data.refused(|data| flip(&journal(data), place));
        assert_says(&said, &["consumers-a.journal", named, RESTORE]);
    }
    let said =
        data.refused(|data| fs::write(journal(data), [&b"HRj1"[..], &[1; 80]].concat()).unwrap());
    assert_says(&said, &["consumers-a.journal", "an earlier version"]);
}

fn verdict(data: &Path) -> String {
    let database = Connection::open(database(data)).unwrap();
    let verdict = database.query_row("pragma integrity_check", [], |row| row.get(0));
    verdict.unwrap()
}

/// Where the first page of this table or index is.
fn root_of(data: &Path, name: &str) -> usize {
    let database = Connection::open(database(data)).unwrap();
    let root = "select rootpage from sqlite_schema where name = ?";
    let root: u32 = database.query_row(root, [name], |row| row.get(0)).unwrap();
    (root as usize - 1) * 4_096
}

#[tokio::test]
async fn a_damaged_page_is_refused_with_its_place() {
    let mut stopped = Data::of_a_stopped_server().await;
    let roots = [
        "sqlite_schema",
        "object",
        "log",
        "key",
        "idempotency",
        "consumer_stream",
    ];
    for name in roots {
        // The first page begins with the header of the database.
        let (at, kind) = match name {
            "sqlite_schema" => (0, 100),
            _ => {
                let at = root_of(&stopped.copy(|_| {}), name);
                (at, at)
            }
        };
        let named = format!("headrace.db at byte {at}, a page of ");
        // Its kind, and how many cells it has.
        for place in [kind, kind + 4] {
            let said = stopped.refused(|data| flip(&database(data), place));
            assert_says(&said, &[&named, RESTORE]);
        }
    }
    // With a log that is not written to the database either.
    let mut killed = Data::of_a_killed_server().await;
    let at = root_of(&killed.copy(|_| {}), "inbox");
    let said = killed.refused(|data| flip(&database(data), at));
    assert_says(&said, &["headrace.db at byte", RESTORE]);
    let said = killed.refused(|data| {
        let mut bytes = fs::read(database(data)).unwrap();
        let created = bytes
            .windows(18)
            .position(|word| word == b"CREATE TABLE inbox");
        bytes[created.unwrap()] = b'k';
        fs::write(database(data), bytes).unwrap();
    });
    assert_says(&said, &["malformed database schema", RESTORE]);
}

/// A program that closes the database last moves the log into it, and removes the log. It can tell by
/// locks, which a process loses when it closes a file of its own on the database.
#[tokio::test]
async fn other_programs_can_tell_that_the_database_is_in_use() {
    let data = tempfile::tempdir().unwrap();
    let server = Setup::on(data.path()).start();
    let stream = json!({"slug": "one"});
    server.post("/v1/streams", stream).await.expect(201);
    let file = fs::metadata(database(data.path())).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let is_lock = |line: &str| line.contains("POSIX") && line.contains(&format!(":{file} "));
    assert!(locks.lines().any(is_lock), "{file} is not locked:\n{locks}");
}

/// A start looks at what leads to records, and not at them. Behind it, all is looked through.
#[tokio::test]
async fn a_damaged_record_is_told_before_anybody_reads_it() {
    let mut data = Data::of_a_stopped_server().await;
    let copy = data.copy(|data| {
        let bytes = fs::read(database(data)).unwrap();
        let word = br#""object":"invoice""#;
        let at = bytes.windows(word.len()).position(|here| here == word);
        flip(&database(data), at.unwrap() + 12);
    });
    let server = Setup::on(&copy).start();
    let ready = || answer(server.bare(reqwest::Method::GET, "/ready"));
    server
        .until(|| async { ready().await.status.as_u16() == 503 })
        .await;
    let words = ["is not what was stored", "headrace.db", RESTORE];
    assert_says(&server.logs(), &words);
    let more = server.post("/v1/streams", json!({"slug": "five"})).await;
    assert_says(&more.expect(500).to_string(), &words);
}

/// It may be told by whoever comes upon it first, and nothing is written from then on.
#[tokio::test]
async fn damage_within_a_page_is_told_as_such_and_ends_all_writing() {
    let mut data = Data::of(async |server| {
        let keyed = server
            .request(reqwest::Method::POST, "/v1/streams")
            .header("idempotency-key", "k")
            .json(&json!({"slug": "four"}));
        answer(keyed).await.expect(201);
        assert!(server.terminate().success());
    })
    .await;
    let copy = data.copy(|data| {
        let root = root_of(data, "idempotency");
        let mut bytes = fs::read(database(data)).unwrap();
        let cells = usize::from(u16::from_be_bytes([bytes[root + 5], bytes[root + 6]]));
        // Behind the size of its only record, of two bytes: how long the record's header is.
        assert!(bytes[root + cells] & 0x80 != 0);
        bytes[root + cells + 2..][..2].copy_from_slice(&[0xff, 0x7f]);
        fs::write(database(data), bytes).unwrap();
    });
    let server = Setup::on(&copy).start();
    let ready = || answer(server.bare(reqwest::Method::GET, "/ready"));
    let keyed = server
        .request(reqwest::Method::POST, "/v1/streams")
        .header("idempotency-key", "k")
        .json(&json!({"slug": "four"}));
    let told = answer(keyed).await.expect(500);
    let words = ["headrace.db", "damaged", RESTORE];
    assert_says(&told.to_string(), &words);
    server
        .until(|| async { ready().await.status.as_u16() == 503 })
        .await;
    let told = ready().await.text;
    assert_says(&told, &["not ready", "damaged"]);
    assert!(!told.contains("headrace.db"), "anybody may ask: {told}");
    let more = server.post("/v1/streams", json!({"slug": "five"})).await;
    assert_says(&more.expect(500).to_string(), &words);
    assert_says(&server.logs(), &words);
}

#[tokio::test]
async fn a_key_file_that_does_not_belong_to_the_data_is_refused() {
    let mut data = Data::of_a_stopped_server().await;
    let said = data.refused(|data| fs::remove_file(keys(data)).unwrap());
    assert_says(&said, &["headrace.keys is missing", "backup"]);
    let said = data.refused(|data| fs::write(keys(data), "garbage").unwrap());
    assert_says(&said, &["headrace.keys is damaged", "backup"]);
    let mut other = Data::of_a_stopped_server().await;
    let foreign = other.copy(|_| {});
    let words = [
        "headrace.keys does not open credential",
        "another installation's",
    ];
    for file in [keys, database] {
        let said = data.refused(|data| assert!(fs::copy(file(&foreign), file(data)).is_ok()));
        assert_says(&said, &words);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let disk = Disk::new();
    assert!(disk.server().start().terminate().success());
    disk.make_read_only();
    let said = refused(&disk.server(), &disk.data());
    assert_says(&said, &["data cannot be written", "--data-dir"]);
}
