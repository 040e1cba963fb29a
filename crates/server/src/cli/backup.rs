//! `headrace backup`: everything in one file. A server that has the data directory makes the copy while
//! it serves; without one, the command does.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use headrace_engine::{Clock, SystemClock};
use headrace_store::{Draft, StoreError};
use reqwest::StatusCode;

use super::out;
use crate::config::{Config, Options};

/// What to back up, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The new file
    file: PathBuf,
    /// The server that makes it; without, the one that has the data directory
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// An admin token for that server
    #[arg(long, env = "HEADRACE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(crate) async fn run(options: BackupOptions) -> anyhow::Result<()> {
    let BackupOptions {
        file,
        server,
        token,
        options,
    } = options;
    let config = Config::load(options, std::env::vars())?;
    let token = token.or_else(|| std::env::var("HEADRACE_ADMIN_TOKEN").ok());
    if file.symlink_metadata().is_ok() {
        bail!("{} exists: choose another name", file.display());
    }
    match server {
        Some(url) => download(&url, token.as_deref(), &file).await?,
        None => match copy(&config.data_dir, &file).await {
            Err(StoreError::InUse { .. }) => {
                download(&url_of(&config), token.as_deref(), &file).await?;
            }
            copied => copied?,
        },
    }
    out::line(&format!("backup {}", file.display()));
    out::error(&format!(
        "the keys that open credentials are not in it: keep a copy of {} as well, somewhere else",
        config.key_file.display()
    ));
    Ok(())
}

/// Copies the data directory, which no server has.
async fn copy(data_dir: &Path, to: &Path) -> Result<(), StoreError> {
    let store = headrace_store::open_existing(&format!("sqlite:{}", data_dir.display())).await?;
    let copied = store.back_up(to, SystemClock.now()).await;
    copied.and(store.close().await)
}

fn url_of(config: &Config) -> String {
    let here = || format!("http://{}", config.listen);
    config.public_url.clone().unwrap_or_else(here)
}

/// Has a server make the copy.
async fn download(url: &str, token: Option<&str>, to: &Path) -> anyhow::Result<()> {
    let url = url.trim_end_matches('/');
    let token = token.with_context(|| {
        format!("the server at {url} makes the backup: it needs an admin token in HEADRACE_TOKEN")
    })?;
    let write = || format!("could not write {}", to.display());
    let mut draft = Draft::begin(to).with_context(write)?;
    let asked = reqwest::Client::new()
        .get(format!("{url}/v1/backup"))
        .bearer_auth(token)
        .send()
        .await;
    let mut answer = asked.with_context(|| {
        format!("could not reach the server at {url}: say where it is with --server")
    })?;
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        let said = answer.text().await.unwrap_or_default();
        bail!(
            "the server at {url} made no backup: {}",
            reason(status, &said)
        );
    }
    let expected = answer.content_length();
    let mut length = 0;
    while let Some(piece) = answer.chunk().await.context("the download was cut off")? {
        length += piece.len() as u64;
        draft.file().write_all(&piece).with_context(write)?;
    }
    if expected != Some(length) {
        bail!("the download was cut off after {length} bytes");
    }
    match draft.finish() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists: choose another name", to.display())
        }
        finished => finished.with_context(write),
    }
}

fn reason(status: StatusCode, said: &str) -> String {
    let said: Option<serde_json::Value> = serde_json::from_str(said).ok();
    let summary = said.as_ref().and_then(|said| said["summary"].as_str());
    summary.map_or_else(|| status.to_string(), str::to_owned)
}
