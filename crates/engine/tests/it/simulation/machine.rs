//! The machine that the simulated process runs on, and the lives of that process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use headrace_engine::clock::Clock;
use headrace_engine::outbound::{Outbound, OutboundSettings};
use headrace_engine::providers::Providers;
use headrace_engine::sync::{Parts, Supervisor, SyncSettings};
use headrace_engine::{Engine, SyncParts};
use headrace_model::seal::Keyring;
use headrace_store::simulation::Machine;
use headrace_store::{Breakpoint, Store};
use uuid::Uuid;

use super::disk::Disk;
use super::wire::Wire;
use super::world::{MachineClock, ServersClock, World};

/// The store's machine.
pub(super) struct Hardware(pub(super) Arc<World>);

impl Machine for Hardware {
    fn disk_takes(&self) -> Duration {
        match self.0.strikes(self.0.plan.slow_disk) {
            true => self.0.chance().millis(5, 3_000),
            false => Duration::ZERO,
        }
    }

    fn commits(&self) -> bool {
        let commits = !self.0.is_down() && !self.0.strikes(self.0.plan.failed_commit);
        self.0.note(|| format!("commit {commits}"));
        commits
    }

    fn passes(&self, at: Breakpoint) {
        if !self.0.is_down() && self.0.strikes(self.0.plan.crash) {
            self.0.crash(at.name());
        }
    }
}

/// A running process.
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) engine: Arc<Engine>,
    /// The store without its moods, for looking.
    pub(super) store: Arc<dyn Store>,
}

impl Process {
    /// Opens the store in this directory and starts the engine on it. `None` where that fails, as it
    /// may while there is trouble.
    pub(super) async fn start(world: &Arc<World>, directory: &Path) -> Option<Self> {
        let url = format!("sqlite:{}", directory.display());
        let store = headrace_store::open(&url).await.unwrap();
        let disk = Arc::new(Disk::new(Arc::clone(world), Arc::clone(&store)));
        match start(world, disk).await {
            Ok(engine) => Some(Self {
                world: Arc::clone(world),
                engine,
                store,
            }),
            Err(error) if world.is_calm() => {
                world.violated(format!("the engine does not start: {error:?}"));
                None
            }
            Err(_) => None,
        }
    }

    /// Ends as it should.
    pub(super) async fn stop(&self) {
        self.engine.stop().await;
        self.store.close().await.unwrap();
    }
}

/// Read once: they are the same for everybody.
fn providers() -> Arc<Providers> {
    static PROVIDERS: LazyLock<Arc<Providers>> = LazyLock::new(|| {
        let bases = BTreeMap::from([("stripe".to_owned(), "http://stripe.test/v1".to_owned())]);
        Arc::new(Providers::load(None, &bases).unwrap())
    });
    Arc::clone(&PROVIDERS)
}

async fn start(
    world: &Arc<World>,
    store: Arc<dyn Store>,
) -> Result<Arc<Engine>, Box<dyn std::error::Error>> {
    let machine = MachineClock(Arc::clone(&world.time));
    let clock: Arc<dyn Clock> = match world.plan.is_steady {
        true => Arc::new(ServersClock::following(machine)),
        false => Arc::new(machine),
    };
    let keyring = Arc::new(Keyring::parse(&Keyring::line([7; 36])).unwrap());
    let providers = providers();
    let wire = Wire {
        world: Arc::clone(world),
        router: world.stripe.router(),
    };
    let settings = OutboundSettings::default();
    let outbound = Arc::new(Outbound::over(Arc::new(wire), Arc::clone(&clock), settings));
    let parts = Parts {
        store: Arc::clone(&store),
        outbound: Arc::clone(&outbound),
        providers: Arc::clone(&providers),
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        node: Uuid::nil(),
        settings: SyncSettings {
            page_size: Some(world.plan.page_size),
            ..SyncSettings::default()
        },
    };
    let parts = SyncParts {
        providers,
        keyring,
        outbound,
        supervisor: Supervisor::start(parts).await?,
    };
    Ok(Engine::start(store, clock, parts, None).await?)
}
