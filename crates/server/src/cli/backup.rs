//! `headrace backup`: everything in one file. A server that has the data directory makes the copy while
//! it serves; without one, the command does.

use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use headrace_engine::outbound::is_this_machine;
use headrace_engine::{Clock, SystemClock};
use headrace_store::{Draft, StoreError};
use reqwest::{Client, StatusCode, Url, redirect};

use super::out;
use crate::address;
use crate::config::{Config, Options};

/// How long reaching the server may take. Making the copy may take any time.
const CONNECT: Duration = Duration::from_secs(20);

/// What to back up, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The new file
    file: PathBuf,
    /// The server that makes it; without, the one that has the data directory, if there is one
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
    if file.symlink_metadata().is_ok() {
        bail!("{} exists: choose another name", file.display());
    }
    match server {
        Some(url) => download(&url, token.as_deref(), &file).await?,
        None => match copy(&config.data_dir, &file).await {
            Err(StoreError::InUse { .. }) => {
                // It is this machine's own: it never goes to a server that was named.
                let token = token.or_else(|| std::env::var("HEADRACE_ADMIN_TOKEN").ok());
                let url = url_of_server(&config.data_dir)?;
                download(&url, token.as_deref(), &file).await?;
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

/// Where the server is that has the data directory.
fn url_of_server(data_dir: &Path) -> anyhow::Result<String> {
    let address = address::of_server(data_dir);
    let address = address.context("could not look where the server listens")?;
    let address = address.with_context(|| {
        format!(
            "the data directory {} is in use, but not by a server that serves: try again when it does, or when nothing uses it",
            data_dir.display()
        )
    })?;
    let here = match address.ip().is_unspecified() {
        true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        false => address,
    };
    Ok(format!("http://{here}"))
}

/// Has a server make the copy.
async fn download(url: &str, token: Option<&str>, to: &Path) -> anyhow::Result<()> {
    let url = url.trim_end_matches('/');
    let backup = Url::parse(&format!("{url}/v1/backup"))
        .context("the server is no URL: expected https://HOST")?;
    if !backup.username().is_empty() || backup.password().is_some() {
        bail!("a server's URL holds no user and no password: put the token into HEADRACE_TOKEN");
    }
    let token = token.with_context(|| {
        format!("the server at {url} makes the backup: it needs an admin token in HEADRACE_TOKEN")
    })?;
    let write = || format!("could not write {}", to.display());
    let mut draft = Draft::begin(to).with_context(write)?;
    let is_here = is_this_machine(&backup);
    if backup.scheme() == "http" && !is_here {
        out::error(&format!(
            "warning: the token and the backup go to {url} in the clear: use https"
        ));
    }
    let mut client = Client::builder()
        .connect_timeout(CONNECT)
        // The token is for the server that was named.
        .redirect(redirect::Policy::none())
        .no_gzip();
    if is_here {
        // A proxy of the environment would get the token, and find another machine under this name.
        client = client.no_proxy();
    }
    let asked = client.build()?.get(backup).bearer_auth(token).send().await;
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
    let (needed, free) = (answer.content_length(), draft.room().with_context(write)?);
    if let Some(needed) = needed.filter(|needed| *needed > free) {
        bail!(
            "{} does not fit on its disk: it takes {needed} bytes, and {free} are free",
            to.display()
        );
    }
    while let Some(piece) = answer.chunk().await.context("the download was cut off")? {
        draft.file().write_all(&piece).with_context(write)?;
    }
    // Who answered may be no Headrace server, and a proxy may not have told the length.
    let checked = headrace_store::check_backup(draft.path(), to).await;
    checked.with_context(|| format!("what {url} sent is no whole backup"))?;
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
