//! A server that syncs one account of a provider, and what its stream has of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::PATIENCE;
use crate::harness::{Server, text};

pub(super) struct Synced {
    server: Server,
    provider: &'static str,
    sync: String,
}

/// Objects by their collections and ids.
pub(super) type Objects = BTreeMap<(String, String), Value>;

impl Synced {
    /// Begins to sync these collections.
    pub(super) async fn begin(
        server: Server,
        provider: &'static str,
        collections: &[&str],
        credential: Value,
    ) -> Self {
        let ids = collections.iter().map(|name| format!("{provider}:{name}"));
        let ids: Vec<String> = ids.collect();
        let stream = json!({"slug": "dev"});
        server.post("/v1/streams", stream).await.expect(201);
        let sync = json!({
            "provider": provider, "name": "judged", "collection_ids": ids, "stream_id": "dev",
            "credential": credential,
        });
        let sync = server.post("/v1/syncs", sync).await.expect(201);
        let sync = text(&sync["id"]);
        Self {
            server,
            provider,
            sync,
        }
    }

    /// Has changes of a collection looked for (`check`), or all of it read (`backfill`).
    pub(super) async fn ask_for(&self, what: &str, collection: &str) {
        let (sync, provider) = (&self.sync, self.provider);
        let path = format!("/v1/syncs/{sync}/collections/{provider}:{collection}/{what}");
        self.server.post(&path, json!({})).await.expect(202);
    }

    /// Waits until the stream has exactly what there is. Answers how many of each collection are gone.
    pub(super) async fn until_equal(
        &self,
        there: impl AsyncFn() -> Objects,
    ) -> BTreeMap<String, usize> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut expected = there().await;
            let (mut found, gone) = self.stream().await;
            found.retain(|name, object| match expected.get(name) {
                Some(wanted) if wanted == object => expected.remove(name).is_none(),
                _ => true,
            });
            if found.is_empty() && expected.is_empty() {
                return gone;
            }
            let logs = self.server.logs();
            let logs: Vec<&str> = logs.lines().filter(|line| line.contains("WARN")).collect();
            assert!(
                Instant::now() < give_up,
                "missing {expected:?}\nfound instead {found:?}\n{logs:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the stream has, and how many of each collection are gone.
    async fn stream(&self) -> (Objects, BTreeMap<String, usize>) {
        let page = "/v1/records?stream_id=dev&limit=1000";
        let mut page = self.server.get(page).await;
        let (mut found, mut gone) = (Objects::new(), BTreeMap::new());
        for record in page["records"].as_array_mut().unwrap() {
            let collection = text(&record["collection_id"]);
            let (_, collection) = collection.split_once(':').unwrap();
            let collection = collection.to_owned();
            match record["deleted"] == true {
                true => *gone.entry(collection).or_default() += 1,
                false => {
                    let name = (collection, text(&record["upstream_id"]));
                    found.insert(name, record["data"].take());
                }
            }
        }
        (found, gone)
    }
}
