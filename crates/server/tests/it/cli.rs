//! The command line and the life of a server process.

use std::process::Command;

use serde_json::json;

use crate::harness::{ADMIN, Server, Setup, answer};

fn headrace(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_headrace"))
        .env_clear()
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_second_server_on_the_directory_is_refused_with_the_reason() {
    let server = Server::start();
    let refused = Setup::on(&server.data)
        .try_start()
        .err()
        .expect("it does not start");
    assert!(refused.contains("in use by another process"), "{refused}");
    assert!(refused.contains(&server.pid().to_string()), "{refused}");
    server.get("/v1/streams").await;
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_success() {
    let mut server = Server::with_consumer("c").await;
    let poll = server
        .request(reqwest::Method::POST, "/v1/http-consumers/c/next")
        .json(&json!({"wait_for": "60s"}));
    let poll = tokio::spawn(poll.send());
    server
        .until(|| async {
            server.logs().contains("/next")
                || server.get("/v1/http-consumers/c").await["id"].is_string()
        })
        .await;
    assert!(server.terminate().success());
    // The poll was answered, or its connection ended: it does not hang.
    drop(poll.await.unwrap());
    assert!(server.has_ended());
}

#[test]
fn offline_commands_make_organisations_and_tokens() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let data = data.to_str().unwrap();
    let made = headrace(&["org", "create", "choam", "--data-dir", data]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let listed = String::from_utf8(headrace(&["org", "list", "--data-dir", data]).stdout).unwrap();
    assert!(
        listed.contains("default") && listed.contains("choam"),
        "{listed}"
    );
    let token = headrace(&[
        "token",
        "create",
        "--scopes",
        "read",
        "--org",
        "choam",
        "--data-dir",
        data,
    ]);
    assert!(String::from_utf8(token.stdout).unwrap().starts_with("hrt_"));
    let wrong = headrace(&["token", "create", "--scopes", "all", "--data-dir", data]);
    assert!(!wrong.status.success());
    assert!(
        String::from_utf8(wrong.stderr)
            .unwrap()
            .contains("no scope")
    );
}

#[tokio::test]
async fn a_token_is_made_by_the_request_that_the_command_prints() {
    let server = Server::start();
    let printed = headrace(&[
        "token",
        "create",
        "--name",
        "it's mine",
        "--scopes",
        "read,consume",
        "--as-curl",
        "--public-url",
        &server.url,
    ]);
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("Authorization: Bearer $HEADRACE_TOKEN"),
        "{printed}"
    );
    // A shell reads the words, and something else than curl prints them.
    let script = format!("curl() {{ printf '%s\\n' \"$@\"; }}; {printed}");
    let words = Command::new("sh")
        .env("HEADRACE_TOKEN", ADMIN)
        .args(["-c", &script])
        .output()
        .unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    let words: Vec<&str> = words.lines().collect();
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag).unwrap();
        words[at + 1].to_owned()
    };
    let url = words.iter().find(|word| word.starts_with("http")).unwrap();
    let request = reqwest::Client::new()
        .post(*url)
        .header("authorization", after("-H").replace("Authorization: ", ""))
        .body(after("-d"));
    let made = answer(request).await.expect(201);
    assert_eq!(made["name"], "it's mine");
    assert_eq!(made["scopes"], json!(["read", "consume"]));
}

#[test]
fn the_configuration_is_checked_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("headrace.toml");
    std::fs::write(&file, "listne = \"x\"").unwrap();
    let refused = headrace(&["serve", "--config", file.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("listne")
    );
    let printed = String::from_utf8(headrace(&["config"]).stdout).unwrap();
    assert!(printed.contains("data_dir = \"./headrace-data\""));
}

#[test]
fn a_provider_definition_is_checked() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../providers/stripe");
    let checked = headrace(&["provider", "check", folder]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    assert!(
        String::from_utf8(checked.stdout)
            .unwrap()
            .contains("GET /customers")
    );
    let scratch = tempfile::tempdir().unwrap();
    let broken = scratch.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(
        broken.join("provider.toml"),
        "title = \"Broken\"\nbass = \"x\"\n",
    )
    .unwrap();
    let refused = headrace(&["provider", "check", broken.to_str().unwrap()]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("provider.toml") && said.contains("bass"),
        "{said}"
    );
}

#[tokio::test]
async fn dev_shows_the_main_job_with_nothing_but_the_binary() {
    use std::io::{BufRead, BufReader};

    let scratch = tempfile::tempdir().unwrap();
    let mut dev = Command::new(env!("CARGO_BIN_EXE_headrace"))
        .env_clear()
        .env("TMPDIR", scratch.path())
        .args(["dev", "--customers", "5", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut said = String::new();
    let body = r#"-d '{"ack_tokens": ["<ack_token>"]}'"#;
    for line in lines.by_ref() {
        said.push_str(&line);
        said.push('\n');
        if line.contains(body) {
            break;
        }
    }
    assert!(said.contains("11 collections: customer, "), "{said}");
    assert!(said.contains("PATCH http://127.0.0.1:"), "{said}");
    let token = said
        .split_once("API token: ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let next = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl -s -X POST "))
        .unwrap();
    let next = next.trim_end_matches('\\').trim().to_owned();
    let client = reqwest::Client::new();
    let taken = client
        .post(&next)
        .bearer_auth(&token)
        .json(&json!({"wait_for": "60s"}))
        .send()
        .await
        .unwrap();
    let taken: serde_json::Value = taken.json().await.unwrap();
    assert!(taken[0]["record"]["data"]["id"].is_string(), "{taken}");
    let ack = next.replace("/next", "/ack");
    let acked = client
        .post(&ack)
        .bearer_auth(&token)
        .json(&json!({"ack_tokens": [taken[0]["ack_token"]]}));
    assert_eq!(acked.send().await.unwrap().status().as_u16(), 204);
    // Progress goes on being shown.
    assert!(
        lines
            .by_ref()
            .any(|line| line.contains("records in the stream"))
    );
    crate::harness::end(dev.id());
    drop(lines);
    assert!(dev.wait().unwrap().success());
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}
