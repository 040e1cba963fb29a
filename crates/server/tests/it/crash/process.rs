//! A server that may end at any moment, and requests that may never be answered.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::harness::{ADMIN, Answer, Setup};

/// The signal of `abort`, which is how a breakpoint ends a process.
pub(crate) const ABORTED: i32 = 6;
/// The signal of `kill -9`.
pub(crate) const KILLED: i32 = 9;

/// A server process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it; its log is appended to this file.
    pub(crate) fn spawn(setup: &Setup, log: &Path) -> Self {
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
    pub(crate) async fn serving(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.unwrap()?;
        Some(line.strip_prefix("Headrace serves on ")?.to_owned())
    }

    /// Waits for its end: by which signal. An end by itself is none that was planned.
    pub(crate) async fn ended(&mut self) -> i32 {
        let status: ExitStatus = self.child.wait().await.unwrap();
        match status.signal() {
            Some(signal) => signal,
            None => panic!("it ended by itself: {status}"),
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        crate::harness::end(self.child.id().unwrap());
        assert!(self.child.wait().await.unwrap().success());
    }

    /// `kill -9`, unless it has ended already.
    pub(crate) async fn kill(&mut self) -> i32 {
        // It may be ending this very moment; how it ended is told by its status.
        drop(self.child.start_kill());
        self.ended().await
    }
}

/// Where requests go. Clones share the count of those that were cut off.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    url: String,
    sync: String,
    cut: Arc<AtomicUsize>,
}

impl Api {
    /// Requests to a server that has this sync.
    pub(crate) fn new(sync: &str) -> Self {
        Self {
            client: reqwest::Client::new(),
            url: String::new(),
            sync: sync.to_owned(),
            cut: Arc::default(),
        }
    }

    /// The same for a server at another URL.
    pub(crate) fn at(&self, url: String) -> Self {
        Self {
            url,
            cut: Arc::default(),
            ..self.clone()
        }
    }

    /// Asks; `None` when there was no answer, and nobody knows whether it was done.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Option<Answer> {
        let mut request = self.request(method, path, ADMIN);
        if !body.is_null() {
            request = request.json(&body);
        }
        self.send(request).await
    }

    /// Asks for something to be made, under an idempotency key.
    pub(crate) async fn make(&self, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let request = self.request(Method::POST, path, ADMIN);
        self.send(request.header("idempotency-key", key).json(body))
            .await
    }

    /// Asks with this token.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Option<Answer> {
        self.send(self.request(Method::GET, path, token)).await
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.request(method, url).bearer_auth(token)
    }

    async fn send(&self, request: RequestBuilder) -> Option<Answer> {
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

    pub(crate) async fn get(&self, path: &str) -> Option<Answer> {
        self.call(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Option<Answer> {
        self.call(Method::POST, path, body).await
    }

    /// The path of the sync, with this behind it.
    pub(crate) fn sync(&self, rest: &str) -> String {
        format!("/v1/syncs/{}{rest}", self.sync)
    }

    /// Requests that were cut off.
    pub(crate) fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}
