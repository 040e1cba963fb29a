//! Checking credentials against providers that do not behave, and removing what is being used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace_engine::outbound::OutboundSettings;
use headrace_engine::{Clock, Engine, Error, NewCredential, SystemClock};
use headrace_model::config::{Stream, Sync};
use headrace_model::secret::Secret;
use headrace_model::{CredentialId, OrgId, StreamId};
use headrace_store::StoreError;
use tempfile::TempDir;
use uuid::Uuid;

use crate::desk;

const SHORT: Duration = Duration::from_millis(200);
/// Long enough for a test to fail by it.
const LONG: Duration = Duration::from_secs(120);

/// An engine whose Stripe is at `base`, and is waited for so long.
async fn engine(folder: &TempDir, base: &str, timeout: Duration) -> Arc<Engine> {
    let url = format!("sqlite:{}", folder.path().display());
    let store = headrace_store::open(&url).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bases = BTreeMap::from([("stripe".to_owned(), base.to_owned())]);
    let settings = OutboundSettings {
        timeout,
        ..OutboundSettings::default()
    };
    desk::engine(&store, clock, &bases, settings).await
}

fn credential(verify: bool) -> NewCredential {
    let fields = BTreeMap::from([("secret".to_owned(), "sk_test_x".to_owned())]);
    NewCredential {
        kind: "stripe_key".to_owned(),
        name: None,
        fields: Secret(fields),
        oauth_app_id: None,
        metadata: None,
        verify,
        id: None,
    }
}

async fn put(engine: &Engine) -> Error {
    let org = engine.first_org().await.unwrap();
    let new = credential(true);
    assert!(!format!("{new:?}").contains("sk_test_x"), "{new:?}");
    engine.put_credential(org, new).await.unwrap_err()
}

/// The organisation, and a sync of a new stream that is not to run.
async fn unmade_sync(engine: &Engine) -> (OrgId, Sync) {
    let org = engine.first_org().await.unwrap();
    let stream = Stream {
        slug: "dev".to_owned(),
        tombstone_retention_days: None,
    };
    let stream = engine.create_stream(org, stream, None).await.unwrap();
    let credential = CredentialId(Uuid::nil());
    let sync = desk::idle_sync(StreamId(stream.id), credential, &[desk::CUSTOMER]);
    (org, sync)
}

#[tokio::test]
async fn a_provider_that_never_answers_is_told_from_one_that_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    // Connections are taken by the system; nobody reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let late = put(&*engine(&folder, &base, SHORT).await).await;
    assert!(matches!(late, Error::UpstreamTimeout(_)), "{late:?}");
    drop(silent);
    let folder = tempfile::tempdir().unwrap();
    let gone = put(&*engine(&folder, &base, SHORT).await).await;
    assert!(matches!(gone, Error::Upstream(_)), "{gone:?}");
}

#[tokio::test]
async fn a_stream_can_be_removed_while_the_provider_is_asked_about_a_sync_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let engine = engine(&folder, &base, LONG).await;
    let (org, sync) = unmade_sync(&engine).await;
    let creator = Arc::clone(&engine);
    let creating = tokio::spawn(async move {
        let new = Some(credential(true));
        creator.create_sync(org, sync, new, None).await.map(drop)
    });
    let _asked = silent.accept().await.unwrap();
    let removing = engine.delete_stream(org, "dev", false);
    let removed = tokio::time::timeout(LONG / 2, removing).await;
    removed.unwrap().unwrap();
    assert!(!creating.is_finished());
    creating.abort();
}

#[tokio::test]
async fn a_credential_is_not_removed_by_who_has_not_seen_its_sync() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder, "http://127.0.0.1:9/v1", SHORT).await;
    let (org, sync) = unmade_sync(&engine).await;
    let put = engine.put_credential(org, credential(false)).await;
    let (seen, _) = put.unwrap();
    let sync = Sync {
        credential_id: CredentialId(seen.id),
        ..sync
    };
    engine.create_sync(org, sync, None, None).await.unwrap();
    let removed = engine.store().write(vec![seen.delete()]).await;
    assert!(matches!(removed, Err(StoreError::Changed { .. })));
}
