//! `headrace token`: works on the data directory while no server has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use headrace_engine::outbound::{Outbound, OutboundSettings};
use headrace_engine::sync::{Parts, Supervisor, SyncSettings};
use headrace_engine::{
    Engine, Providers, Stored, StoredToken, SyncParts, SystemClock, clock::random, keys,
};
use headrace_model::OrgId;
use headrace_model::config::{ApiToken, Scope};
use uuid::Uuid;

use super::{curl, out};
use crate::config::{Config, Options};

/// What to do with API tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make an API token and print it
    ///
    /// Works on the data directory while no server has it. Where a server runs, --as-curl prints the
    /// request that does the same there.
    Create(CreateToken),
}

/// A new token.
#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// A name for people
    #[arg(long, default_value = "command line")]
    name: String,
    /// What it may do: admin, read, consume, mutate, proxy; separated by commas
    #[arg(long, default_value = "admin")]
    scopes: String,
    /// Its organisation by name or id; the first one unless given
    #[arg(long)]
    org: Option<String>,
    /// Print the HTTP request instead, as curl; it takes an admin token from the environment
    #[arg(long, conflicts_with = "org")]
    as_curl: bool,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(crate) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Create(CreateToken {
        name,
        scopes,
        org,
        as_curl,
        options,
    }) = command;
    let scopes = parse_scopes(&scopes)?;
    if as_curl {
        let config = Config::load(options, std::env::vars())?;
        let body = serde_json::json!({"name": name, "scopes": scopes});
        out::line(&curl::post(&config, "/v1/api-tokens", &body));
        return Ok(());
    }
    let offline = open(options).await?;
    let org = offline.org(org.as_deref()).await?;
    let (_, token) = offline.create_token(org, &name, scopes).await?;
    out::line(&token);
    offline.close().await
}

/// Reads scopes separated by commas.
pub(crate) fn parse_scopes(text: &str) -> anyhow::Result<BTreeSet<Scope>> {
    let read = |word: &str| match word.trim() {
        "admin" => Ok(Scope::Admin),
        "read" => Ok(Scope::Read),
        "consume" => Ok(Scope::Consume),
        "mutate" => Ok(Scope::Mutate),
        "proxy" => Ok(Scope::Proxy),
        other => bail!("{other:?} is no scope: expected admin, read, consume, mutate or proxy"),
    };
    text.split(',').map(read).collect()
}

/// The use cases on a data directory that no server has: no sync runs.
pub(crate) struct Offline {
    /// The use cases.
    pub engine: Arc<Engine>,
}

/// Opens the data directory.
pub(crate) async fn open(options: Options) -> anyhow::Result<Offline> {
    let config = Config::load(options, std::env::vars())?;
    let store = headrace_store::open(&format!("sqlite:{}", config.data_dir.display())).await?;
    let keyring = match keys::of_store(&*store, &config.key_file, random()).await {
        Ok(keyring) => Arc::new(keyring),
        Err(refused) => {
            store.close().await?;
            return Err(refused.into());
        }
    };
    let providers = Arc::new(Providers::load(None, &Default::default())?);
    let clock = Arc::new(SystemClock);
    let outbound = Arc::new(Outbound::new(clock.clone(), OutboundSettings::default())?);
    let supervisor = Supervisor::idle(Parts {
        store: Arc::clone(&store),
        outbound: Arc::clone(&outbound),
        providers: Arc::clone(&providers),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
        node: Uuid::nil(),
        settings: SyncSettings::default(),
    });
    let parts = SyncParts {
        providers,
        keyring,
        outbound,
        supervisor,
    };
    Ok(Offline {
        engine: Engine::start(store, clock, parts, None).await?,
    })
}

impl Offline {
    async fn org(&self, named: Option<&str>) -> anyhow::Result<Uuid> {
        let orgs = self.engine.orgs().await?;
        let found = match named {
            None => orgs.first(),
            Some(name) => orgs
                .iter()
                .find(|org| org.value.name == name || org.id.to_string() == name),
        };
        Ok(found
            .context("there is no such organisation: headrace org list shows them")?
            .id)
    }

    /// Makes an API token.
    pub(crate) async fn create_token(
        &self,
        org: Uuid,
        name: &str,
        scopes: BTreeSet<Scope>,
    ) -> anyhow::Result<(Stored<StoredToken>, String)> {
        let token = ApiToken {
            name: name.to_owned(),
            scopes,
            consumer_ids: None,
            stream_ids: None,
        };
        Ok(self.engine.create_token(OrgId(org), token, None).await?)
    }

    /// Closes the data directory.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.engine.stop().await;
        Ok(self.engine.store().close().await?)
    }
}
