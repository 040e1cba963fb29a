//! A running server: the store, the engine and the HTTP service, started and stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use headrace_engine::outbound::{Outbound, OutboundSettings};
use headrace_engine::sync::{Parts, Supervisor, SyncSettings};
use headrace_engine::{
    Clock, Engine, Providers, SteadyClock, SyncParts, SystemClock, clock::random, keys,
};
use headrace_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::address::Announced;
use crate::api::{self, App};
use crate::config::Config;
use crate::files;
use crate::listen;
use crate::metrics::Metrics;

/// How long requests under way have to end when the server stops.
const DRAIN: Duration = Duration::from_secs(20);
/// The shortest token that the environment may set: shorter ones can be guessed.
const SHORTEST_ADMIN_TOKEN: usize = 16;

/// A server that serves.
pub(crate) struct Server {
    /// Its use cases.
    pub engine: Arc<Engine>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What others must reach it by.
    pub url: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    announced: Announced,
}

impl Server {
    /// Opens the store and serves. `admin_token` is accepted besides the stored tokens.
    pub(crate) async fn start(
        config: &Config,
        admin_token: Option<&str>,
        settings: SyncSettings,
    ) -> anyhow::Result<Self> {
        if admin_token.is_some_and(|token| token.len() < SHORTEST_ADMIN_TOKEN) {
            bail!("HEADRACE_ADMIN_TOKEN must have at least {SHORTEST_ADMIN_TOKEN} characters");
        }
        let providers = Providers::load(config.providers_dir.as_deref(), &config.base_urls)?;
        let listener = TcpListener::bind(&config.listen).await.with_context(|| {
            format!(
                "could not listen on {}: choose another --listen",
                config.listen
            )
        })?;
        let address = listener.local_addr()?;
        let store = headrace_store::open(&format!("sqlite:{}", config.data_dir.display())).await?;
        api::backups::remove_left_over(&config.data_dir)
            .context("could not remove a backup that was not downloaded")?;
        let keyring = match keys::of_store(&*store, &config.key_file, random()).await {
            Ok(keyring) => Arc::new(keyring),
            Err(refused) => {
                store.close().await?;
                return Err(refused.into());
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::following(Arc::new(SystemClock)));
        let providers = Arc::new(providers);
        let outbound = Arc::new(Outbound::new(
            Arc::clone(&clock),
            OutboundSettings::default(),
        )?);
        let supervisor = Supervisor::start(Parts {
            store: Arc::clone(&store),
            outbound: Arc::clone(&outbound),
            providers: Arc::clone(&providers),
            keyring: Arc::clone(&keyring),
            clock: Arc::clone(&clock),
            // The lock on the data directory keeps every other node out: this one is always the same.
            node: Uuid::nil(),
            settings,
        })
        .await?;
        let parts = SyncParts {
            providers,
            keyring,
            outbound,
            supervisor,
        };
        let looked_through = Arc::clone(&store);
        let engine = Engine::start(store, clock, parts, admin_token).await?;
        tokio::spawn(look_through(looked_through));
        let app = App {
            engine: Arc::clone(&engine),
            metrics: Metrics::new()?,
            data_dir: config.data_dir.as_path().into(),
            ready: Arc::default(),
            read_timeout: config.limits.read_timeout,
        };
        let announced = Announced::begin(&config.data_dir, address)
            .context("could not write down where the server listens")?;
        let stop = CancellationToken::new();
        let limits = listen::Limits {
            max_connections: files::for_connections(config.limits.max_connections),
            ..config.limits
        };
        let serving = listen::serve(listener, api::router(app), limits, stop.clone());
        let serving = tokio::spawn(serving);
        let url = config
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{address}"));
        Ok(Self {
            engine,
            address,
            url,
            stop,
            serving,
            announced,
        })
    }

    /// Stops: no new connections, long polls end, pages in flight are stored, the store closes.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        // First: from then on another process may have the address, and be taken for this one.
        drop(self.announced);
        self.stop.cancel();
        self.engine.stop().await;
        match tokio::time::timeout(DRAIN, self.serving).await {
            Ok(served) => served.context("the HTTP service ended badly")?,
            Err(_) => tracing::warn!(
                seconds = DRAIN.as_secs(),
                "requests still under way were cut off"
            ),
        }
        Ok(self.engine.store().close().await?)
    }
}

/// Until it is done, or the store is closed. The store tells of damage itself.
async fn look_through(store: Arc<dyn Store>) {
    if let Err(error) = store.look_through().await {
        let error = headrace_engine::chain(&error);
        tracing::error!(error, "looking through the stored data has ended");
    }
}

/// Listens for SIGTERM and Ctrl-C from now on; what is answered waits for one of them.
pub(crate) fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
