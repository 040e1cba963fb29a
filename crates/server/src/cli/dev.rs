//! `headrace dev`: the main job with nothing but this binary. A sandbox Stripe account that keeps
//! changing (or the real API, with a key), a stream, a credential, a sync, a consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use headrace_engine::sync::{SyncSettings, SyncStatus};
use headrace_engine::{Engine, NewCredential};
use headrace_model::config::{self, ApiToken, DeliverPolicy, Frequency, HttpConsumer, Scope};
use headrace_model::filter::Filter;
use headrace_model::secret::Secret;
use headrace_model::{CredentialId, OrgId, StreamId, Timestamp};
use headrace_sandbox::stripe::{Stripe, StripeOptions};

use super::out;
use crate::config::{Config, Options};
use crate::server::{Server, asked_to_stop};
use crate::telemetry;

/// How to try it.
#[derive(Debug, Args)]
pub(crate) struct DevOptions {
    /// Your Stripe key, for the real API instead of the sandbox
    #[arg(
        long,
        env = "STRIPE_API_KEY",
        hide_env_values = true,
        value_name = "sk_…"
    )]
    stripe_key: Option<Secret<String>>,
    /// Customers in the sandbox account
    #[arg(long, default_value_t = 2_000)]
    customers: usize,
    /// The address to serve on
    #[arg(
        long,
        env = "HEADRACE_LISTEN",
        default_value = "127.0.0.1:7171",
        value_name = "ADDR"
    )]
    listen: String,
    /// Where to keep the data; a temporary directory, removed at the end, unless given
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What is followed: what nearly every account has and may read.
const COLLECTIONS: [&str; 11] = [
    "customer",
    "product",
    "price",
    "subscription",
    "subscription_item",
    "invoice",
    "charge",
    "payment_intent",
    "refund",
    "balance_transaction",
    "event",
];
/// The sandbox changes this often.
const CHANGE_EVERY: Duration = Duration::from_millis(1_500);

/// Shows it until it is asked to stop.
pub(crate) async fn run(options: DevOptions) -> anyhow::Result<()> {
    telemetry::start(false);
    let scratch = match &options.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("could not make a temporary directory")?),
    };
    let data_dir = options
        .data_dir
        .clone()
        .or(scratch.as_ref().map(|dir| dir.path().to_owned()));
    let sandbox = match options.stripe_key {
        Some(_) => None,
        None => Some(Sandbox::start(options.customers).await?),
    };
    let base_urls = sandbox
        .iter()
        .map(|sandbox| format!("stripe=http://{}/v1", sandbox.address));
    let config = Config::load(
        Options {
            data_dir,
            listen: Some(options.listen),
            provider_base_urls: base_urls.collect(),
            ..Options::default()
        },
        std::iter::empty(),
    )?;
    let mut settings = SyncSettings::default();
    if sandbox.is_some() {
        settings.poll = Duration::from_secs(1);
        settings.poll_idle = Duration::from_secs(2);
    }
    let server = Server::start(&config, None, settings).await?;
    let key = options.stripe_key;
    let key = key.map_or_else(|| SANDBOX_KEY.to_owned(), |Secret(key)| key);
    let shown = set_up(&server.engine, key).await?;
    introduce(&server, &shown, sandbox.is_some());
    let watcher = show_progress(&server.engine, &shown);
    tokio::select! {
        () = asked_to_stop()? => {}
        watched = watcher => watched?,
    }
    out::line("");
    server.stop().await
}

const SANDBOX_KEY: &str = "sk_test_sandbox";

/// The sandbox account, changing.
struct Sandbox {
    address: SocketAddr,
    _changing: tokio::task::JoinHandle<()>,
}

impl Sandbox {
    async fn start(customers: usize) -> anyhow::Result<Self> {
        let options = StripeOptions {
            key: SANDBOX_KEY.to_owned(),
            ..StripeOptions::default()
        };
        let stripe = Stripe::new(options);
        stripe.seed_all(customers);
        let local: SocketAddr = ([127, 0, 0, 1], 0).into();
        let (address, _serving) = headrace_sandbox::serve(stripe.router(), local)
            .await
            .context("could not start the sandbox")?;
        let changing = tokio::spawn(async move {
            let mut tick = tokio::time::interval(CHANGE_EVERY);
            loop {
                tick.tick().await;
                stripe.mutate_randomly(1);
            }
        });
        Ok(Self {
            address,
            _changing: changing,
        })
    }
}

/// What was set up.
struct Shown {
    org: OrgId,
    token: String,
    stream: StreamId,
    sync: uuid::Uuid,
    collections: Vec<String>,
    consumer: uuid::Uuid,
}

