//! The server as users run it: the release binary, as a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const TOKEN: &str = "a-token-for-nothing-but-this-load";
/// The provider's own limit would be measured, otherwise.
const UNLIMITED: u32 = 1_000_000;

/// A server with a stream `dev`.
pub(crate) struct Server {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
    _process: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts it, with Stripe found at this base URL.
    pub(crate) async fn start(stripe: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut process = Command::new(binary()?)
            .arg("serve")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0", "--provider-base-url"])
            .arg(format!("stripe={stripe}"))
            .env("HEADRACE_ADMIN_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("could not start the server")?;
        let out = process.stdout.take().context("no output")?;
        let mut lines = BufReader::new(out).lines();
        let url = loop {
            let line = lines.next_line().await?.context("the server ended")?;
            if let Some((_, url)) = line.rsplit_once("serves on ") {
                break url.trim_end_matches(['.', ',']).to_owned();
            }
        };
        let server = Self {
            client: reqwest::Client::new(),
            url,
            _process: process,
            _folder: folder,
        };
        server.post("/v1/streams", json!({"slug": "dev"})).await?;
        Ok(server)
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
