//! Checking credentials against providers that do not behave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::outbound::{Outbound, OutboundSettings};
use headrace_engine::sync::{Parts, Supervisor, SyncSettings};
use headrace_engine::{Clock, Engine, Error, NewCredential, Providers, SyncParts, SystemClock};
use headrace_model::seal::Keyring;
use headrace_model::secret::Secret;
use tempfile::TempDir;
use uuid::Uuid;

/// An engine whose Stripe is at `base`, and is waited for only shortly.
async fn engine(folder: &TempDir, base: &str) -> Arc<Engine> {
    let url = format!("sqlite:{}", folder.path().display());
    let store = headrace_store::open(&url).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bases = BTreeMap::from([("stripe".to_owned(), base.to_owned())]);
    let providers = Arc::new(Providers::load(None, &bases).unwrap());
    let keyring = Arc::new(Keyring::parse(&Keyring::line([7; 36])).unwrap());
    let settings = OutboundSettings {
        timeout: Duration::from_millis(200),
        ..OutboundSettings::default()
    };
    let outbound = Arc::new(Outbound::new(Arc::clone(&clock), settings).unwrap());
    let supervisor = Supervisor::idle(Parts {
        store: Arc::clone(&store),
        outbound: Arc::clone(&outbound),
        providers: Arc::clone(&providers),
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        node: Uuid::nil(),
        settings: SyncSettings::default(),
    });
    let parts = SyncParts {
        providers,
        keyring,
        outbound,
        supervisor,
    };
    Engine::start(store, clock, parts, None).await.unwrap()
}

async fn put(engine: &Engine) -> Error {
    let org = engine.first_org().await.unwrap();
    let fields = BTreeMap::from([("secret".to_owned(), "sk_test_x".to_owned())]);
    let new = NewCredential {
        kind: "stripe_key".to_owned(),
        name: None,
        fields: Secret(fields),
        oauth_app_id: None,
        metadata: None,
        verify: true,
        id: None,
    };
    assert!(!format!("{new:?}").contains("sk_test_x"), "{new:?}");
    engine.put_credential(org, new).await.unwrap_err()
}

#[tokio::test]
async fn a_provider_that_never_answers_is_told_from_one_that_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    // Connections are taken by the system; nobody reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let late = put(&*engine(&folder, &base).await).await;
    assert!(matches!(late, Error::UpstreamTimeout(_)), "{late:?}");
    drop(silent);
    let folder = tempfile::tempdir().unwrap();
    let gone = put(&*engine(&folder, &base).await).await;
    assert!(matches!(gone, Error::Upstream(_)), "{gone:?}");
}
