//! A real server as a child process, a sandbox account beside it, and a client.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headrace_sandbox::stripe::{Stripe, StripeOptions};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The admin token of every test server.
pub(crate) const ADMIN: &str = "test-admin-token-0123456789";
/// The key of every sandbox account.
pub(crate) const KEY: &str = "sk_test_4eC39HqLyjWDarjtT1zdp7dc";
/// No condition is waited for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    log: PathBuf,
    _scratch: Option<TempDir>,
    client: reqwest::Client,
}

/// A server to be started.
pub(crate) struct Setup {
    data: PathBuf,
    scratch: Option<TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    open_files: Option<u32>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        Self {
            data,
            scratch: Some(scratch),
            arguments: Vec::new(),
            environment: Vec::new(),
            open_files: None,
        }
    }

    pub(crate) fn on(data: &Path) -> Self {
        let data = data.to_owned();
        Self {
            data,
            scratch: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            open_files: None,
        }
    }

    pub(crate) fn stripe(self, base: &str) -> Self {
        self.provider("stripe", base)
    }

    /// Finds the API of a provider here.
    pub(crate) fn provider(mut self, name: &str, base: &str) -> Self {
        self.arguments.push("--provider-base-url".to_owned());
        self.arguments.push(format!("{name}={base}"));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At most so many files and sockets at once.
    pub(crate) fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    pub(crate) fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_headrace");
        let mut command = match self.open_files {
            None => Command::new(program),
            Some(most) => {
                let mut limited = Command::new("/bin/sh");
                let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
                limited.args(["-c", &script, program]);
                limited
            }
        };
        command
            .env_clear()
            .env("HEADRACE_ADMIN_TOKEN", ADMIN)
            .env("RUST_LOG", "debug");
        command.envs(self.environment.iter().cloned());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&self.data);
        command.args(&self.arguments);
        command
    }

    pub(crate) fn start(self) -> Server {
        self.try_start().expect("the server starts")
    }

    /// Starts the server; what it said instead where it did not start.
    pub(crate) fn try_start(self) -> Result<Server, String> {
        let log = self.data.with_extension("log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(url) = line
            .trim()
            .strip_prefix("Headrace serves on ")
            .map(str::to_owned)
        else {
            assert!(!child.wait().unwrap().success(), "it says it went well");
            return Err(std::fs::read_to_string(&log).unwrap());
        };
        // Nothing takes that long: what hangs is to fail, not to hang.
        let client = reqwest::Client::builder().timeout(5 * PATIENCE);
        let client = client.build().unwrap();
        Ok(Server {
            child,
            url,
            data: self.data,
            log,
            _scratch: self.scratch,
            client,
        })
    }
}

/// SIGTERM.
pub(crate) fn end(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

impl Server {
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    /// A server with a stream `dev` and a consumer of it.
    pub(crate) async fn with_consumer(slug: &str) -> Self {
        let server = Self::start();
        server
            .post("/v1/streams", json!({"slug": "dev"}))
            .await
            .expect(201);
        server
            .post("/v1/http-consumers", json!({"slug": slug}))
            .await
            .expect(201);
        server
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A request with the admin token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(ADMIN)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        answer(self.request(Method::GET, path)).await.expect(200)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::PATCH, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        answer(self.request(method, path)).await
    }

    /// What the server has logged so far.
    pub(crate) fn logs(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn until_it_ends(&mut self) {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(tokio::time::Instant::now() < give_up, "it goes on");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        end(self.child.id());
        self.child.wait().unwrap()
    }

    /// A stream with a sync of these collections of the sandbox account: the sync's id.
    pub(crate) async fn sync_stripe(&self, collections: &[&str]) -> String {
        self.post("/v1/streams", json!({"slug": "dev"}))
            .await
            .expect(201);
        let credential = json!({"properties": {"kind": "stripe_key", "secret": KEY}});
        let credential = self.post("/v1/credentials", credential).await.expect(201);
        let sync = json!({
            "provider": "stripe",
            "name": "test",
            "collection_ids": collections,
            "credential_id": credential["id"],
        });
        text(&self.post("/v1/syncs", sync).await.expect(201)["id"])
    }

    /// Waits until the first reading of all collections is complete.
    pub(crate) async fn backfilled(&self, sync: &str) {
        self.until(|| async {
            let sync = self.get(&format!("/v1/syncs/{sync}")).await;
            !sync["initial_backfill_completed_at"].is_null()
        })
        .await;
    }

    /// Waits for a condition.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(
                tokio::time::Instant::now() < give_up,
                "it never came:\n{}",
                tail(&self.logs())
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON, if the status is this.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&self.text).unwrap()
        }
    }

    /// The error's fields that are wrong, if it is a 422.
    #[track_caller]
    pub(crate) fn invalid_fields(&self) -> Vec<String> {
        let body = self.expect(422);
        assert_eq!(body["code"], "invalid");
        assert!(!text(&body["summary"]).is_empty());
        body["validation_errors"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer {
        status,
        headers,
        text: response.text().await.unwrap(),
    }
}

/// The bytes of an answer that went well.
pub(crate) async fn answer_bytes(request: RequestBuilder) -> Vec<u8> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap().into()
}

/// A JSON string's text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A sandbox account, served.
pub(crate) async fn sandbox() -> (Stripe, String) {
    sandbox_of(StripeOptions::default().seed).await
}

/// A sandbox account of which this seed decides everything, served.
pub(crate) async fn sandbox_of(seed: u64) -> (Stripe, String) {
    let stripe = Stripe::new(StripeOptions {
        key: KEY.to_owned(),
        seed,
        ..StripeOptions::default()
    });
    let local = ([127, 0, 0, 1], 0).into();
    let (address, _) = headrace_sandbox::serve(stripe.router(), local)
        .await
        .unwrap();
    (stripe, format!("http://{address}/v1"))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
