//! Backups that cannot be made, are cut off or that nobody reads.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use headrace_sandbox::stripe::Collection;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::disk::{Change, Disk};
use crate::harness::{ADMIN, Answer, PATIENCE, Server, Setup, answer, sandbox};

/// What backups that are being made keep in the data directory.
pub(crate) fn copies(data: &Path) -> Vec<PathBuf> {
    let entries = data.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let names_a_copy = |path: &PathBuf| path.to_str().unwrap().contains("headrace.db.copy");
    entries.filter(names_a_copy).collect()
}

/// Makes the database of a server that does not run larger.
pub(crate) fn inflate(data: &Path, bytes: u64) {
    let database = Connection::open(data.join("headrace.db")).unwrap();
    database
        .execute_batch("create table ballast (bytes)")
        .unwrap();
    let pieces = "insert into ballast values (zeroblob(?))";
    for _ in 0..bytes >> 20 {
        database.execute(pieces, [1 << 20]).unwrap();
    }
}

async fn back_up(server: &Server) -> Answer {
    answer(server.request(Method::GET, "/v1/backup")).await
}

/// Whether the server serves and writes.
async fn works(server: &Server, slug: &str) {
    let made = server.post("/v1/streams", json!({"slug": slug})).await;
    made.expect(201);
    assert_eq!(server.get("/ready").await["status"], "ok");
}

#[track_caller]
fn assert_unavailable(refused: &Answer, why: &str) {
    let told = refused.expect(503);
    assert_eq!(told["code"], "unavailable");
    assert!(told["summary"].as_str().unwrap().contains(why), "{told}");
}

/// A server that is held while it writes the copy of a backup that was asked for.
async fn held(disk: &Disk, server: &Server) -> JoinHandle<Answer> {
    disk.pause_at(disk.changes(), &[Change::Write]);
    let asked = tokio::spawn(answer(server.request(Method::GET, "/v1/backup")));
    server.until(|| async { disk.is_paused() }).await;
    assert_eq!(copies(&server.data).len(), 1, "it is writing the copy");
    asked
}

#[tokio::test]
async fn a_backup_that_does_not_fit_is_refused_before_it_takes_the_room_of_others() {
    let disk = Disk::new();
    let server = disk.server().start();
    works(&server, "before").await;
    disk.fill_up_to(32 << 20);
    let refused = back_up(&server).await;
    assert_unavailable(&refused, "no room for a backup");
    assert_eq!(refused.header("retry-after"), None, "it helps nothing");
    assert!(copies(&server.data).is_empty());
    works(&server, "after").await;
    disk.make_room();
    assert_eq!(back_up(&server).await.status, 200);
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_backup_is_told_and_the_room_is_given_back() {
    let disk = Disk::new();
    let server = disk.server().start();
    works(&server, "before").await;
    let asked = held(&disk, &server).await;
    disk.fill_up_to(8_192);
    disk.go_on();
    assert_unavailable(&asked.await.unwrap(), "the disk is full");
    assert!(copies(&server.data).is_empty());
    disk.make_room();
    works(&server, "after").await;
    assert_eq!(back_up(&server).await.status, 200);
}

#[tokio::test]
async fn what_a_killed_server_left_of_a_backup_is_removed_by_the_next_start() {
    let disk = Disk::new();
    let mut server = disk.server().start();
    works(&server, "before").await;
    let asked = held(&disk, &server).await;
    server.kill();
    asked.abort();
    disk.pause_never();
    assert_eq!(copies(&server.data).len(), 1, "it is left over");
    let server = disk.server().start();
    assert!(copies(&server.data).is_empty());
    server.get("/v1/streams/before").await;
}

#[tokio::test]
async fn a_backup_whose_caller_has_gone_is_given_up() {
    let disk = Disk::new();
    let server = disk.server().start();
    works(&server, "before").await;
    // A copy may be whole just before the server knows that the caller has gone.
    for _ in 0..20 {
        call_and_go(&disk, &server).await;
        server
            .until(|| async { copies(&server.data).is_empty() })
            .await;
        if server.logs().contains("nobody waits for it") {
            assert_eq!(back_up(&server).await.status, 200);
            return;
        }
    }
    panic!("copies are made for nobody");
}

/// Hangs up while the copy is being written.
async fn call_and_go(disk: &Disk, server: &Server) {
    disk.pause_at(disk.changes(), &[Change::Write]);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut caller = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/backup HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN}\r\n\r\n"
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    server.until(|| async { disk.is_paused() }).await;
    caller.shutdown().await.unwrap();
    // It hangs up too.
    let read = timeout(PATIENCE, caller.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.unwrap().unwrap(), 0);
    disk.go_on();
}

