//! A server that may end at any moment, and requests that may never be answered.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::harness::{ADMIN, Answer, Setup};

/// The signal of `abort`, which is how a breakpoint ends a process.
pub(super) const ABORTED: i32 = 6;
/// The signal of `kill -9`.
pub(super) const KILLED: i32 = 9;

/// A server process. Killed when dropped.
pub(super) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it; its log is appended to this file.
    pub(super) fn spawn(setup: &Setup, log: &Path) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut command = tokio::process::Command::from(setup.command());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until it serves: its URL. `None` when it ended before.
    pub(super) async fn serving(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.unwrap()?;
        Some(line.strip_prefix("Headrace serves on ")?.to_owned())
    }

    /// Waits for its end: by which signal. An end by itself is none that was planned.
    pub(super) async fn ended(&mut self) -> i32 {
        let status: ExitStatus = self.child.wait().await.unwrap();
        match status.signal() {
            Some(signal) => signal,
            None => panic!("it ended by itself: {status}"),
        }
    }

    /// `kill -9`, unless it has ended already.
    pub(super) async fn kill(&mut self) -> i32 {
        // It may be ending this very moment; how it ended is told by its status.
        drop(self.child.start_kill());
        self.ended().await
    }
}

/// Where requests go. Clones share the count of those that were cut off.
#[derive(Clone)]
pub(super) struct Api {
    client: reqwest::Client,
    url: String,
    sync: String,
    cut: Arc<AtomicUsize>,
}

impl Api {
    /// Requests to a server that has this sync.
    pub(super) fn new(sync: &str) -> Self {
        Self {
            client: reqwest::Client::new(),
            url: String::new(),
            sync: sync.to_owned(),
            cut: Arc::default(),
        }
    }

    /// The same for a server at another URL.
    pub(super) fn at(&self, url: String) -> Self {
        Self {
            url,
            cut: Arc::default(),
            ..self.clone()
        }
    }

    /// Asks; `None` when there was no answer, and nobody knows whether it was done.
    pub(super) async fn call(&self, method: Method, path: &str, body: Value) -> Option<Answer> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(ADMIN);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = async {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let text = response.text().await?;
            Ok::<_, reqwest::Error>(Answer {
                status,
                headers,
                text,
            })
        };
        match answer.await {
            Ok(answer) => Some(answer),
            Err(_) => {
                self.cut.fetch_add(1, Ordering::SeqCst);
                None
            }
        }
    }

    pub(super) async fn get(&self, path: &str) -> Option<Answer> {
        self.call(Method::GET, path, Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Option<Answer> {
        self.call(Method::POST, path, body).await
    }

    /// The path of the sync, with this behind it.
    pub(super) fn sync(&self, rest: &str) -> String {
        format!("/v1/syncs/{}{rest}", self.sync)
    }

    /// Requests that were cut off.
    pub(super) fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}
