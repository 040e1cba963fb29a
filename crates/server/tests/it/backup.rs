//! `headrace backup` and `headrace restore`, beside what goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use headrace_sandbox::stripe::Collection;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Server, Setup, sandbox, text};

struct Said {
    success: bool,
    out: String,
    error: String,
}

fn headrace(arguments: &[&str], data: &Path, token: Option<&str>) -> Said {
    let token = token.map(|token| ("HEADRACE_TOKEN", token));
    headrace_in(token.as_slice(), arguments, data)
}

fn headrace_in(environment: &[(&str, &str)], arguments: &[&str], data: &Path) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headrace"));
    command
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .arg("--data-dir")
        .arg(data);
    let output = command.output().unwrap();
    Said {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn refused(said: &Said, because: &str) {
    assert!(!said.success, "{}", said.out);
    assert!(said.error.contains(because), "{}", said.error);
}

/// Has the running server make a backup.
#[track_caller]
fn back_up(server: &Server, file: &Path) {
    let arguments = ["backup", file.to_str().unwrap(), "--server", &server.url];
    let said = headrace(&arguments, &server.data, Some(ADMIN));
    assert!(said.success, "{}", said.error);
    assert!(said.error.contains("headrace.keys"), "{}", said.error);
}

#[track_caller]
fn restore(backup: &Path, data: &Path) {
    let said = headrace(&["restore", backup.to_str().unwrap()], data, None);
    assert!(said.success, "{}", said.error);
}

/// Every record.
async fn records(server: &Server) -> Vec<Value> {
    let page = server.get("/v1/records?limit=1000").await;
    page["records"].as_array().unwrap().clone()
}

async fn take(server: &Server, batch: usize) -> Vec<Value> {
    let body = json!({"batch_size": batch, "wait_for": "0s"});
    let taken = server.post("/v1/http-consumers/c/next", body).await;
    taken.expect(200).as_array().unwrap().clone()
}

/// How many of these messages an acknowledgement settles.
async fn settled(server: &Server, messages: &[Value]) -> usize {
    let tokens: Vec<&Value> = messages.iter().map(|one| &one["ack_token"]).collect();
    let body = json!({"ack_tokens": tokens});
    let acked = server.post("/v1/http-consumers/c/ack", body).await;
    acked.expect(204);
    acked.header("headrace-settled").unwrap().parse().unwrap()
}

fn ids(messages: &[Value]) -> BTreeSet<String> {
    let ids = messages.iter().map(|one| text(&one["record"]["id"]));
    ids.collect()
}

fn keys(data: &Path) -> PathBuf {
    data.join("headrace.keys")
}

/// A sync reads while backups are made. What is restored elsewhere is as it was, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_sync_and_a_worker_goes_on_elsewhere() {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 120);
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server
        .post("/v1/http-consumers", json!({"slug": "c"}))
        .await
        .expect(201);
    let scratch = tempfile::tempdir().unwrap();
    let (early, late) = (scratch.path().join("early"), scratch.path().join("late"));
    back_up(&server, &early);
    server.backfilled(&sync).await;
    let acked = take(&server, 30).await;
    assert_eq!(settled(&server, &acked).await, 30);
    let leased = take(&server, 7).await;
    let before = records(&server).await;
    let consumer = server.get("/v1/http-consumers/c").await;
    back_up(&server, &late);
    assert_eq!(mode(&late), 0o600);
    assert!(!server.data.join("headrace.db.backup").exists());
    // What comes after the backup is lost.
    assert_eq!(settled(&server, &leased).await, 7);
    let lost = take(&server, 5).await;

    let data = scratch.path().join("late-data");
    restore(&late, &data);
    std::fs::copy(keys(&server.data), keys(&data)).unwrap();
    let mut again = Setup::on(&data).stripe(&base).start();
    assert_eq!(records(&again).await, before);
    let restored = again.get("/v1/http-consumers/c").await;
    for count in ["num_pending", "num_ack_pending"] {
        assert_eq!(restored[count], consumer[count], "{count}: {restored}");
    }
    // Tokens from before name deliveries that are no more.
    assert_eq!(settled(&again, &leased).await, 0);
    assert_eq!(settled(&again, &lost).await, 0);
    let rest = take(&again, 1_000).await;
    assert_eq!(rest.len(), 90);
    assert!(ids(&rest).is_disjoint(&ids(&acked)), "it was acknowledged");
    assert!(ids(&rest).is_superset(&ids(&leased)));
    // Its sync goes on, above every index of before.
    let newest = before.iter().map(|record| record["updated_idx"].as_u64());
    let newest = newest.max().unwrap();
    assert!(again.terminate().success());
    stripe
        .create(Collection::Customer, json!({"name": "Chani"}))
        .unwrap();
    let again = Setup::on(&data).stripe(&base).start();
    again
        .until(|| async { records(&again).await.len() == 121 })
        .await;
    let newer = take(&again, 9).await;
    assert!(newer[0]["record"]["updated_idx"].as_u64() > newest);

    // What was copied in the middle of the first reading reads the rest.
    let data = scratch.path().join("early-data");
    restore(&early, &data);
    std::fs::copy(keys(&server.data), keys(&data)).unwrap();
    let again = Setup::on(&data).stripe(&base).start();
    again.backfilled(&sync).await;
    // The reading may have ended before that copy: then the newest one comes by its event.
    again
        .until(|| async { records(&again).await.len() == 121 })
        .await;
    assert_eq!(take(&again, 1_000).await.len(), 121);
}

fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().unwrap().permissions().mode() & 0o777
}

/// Without a server, the command makes the copy itself; what a killed one had not written is in it.
#[tokio::test]
async fn the_data_of_a_killed_server_is_backed_up_by_the_command() {
    let mut server = Server::with_consumer("c").await;
    server.kill();
    let scratch = tempfile::tempdir().unwrap();
    let backup = scratch.path().join("backup");
    let said = headrace(&["backup", backup.to_str().unwrap()], &server.data, None);
    assert!(said.success, "{}", said.error);
    let data = scratch.path().join("data");
    restore(&backup, &data);
    let again = Setup::on(&data).start();
    again.get("/v1/http-consumers/c").await;
}

#[tokio::test]
async fn a_backup_is_refused_with_the_reason() {
    let server = Server::start();
    let scratch = tempfile::tempdir().unwrap();
    let there = scratch.path().join("there");
    std::fs::write(&there, "precious").unwrap();
    let (to, there) = (scratch.path().join("new"), there.to_str().unwrap());
    let to = to.to_str().unwrap();
    let ask = |file: &str, url: &str, token| {
        headrace(&["backup", file, "--server", url], &server.data, token)
    };
    refused(&ask(there, &server.url, Some(ADMIN)), "exists");
    assert_eq!(std::fs::read(there).unwrap(), b"precious");
    refused(&ask(to, &server.url, None), "HEADRACE_TOKEN");
    refused(&ask(to, &server.url, Some("wrong")), "not known");
    refused(&ask(to, "http://127.0.0.1:9", Some(ADMIN)), "--server");
    let nowhere = scratch.path().join("missing/new");
    let nowhere = nowhere.to_str().unwrap();
    refused(&ask(nowhere, &server.url, Some(ADMIN)), "could not write");
    let empty = scratch.path().join("empty");
    refused(&headrace(&["backup", to], &empty, None), "has no data");
    assert!(!empty.exists(), "looking makes nothing");
    let left: Vec<_> = scratch.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "only what was there: {left:?}");
}

/// A server that has the directory is found without being named, where its address is configured.
#[tokio::test]
async fn a_server_that_has_the_data_is_asked() {
    let server = Server::start();
    let scratch = tempfile::tempdir().unwrap();
    let backup = scratch.path().join("backup");
    let address = server.url.strip_prefix("http://").unwrap();
    let any = address.replace("127.0.0.1", "0.0.0.0");
    let backup = backup.to_str().unwrap();
    let arguments = ["backup", backup, "--listen", &any, "--public-url"];
    // What others reach it by may not even be reached from here.
    let arguments = [&arguments[..], &["https://headrace.invalid"]].concat();
    refused(&headrace(&arguments, &server.data, None), "HEADRACE_TOKEN");
    // Nobody listens there: what is said to this machine goes through no proxy.
    let own = [
        ("HEADRACE_ADMIN_TOKEN", ADMIN),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
    ];
    let said = headrace_in(&own, &arguments, &server.data);
    assert!(said.success, "{}", said.error);
    restore(Path::new(backup), &scratch.path().join("data"));
}