#[tokio::test]
async fn one_backup_is_made_and_downloaded_at_a_time() {
    let mut server = Server::start();
    assert!(server.terminate().success());
    // More than fits between the two of them.
    inflate(&server.data, 32 << 20);
    let server = Setup::on(&server.data).start();
    let first = server.request(Method::GET, "/v1/backup");
    let mut first = first.send().await.unwrap();
    assert_eq!(first.status(), 200);
    assert!(first.chunk().await.unwrap().is_some());
    assert!(copies(&server.data).is_empty(), "it has no name any more");
    let refused = back_up(&server).await;
    assert_eq!(refused.expect(409)["code"], "conflict");
    drop(first);
    let again = || async { back_up(&server).await.status == 200 };
    server.until(again).await;
}

#[tokio::test]
async fn a_head_request_makes_no_backup() {
    let server = Server::start();
    let head = server.send(Method::HEAD, "/v1/backup").await;
    assert_eq!(head.status, 405);
}

/// Neither a sync nor a worker waits for a copy. One that is made too quickly to see that is made again.
#[tokio::test(flavor = "multi_thread")]
async fn records_come_and_are_acknowledged_while_a_copy_is_made() {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 6_000);
    let mut server = Server::start();
    assert!(server.terminate().success());
    inflate(&server.data, 64 << 20);
    let server = Setup::on(&server.data).stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    let consumer = json!({"slug": "c"});
    let made = server.post("/v1/http-consumers", consumer).await;
    made.expect(201);
    let scratch = tempfile::tempdir().unwrap();
    loop {
        let seen = while_a_copy_is_made(&server, &scratch.path().join("backup")).await;
        let acknowledged: usize = seen.iter().map(|(_, acknowledged)| acknowledged).sum();
        let grew = |(first, last): (&(u64, usize), &(u64, usize))| last.0 > first.0;
        if seen.first().zip(seen.last()).is_some_and(grew) && acknowledged > 0 {
            break;
        }
        let sync = server.get(&format!("/v1/syncs/{sync}")).await;
        let has_ended = !sync["initial_backfill_completed_at"].is_null();
        assert!(!has_ended, "nothing went on during a copy: {seen:?}");
    }
}

/// The newest index and what a worker acknowledged, again and again from when there was a copy until
/// it was whole.
async fn while_a_copy_is_made(server: &Server, file: &Path) -> Vec<(u64, usize)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headrace"));
    command.env_clear().env("HEADRACE_TOKEN", ADMIN);
    command.arg("backup").arg(file);
    command.args(["--server", &server.url]).kill_on_drop(true);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut making = command.spawn().unwrap();
    let is_making = || copies(&server.data).len() == 1;
    let mut seen = Vec::new();
    let made = loop {
        if let Some(made) = making.try_wait().unwrap() {
            break made;
        }
        let began = is_making();
        let acknowledged = work(server).await;
        let stream = server.get("/v1/streams/dev").await;
        if began && is_making() {
            seen.push((stream["stats"]["last_idx"].as_u64().unwrap(), acknowledged));
        }
    };
    assert!(made.success());
    std::fs::remove_file(file).unwrap();
    seen
}

/// Takes messages and acknowledges them: how many.
async fn work(server: &Server) -> usize {
    let next = json!({"batch_size": 20, "wait_for": "0s"});
    let taken = server.post("/v1/http-consumers/c/next", next).await;
    let taken = taken.expect(200);
    let taken = taken.as_array().unwrap();
    let tokens: Vec<_> = taken.iter().map(|one| &one["ack_token"]).collect();
    if tokens.is_empty() {
        return 0;
    }
    let ack = json!({"ack_tokens": tokens});
    let acked = server.post("/v1/http-consumers/c/ack", ack).await;
    acked.expect(204);
    acked.header("headrace-settled").unwrap().parse().unwrap()
}
