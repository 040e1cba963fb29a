//! Configuration: documented defaults, then a file, then the environment, then the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

use crate::listen::Limits;

/// The defaults, as users read them.
pub(crate) const DEFAULTS: &str = include_str!("config.default.toml");

/// What can be given on the command line or in the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// A configuration file
    #[arg(long, env = "HEADRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the embedded store keeps its data
    #[arg(long, env = "HEADRACE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The address to serve on
    #[arg(long, env = "HEADRACE_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// What others must reach: webhooks, redirects, links
    #[arg(long, env = "HEADRACE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// The key file that seals credentials
    #[arg(long, env = "HEADRACE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Further provider definitions
    #[arg(long, env = "HEADRACE_PROVIDERS_DIR", value_name = "DIR")]
    pub providers_dir: Option<PathBuf>,
    /// Where to find a provider's API instead: NAME=URL, repeatable
    #[arg(long = "provider-base-url", value_name = "NAME=URL")]
    pub provider_base_urls: Vec<String>,
    /// Connections at once
    #[arg(long, env = "HEADRACE_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<u32>,
    /// How long a request's head may take, and each piece of its body
    #[arg(long, env = "HEADRACE_READ_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub read_timeout_seconds: Option<u32>,
    /// How long a caller may take nothing of its answer
    #[arg(long, env = "HEADRACE_WRITE_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub write_timeout_seconds: Option<u32>,
    /// Log lines as JSON
    #[arg(long, env = "HEADRACE_LOG_JSON")]
    pub log_json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    public_url: Option<String>,
    key_file: Option<PathBuf>,
    providers_dir: Option<PathBuf>,
    max_connections: Option<u32>,
    read_timeout_seconds: Option<u32>,
    write_timeout_seconds: Option<u32>,
    log_json: Option<bool>,
    #[serde(default)]
    provider_base_url: BTreeMap<String, String>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the embedded store keeps its data.
    pub data_dir: PathBuf,
    /// The address to serve on.
    pub listen: String,
    /// What others must reach.
    pub public_url: Option<String>,
    /// The key file.
    pub key_file: PathBuf,
    /// Further provider definitions.
    pub providers_dir: Option<PathBuf>,
    /// Base URLs by provider.
    pub base_urls: BTreeMap<String, String>,
    /// What callers are held to.
    pub limits: Limits,
    /// Log lines as JSON.
    pub log_json: bool,
}

const BASE_URL_VARIABLE: &str = "HEADRACE_PROVIDER_BASE_URL_";

impl Config {
    /// Puts the configuration together. `environment` is what may name base URLs.
    pub(crate) fn load(
        options: Options,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let defaults: File = toml::from_str(DEFAULTS).context("the built-in defaults")?;
        let file: File = match &options.config {
            None => toml::from_str("")?,
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!("could not read the configuration {}", path.display())
                })?;
                toml::from_str(&text)
                    .with_context(|| format!("in the configuration {}", path.display()))?
            }
        };
        let limits = limits(&options, &file, &defaults)?;
        let set = |path: &PathBuf| !path.as_os_str().is_empty();
        let data_dir = options
            .data_dir
            .or(file.data_dir)
            .or(defaults.data_dir)
            .unwrap_or_default();
        let key_file = options.key_file.or(file.key_file).filter(set);
        let mut base_urls = file.provider_base_url;
        for (name, url) in environment {
            if let Some(provider) = name.strip_prefix(BASE_URL_VARIABLE) {
                base_urls.insert(provider.to_ascii_lowercase(), url);
            }
        }
        for pair in options.provider_base_urls {
            let Some((name, url)) = pair.split_once('=') else {
                bail!(
                    "--provider-base-url {pair:?} must be NAME=URL, such as stripe=http://127.0.0.1:8420"
                );
            };
            base_urls.insert(name.to_owned(), url.to_owned());
        }
        Ok(Self {
            limits,
            key_file: key_file.unwrap_or_else(|| data_dir.join("headrace.keys")),
            data_dir,
            listen: options
                .listen
                .or(file.listen)
                .or(defaults.listen)
                .unwrap_or_default(),
            public_url: options
                .public_url
                .or(file.public_url)
                .filter(|url| !url.is_empty()),
            providers_dir: options.providers_dir.or(file.providers_dir).filter(set),
            base_urls,
            log_json: options.log_json || file.log_json.or(defaults.log_json).unwrap_or(false),
        })
    }
}

/// What callers are held to, by the first of the three that says so.
fn limits(options: &Options, file: &File, defaults: &File) -> anyhow::Result<Limits> {
    let seconds = |name, given| {
        at_least_one(name, given)
            .map(u64::from)
            .map(Duration::from_secs)
    };
    let connections = [
        options.max_connections,
        file.max_connections,
        defaults.max_connections,
    ];
    let read = [
        options.read_timeout_seconds,
        file.read_timeout_seconds,
        defaults.read_timeout_seconds,
    ];
    let write = [
        options.write_timeout_seconds,
        file.write_timeout_seconds,
        defaults.write_timeout_seconds,
    ];
    Ok(Limits {
        max_connections: at_least_one("max_connections", connections)? as usize,
        read_timeout: seconds("read_timeout_seconds", read)?,
        write_timeout: seconds("write_timeout_seconds", write)?,
    })
}

fn at_least_one(name: &str, given: [Option<u32>; 3]) -> anyhow::Result<u32> {
    match given.into_iter().flatten().next() {
        None | Some(0) => bail!("{name} must be at least 1"),
        Some(number) => Ok(number),
    }
}