/// A backup holds what belongs to others.
#[tokio::test]
async fn only_the_operator_backs_several_organisations_up() {
    let mut server = Server::start();
    let made = json!({"name": "t", "scopes": ["admin"]});
    let token = text(&server.post("/v1/api-tokens", made).await.expect(201)["token"]);
    let ask = |server: &Server, token: &str| {
        let request = server.bare(Method::GET, "/v1/backup").bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask(&server, &token).await, 200);
    assert!(server.terminate().success());
    let said = headrace(&["org", "create", "strangers"], &server.data, None);
    let stranger = said
        .out
        .lines()
        .find_map(|line| line.strip_prefix("admin token  "));
    let again = Setup::on(&server.data).start();
    assert_eq!(ask(&again, &token).await, 403);
    assert_eq!(ask(&again, stranger.unwrap()).await, 403);
    assert_eq!(ask(&again, ADMIN).await, 200);
}

#[tokio::test]
async fn a_restore_is_refused_with_the_reason() {
    let mut server = Server::with_consumer("c").await;
    let scratch = tempfile::tempdir().unwrap();
    let backup = scratch.path().join("backup");
    back_up(&server, &backup);
    let file = |name: &str, bytes: &[u8]| {
        let file = scratch.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let whole = std::fs::read(&backup).unwrap();
    let backup = backup.to_str().unwrap();
    let elsewhere = scratch.path().join("data");
    let cut = file("cut", &whole[..whole.len() - 4_096]);
    refused(&headrace(&["restore", &cut], &elsewhere, None), "not whole");
    let text = file("text", b"records, but in a letter");
    refused(&headrace(&["restore", &text], &elsewhere, None), "damaged");
    let live = server.data.join("headrace.db");
    let live = file("live", &std::fs::read(live).unwrap());
    refused(
        &headrace(&["restore", &live], &elsewhere, None),
        "is no backup",
    );
    let missing = scratch.path().join("missing");
    let missing = missing.to_str().unwrap();
    refused(
        &headrace(&["restore", missing], &elsewhere, None),
        "open the backup",
    );
    // Never under a server, whatever is asked.
    let replace = ["restore", backup, "--replace"];
    refused(&headrace(&replace, &server.data, None), "in use");
    assert!(server.terminate().success());
    refused(
        &headrace(&["restore", backup], &server.data, None),
        "--replace",
    );
    let said = headrace(&replace, &server.data, None);
    assert!(said.success, "{}", said.error);
    Setup::on(&server.data)
        .start()
        .get("/v1/http-consumers/c")
        .await;
}

/// Credentials are sealed with keys that a backup does not hold.
#[tokio::test]
async fn a_backup_without_its_keys_says_so() {
    let (_stripe, base) = sandbox().await;
    let server = Setup::new().stripe(&base).start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    let scratch = tempfile::tempdir().unwrap();
    let backup = scratch.path().join("backup");
    back_up(&server, &backup);
    let other = Server::start();
    let data = scratch.path().join("data");
    let said = headrace(&["restore", backup.to_str().unwrap()], &data, None);
    assert!(said.error.contains("put the key file"), "{}", said.error);
    std::fs::copy(keys(&other.data), keys(&data)).unwrap();
    let Err(said) = Setup::on(&data).stripe(&base).try_start() else {
        panic!("it starts with the keys of another installation");
    };
    assert!(said.contains("key file"), "{said}");
    std::fs::copy(keys(&server.data), keys(&data)).unwrap();
    let again = Setup::on(&data).stripe(&base).start();
    again
        .until(|| async {
            let sync = again.get(&format!("/v1/syncs/{sync}")).await;
            sync["health"]["status"] == "healthy"
        })
        .await;
}
