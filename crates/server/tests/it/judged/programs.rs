//! The programs of others, as separate processes that end with their standard input or are killed when dropped.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::PATIENCE;
use crate::harness::{KEY, text};

const PYTHON: &str = "HEADRACE_TEST_PYTHON";
pub(super) const NODE_MODULES: &str = "HEADRACE_TEST_NODE_MODULES";
const OPENAPI: &str = "HEADRACE_TEST_STRIPE_OPENAPI";

/// A running program.
struct Program {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            name,
            child,
            input,
            lines,
        }
    }

    /// A Python script of `testing/`.
    fn python(script: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new(interpreter());
        Self::start(script, command.arg(testing(script)).args(arguments))
    }

    /// The next line that it prints; `None` when it has ended.
    async fn next_line(&mut self) -> Option<String> {
        let name = self.name;
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{name} does not answer"));
        line.unwrap()
    }

    /// The next line that it prints.
    async fn line(&mut self) -> String {
        match self.next_line().await {
            Some(line) => line,
            None => panic!("{} ended: {}", self.name, self.child.wait().await.unwrap()),
        }
    }

    /// The URL that it says it serves on.
    async fn url(&mut self) -> String {
        let line = self.line().await;
        let url = line.strip_prefix("listening on ");
        url.unwrap_or_else(|| panic!("no URL: {line}")).to_owned()
    }
}

pub(super) fn testing(script: &str) -> PathBuf {
    let testing = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing");
    testing.join(script)
}

/// The interpreter that has the Python programs of others.
pub(crate) fn interpreter() -> OsString {
    needed(PYTHON)
}

/// There is no way around these tests: whoever cannot run them must learn it.
pub(super) fn needed(variable: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| {
        panic!(
            "{variable} is not set, and this test needs the programs of others: run `cargo xtask test`, which \
             installs them, or once it did, set the variables that `CONTRIBUTING.md` names"
        )
    })
}

/// An imitation of a provider by others.
pub(super) struct Imitation {
    pub(super) url: String,
    _program: Program,
}

impl Imitation {
    pub(super) async fn localstripe() -> Self {
        Self::of(Program::python("localstripe_server.py", &["0"])).await
    }

    pub(super) async fn emulate(service: &str) -> Self {
        Self::emulate_with(service, &Value::Null).await
    }

    /// With what it holds in addition to what it always does.
    pub(super) async fn emulate_with(service: &str, seed: &Value) -> Self {
        let script = "emulate_server.mjs";
        let mut command = Command::new("node");
        command.arg(testing(script)).arg(needed(NODE_MODULES));
        command.arg(service).arg(seed.to_string());
        Self::of(Program::start(script, &mut command)).await
    }

    async fn of(mut program: Program) -> Self {
        Self {
            url: program.url().await,
            _program: program,
        }
    }
}

/// A server that answers by Stripe's own description of its API, and refuses what that does not know.
pub(super) struct Steady {
    pub(super) url: String,
    _program: Program,
}

impl Steady {
    /// Where that description is.
    pub(super) fn document() -> PathBuf {
        needed(OPENAPI).into()
    }

    pub(super) async fn start() -> Self {
        // Another program may take the port before it does.
        for _ in 0..5 {
            if let Some(steady) = Self::on(free_port()).await {
                return steady;
            }
        }
        panic!("steady found no free port");
    }

    async fn on(port: u16) -> Option<Self> {
        let packages = Path::new(&needed(NODE_MODULES)).join("@stdy");
        let mut packages = std::fs::read_dir(packages).unwrap().map(Result::unwrap);
        // The launcher beside it would not be outlived by the program that it starts.
        let package = packages
            .find(|package| package.file_name() != "cli")
            .unwrap();
        let mut command = Command::new(package.path().join("bin/steady"));
        command
            // Where `CI` is set it would say something else when it is ready.
            .args(["--log-format", "text"])
            .args(["--quiet", "--no-color", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg(Self::document());
        let mut program = Program::start("steady", &mut command);
        while let Some(line) = program.next_line().await {
            if line.starts_with("Ready to accept requests") {
                let url = format!("http://127.0.0.1:{port}");
                return Some(Self {
                    url,
                    _program: program,
                });
            }
        }
        None
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Stripe's own SDK as a client.
pub(super) struct Sdk {
    program: Program,
    /// The invoice items that it has listed.
    listed_items: BTreeSet<String>,
}

impl Sdk {
    pub(super) fn of(server: &Imitation) -> Self {
        Self {
            program: Program::python("stripe_sdk.py", &[&server.url, "--key", KEY]),
            listed_items: BTreeSet::new(),
        }
    }

    /// Does what `stripe_sdk.py` documents; what the SDK raised, where it did.
    pub(super) async fn ask(&mut self, command: Value) -> Result<Value, Value> {
        let line = format!("{command}\n");
        self.program.input.write_all(line.as_bytes()).await.unwrap();
        let mut answer: Value = serde_json::from_str(&self.program.line().await).unwrap();
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
            "invoiceitem" => self.invoice_items().await,
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

    /// All that it has listed. localstripe's list leaves out those that are on an invoice; they can still be read.
    async fn invoice_items(&mut self) -> Vec<Value> {
        let rows = self.rows("invoiceitem").await;
        self.listed_items
            .extend(rows.iter().map(|row| text(&row["id"])));
        let mut items = Vec::new();
        for id in self.listed_items.clone() {
            items.push(self.retrieve("invoiceitem", &id).await);
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