/// Makes what is missing: a data directory that was used before is gone on with.
async fn set_up(engine: &Engine, key: String) -> anyhow::Result<Shown> {
    let org = engine.first_org().await?;
    let stream = match engine.stream(org, "dev").await {
        Ok(stream) => stream,
        Err(_) => {
            let slug = "dev".to_owned();
            let stream = config::Stream {
                slug,
                tombstone_retention_days: None,
            };
            engine.create_stream(org, stream, None).await?
        }
    };
    let stream = StreamId(stream.id);
    let new = NewCredential {
        kind: "stripe_key".to_owned(),
        name: Some("dev".to_owned()),
        fields: Secret(BTreeMap::from([("secret".to_owned(), key)])),
        oauth_app_id: None,
        metadata: None,
        verify: true,
        id: None,
    };
    let (credential, _) = engine
        .put_credential(org, new)
        .await
        .context("the Stripe key was not taken")?;
    let sync = match engine.sync(org, "dev").await {
        Ok(sync) => sync,
        Err(_) => {
            let collections = COLLECTIONS.map(|name| format!("stripe:{name}"));
            let sync = config::Sync {
                provider: "stripe".to_owned(),
                name: "dev".to_owned(),
                slug: Some("dev".to_owned()),
                stream_id: stream,
                credential_id: CredentialId(credential.id),
                collection_ids: collections.into(),
                rate_limit: None,
                max_age_days: None,
                sync_frequency: Frequency::Continuous,
                external_id: None,
                metadata: Default::default(),
                enabled: true,
                paused: BTreeSet::new(),
            };
            engine.create_sync(org, sync, None, None).await?.sync
        }
    };
    let consumer = match engine.consumer(org, "dev").await {
        Ok(consumer) => consumer.id,
        Err(_) => {
            let consumer = HttpConsumer {
                stream_id: stream,
                name: Some("dev".to_owned()),
                slug: Some("dev".to_owned()),
                deliver_policy: DeliverPolicy::All,
                ack_wait_ms: 60_000,
                max_deliver: -1,
                max_ack_pending: 1_000,
                max_waiting: 100,
                filters: Filter::default(),
                metadata: Default::default(),
                paused: false,
                unapplied: Default::default(),
            };
            engine
                .create_consumer(org, consumer, None)
                .await?
                .consumer
                .id
        }
    };
    let token = ApiToken {
        name: "dev".to_owned(),
        scopes: BTreeSet::from([Scope::Admin]),
        consumer_ids: None,
        stream_ids: None,
    };
    let (_, token) = engine.create_token(org, token, None).await?;
    Ok(Shown {
        org,
        token,
        stream,
        sync: sync.id,
        collections: sync.value.collection_ids,
        consumer,
    })
}

fn introduce(server: &Server, shown: &Shown, sandbox: bool) {
    let url = &server.url;
    let Shown {
        token,
        consumer,
        collections,
        ..
    } = shown;
    let source = match sandbox {
        true => "a sandbox Stripe account that keeps changing",
        false => "your Stripe account",
    };
    let post = |path: &str, body: &str| {
        format!(
            "  curl -s -X POST {url}/v1/http-consumers/{consumer}/{path} \\\n    \
             -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n    -d '{body}'\n"
        )
    };
    out::line(&format!(
        "\nHeadrace serves on {url}, and follows {source}.\n"
    ));
    let count = collections.len();
    let names: Vec<&str> = collections.iter().map(|id| bare(id)).collect();
    out::line(&format!(
        "It follows {count} collections: {}.\nFor others, set collection_ids: PATCH {url}/v1/syncs/dev. All there \
         are: {url}/v1/providers/stripe.\n",
        names.join(", ")
    ));
    out::line(&format!("API token: {token}\n"));
    out::line("Take messages (waits up to a minute for the first one):\n");
    out::line(&post("next", r#"{"batch_size": 10, "wait_for": "60s"}"#));
    out::line("Say that they are done:\n");
    out::line(&post("ack", r#"{"ack_tokens": ["<ack_token>"]}"#));
    out::line(&format!(
        "Everything else: {url}/v1/openapi.json. Ctrl-C ends it.\n"
    ));
}

/// A collection's name without its provider's.
fn bare(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, name)| name)
}

async fn show_progress(engine: &Engine, shown: &Shown) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut tick = tokio::time::interval(Duration::from_millis(if terminal { 500 } else { 5_000 }));
    let mut last = (
        engine.store().last_idx(shown.stream).await?,
        tokio::time::Instant::now(),
    );
    tick.tick().await;
    let mut backfilled_at = None;
    loop {
        tick.tick().await;
        let stats = engine.store().stats(shown.stream).await?;
        let sync = engine.sync(shown.org, &shown.sync.to_string()).await?;
        let status = engine.sync_status(&sync).await?;
        let consumer = engine
            .consumer(shown.org, &shown.consumer.to_string())
            .await?;
        let counts = engine.consumer_view(consumer).await?.counts;
        let elapsed = last.1.elapsed().as_secs_f64().max(0.001);
        let rate = (stats.last_idx - last.0) as f64 / elapsed;
        last = (stats.last_idx, tokio::time::Instant::now());
        let read: u64 = status
            .collections
            .iter()
            .map(|one| one.backfill.records)
            .sum();
        if status.initial_backfill_completed_at.is_some() && backfilled_at.is_none() {
            backfilled_at = Some(stats.last_idx);
        }
        let phase = match backfilled_at {
            None => format!(
                "backfilling: {read} records read{}",
                time_left(&status, engine.clock().now())
            ),
            Some(idx) => format!(
                "following: {} changes since the backfill",
                stats.last_idx - idx
            ),
        };
        let text = format!(
            "{phase} · {} records in the stream · {rate:.0}/s · consumer: {} pending, {} out",
            stats.records, counts.pending, counts.ack_pending
        );
        if terminal {
            out::progress(&text)
        } else {
            out::line(&text)
        }
    }
}

/// How long the slowest collection will still be read, where that can be told.
fn time_left(status: &SyncStatus, now: Timestamp) -> String {
    let ends = status
        .collections
        .iter()
        .map(|one| one.backfill.estimated_completion_at);
    match ends.flatten().max() {
        Some(end) => format!(", done in about {} s", end.since(now).as_secs() + 1),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Dev {
        #[command(flatten)]
        options: DevOptions,
    }

    #[test]
    fn the_options_do_not_show_the_key_when_debugged() {
        let dev = Dev::parse_from(["dev", "--stripe-key", "sk_live_x"]);
        assert!(dev.options.stripe_key.is_some());
        assert!(!format!("{dev:?}").contains("sk_live_x"), "{dev:?}");
    }
}
