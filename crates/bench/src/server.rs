//! The server as users run it: the release binary, as a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

const TOKEN: &str = "a-token-for-nothing-but-this-load";
/// The provider's own limit would be measured, otherwise.
const UNLIMITED: u32 = 1_000_000;

/// A server with a stream `dev`.
pub(crate) struct Server {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
    /// How long it took from its start until it served.
    pub(crate) started_in: Duration,
    process: Child,
    _folder: Arc<TempDir>,
}

impl Server {
    /// Starts it, with Stripe found at this base URL.
    pub(crate) async fn start(stripe: &str) -> Result<Self> {
        let folder = Arc::new(tempfile::tempdir()?);
        let server = Self::open(folder, Some(stripe)).await?;
        server.post("/v1/streams", json!({"slug": "dev"})).await?;
        Ok(server)
    }

    /// Starts it on the directory `data` of this folder.
    pub(crate) async fn open(folder: Arc<TempDir>, stripe: Option<&str>) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0"])
            .env("HEADRACE_ADMIN_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(stripe) = stripe {
            command
                .arg("--provider-base-url")
                .arg(format!("stripe={stripe}"));
        }
        let begun = Instant::now();
        let mut process = command.spawn().context("could not start the server")?;
        let out = process.stdout.take().context("no output")?;
        let mut lines = BufReader::new(out).lines();
        let url = loop {
            let line = lines.next_line().await?.context("the server ended")?;
            if let Some((_, url)) = line.rsplit_once("serves on ") {
                break url.trim_end_matches(['.', ',']).to_owned();
            }
        };
        Ok(Self {
            client: reqwest::Client::new(),
            url,
            started_in: begun.elapsed(),
            process,
            _folder: folder,
        })
    }

    /// Ends it as a service manager does.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.try_into()?).context("no process")?;
        kill_process(pid, Signal::TERM).context("could not end the server")?;
        let ended = self.process.wait().await?;
        ensure!(ended.success(), "the server ended with {ended}");
        Ok(())
    }

    /// Its memory: what is its own, and what of files is mapped or counted with it.
    pub(crate) fn memory(&self) -> Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib / 1_024).context("no such figure")
        };
        let (own, all, peak) = (field("RssAnon:")?, field("VmRSS:")?, field("VmHWM:")?);
        Ok(format!(
            "RssAnon {own} MiB, resident {all} MiB, at most {peak} MiB"
        ))
    }

    /// How much processor time it has used.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        /// Ticks per second, as Linux tells times.
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let (_, fields) = stat.rsplit_once(')').context("no status")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
    }

    fn pid(&self) -> Result<u32> {
        self.process.id().context("the server has ended")
    }

    /// Begins to sync all customers.
    pub(crate) async fn sync_customers(&self) -> Result<String> {
        let properties = json!({"kind": "stripe_key", "secret": "sk_test_sandbox"});
        let credential = self
            .post("/v1/credentials", json!({"properties": properties}))
            .await?;
        let path = format!("/v1/credentials/{}", text(&credential["id"])?);
        let limit =
            json!({"allowed_requests": UNLIMITED, "interval": 1, "max_concurrent_requests": 0});
        let patch = self.request(reqwest::Method::PATCH, &path);
        answer(patch.json(&json!({"rate_limit": limit}))).await?;
        let sync = json!({"provider": "stripe", "name": "load", "credential_id": credential["id"],
            "collection_ids": ["stripe:customer"]});
        let sync = self.post("/v1/syncs", sync).await?;
        text(&sync["id"])
    }

    /// Waits until everything was read once.
    pub(crate) async fn backfilled(&self, sync: &str) -> Result<()> {
        let path = format!("/v1/syncs/{sync}");
        loop {
            let sync = answer(self.request(reqwest::Method::GET, &path)).await?;
            if !sync["initial_backfill_completed_at"].is_null() {
                return Ok(());
            }
            if sync["health"]["status"] == "error" {
                bail!("the sync stands still: {}", sync["health"]);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value> {
        answer(self.request(reqwest::Method::POST, path).json(&body)).await
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.request(method, url).bearer_auth(TOKEN)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let (status, body) = (response.status(), response.text().await?);
    if !status.is_success() {
        bail!("{status}: {body}");
    }
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

pub(crate) fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("no text")?.to_owned())
}

/// The server's binary stands beside this program's.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let binary = own.with_file_name("headrace");
    if !binary.exists() {
        bail!("there is no {}: run `cargo xtask bench`", binary.display());
    }
    Ok(binary)
}
