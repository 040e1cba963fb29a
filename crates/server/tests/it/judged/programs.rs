//! The programs of others, as separate processes that end with their standard input and are killed when dropped.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::PATIENCE;
use crate::harness::KEY;

const VARIABLE: &str = "HEADRACE_TEST_PYTHON";

/// A running script of `testing/`.
struct Script {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    fn start(name: &'static str, arguments: &[&str]) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing");
        let mut child = Command::new(interpreter())
            .arg(scripts.join(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{VARIABLE} names no program that runs: {error}"));
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            name,
            child,
            input,
            lines,
        }
    }

    /// The next line that it prints.
    async fn line(&mut self) -> String {
        let name = self.name;
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{name} does not answer"));
        match line.unwrap() {
            Some(line) => line,
            None => panic!("{name} ended: {}", self.child.wait().await.unwrap()),
        }
    }
}

/// There is no way around these tests: whoever cannot run them must learn it.
pub(crate) fn interpreter() -> OsString {
    std::env::var_os(VARIABLE).unwrap_or_else(|| {
        panic!(
            "{VARIABLE} is not set, and this test needs the Python that has localstripe and Stripe's SDK: \
             run `cargo xtask test`, which makes it, or once it did, set \
             {VARIABLE}=$PWD/target/test-servers/python/bin/python"
        )
    })
}

/// A Stripe imitation by others.
pub(super) struct Localstripe {
    pub(super) url: String,
    _script: Script,
}

impl Localstripe {
    pub(super) async fn start() -> Self {
        let mut script = Script::start("localstripe_server.py", &["0"]);
        let line = script.line().await;
        let url = line.strip_prefix("listening on ");
        Self {
            url: url.unwrap_or_else(|| panic!("no URL: {line}")).to_owned(),
            _script: script,
        }
    }
}

/// Stripe's own SDK as a client.
pub(super) struct Sdk(Script);

impl Sdk {
    pub(super) fn of(server: &Localstripe) -> Self {
        Self(Script::start("stripe_sdk.py", &[&server.url, "--key", KEY]))
    }

    /// Does what `stripe_sdk.py` documents; what the SDK raised, where it did.
    pub(super) async fn ask(&mut self, command: Value) -> Result<Value, Value> {
        let line = format!("{command}\n");
        self.0.input.write_all(line.as_bytes()).await.unwrap();
        let mut answer: Value = serde_json::from_str(&self.0.line().await).unwrap();
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(answer["error"].take()),
        }
    }

    async fn done(&mut self, command: Value) -> Value {
        let asked = command.to_string();
        let answer = self.ask(command).await;
        answer.unwrap_or_else(|error| panic!("{asked} failed: {error}"))
    }

    pub(super) async fn seed(&mut self, customers: usize) {
        self.done(json!({"cmd": "seed", "n": customers})).await;
    }

    /// Every object of a collection.
    pub(super) async fn list(&mut self, collection: &str) -> Vec<Value> {
        match collection {
            "subscription_item" => self.items().await,
            collection => self.rows(collection).await,
        }
    }

    /// The items of all subscriptions. The list of items itself has more: localstripe makes some for
    /// invoices, which belong to no subscription.
    async fn items(&mut self) -> Vec<Value> {
        let mut items = Vec::new();
        for subscription in self.rows("subscription").await {
            let held = &subscription["items"];
            assert_eq!(held["has_more"], false, "{held}");
            items.extend(held["data"].as_array().unwrap().iter().cloned());
        }
        items
    }

    async fn rows(&mut self, collection: &str) -> Vec<Value> {
        let mut params = json!({"limit": 100});
        if collection == "subscription" {
            // Without it those that were cancelled are left out.
            params["status"] = json!("all");
        }
        let command = json!({"cmd": "list", "collection": collection, "params": params});
        self.done(command).await.as_array().unwrap().clone()
    }

    pub(super) async fn retrieve(&mut self, collection: &str, id: &str) -> Value {
        self.done(json!({"cmd": "retrieve", "collection": collection, "id": id}))
            .await
    }

    pub(super) async fn create(&mut self, collection: &str, params: Value) -> Value {
        self.done(json!({"cmd": "create", "collection": collection, "params": params}))
            .await
    }

    pub(super) async fn update(&mut self, collection: &str, id: &str, params: Value) {
        self.done(json!({"cmd": "update", "collection": collection, "id": id, "params": params}))
            .await;
    }

    /// A subscription is cancelled.
    pub(super) async fn delete(&mut self, collection: &str, id: &str) {
        self.done(json!({"cmd": "delete", "collection": collection, "id": id}))
            .await;
    }

    pub(super) async fn post(&mut self, path: &str, params: Value) {
        let command = json!({"cmd": "raw", "method": "post", "path": path, "params": params});
        let answer = self.done(command).await;
        assert_eq!(answer["status"], 200, "{path}: {answer}");
    }
}
