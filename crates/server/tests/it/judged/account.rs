//! An account at an imitation of Stripe, a server that syncs it, and the comparison of both.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::PATIENCE;
use super::copies::{Copies, Gone, Name};
use super::programs::{Imitation, Sdk};
use crate::harness::{Server, Setup, text};

const CONSUMER: &str = "/v1/http-consumers/judge";
/// Between two looks at least.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Account {
    pub(super) server: Server,
    pub(super) sync: String,
    pub(super) sdk: Sdk,
    /// Whether everything had been read once.
    is_read: bool,
    /// What was deleted.
    pub(super) gone: BTreeMap<Name, Gone>,
    _imitation: Imitation,
}

impl Account {
    /// An account at localstripe with so many customers, and a server that begins to sync these collections of it.
    pub(super) async fn with(customers: usize, collections: &[&str]) -> Self {
        let imitation = Imitation::localstripe().await;
        let mut sdk = Sdk::of(&imitation);
        sdk.seed(customers).await;
        Self::of(imitation, sdk, collections).await
    }

    /// An account, and a server that begins to sync these collections of it.
    pub(super) async fn of(imitation: Imitation, sdk: Sdk, collections: &[&str]) -> Self {
        let server = Setup::new()
            .stripe(&format!("{}/v1", imitation.url))
            .start();
        let ids: Vec<String> = collections
            .iter()
            .map(|collection| format!("stripe:{collection}"))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let sync = server.sync_stripe(&ids).await;
        let consumer = json!({"stream_id": "dev", "slug": "judge"});
        server
            .post("/v1/http-consumers", consumer)
            .await
            .expect(201);
        Self {
            server,
            sync,
            sdk,
            is_read: false,
            gone: BTreeMap::new(),
            _imitation: imitation,
        }
    }

    /// Waits until everything was read once.
    pub(super) async fn first_reading(&mut self) {
        let path = format!("/v1/syncs/{}", self.sync);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let sync = self.server.get(&path).await;
            if !sync["initial_backfill_completed_at"].is_null() {
                break;
            }
            assert!(Instant::now() < give_up, "still reading: {sync}");
            tokio::time::sleep(PAUSE).await;
        }
        self.is_read = true;
    }

    /// Deletes, and notes what was there last.
    pub(super) async fn delete(&mut self, collection: &str, id: &str) {
        let last = self.sdk.retrieve(collection, id).await;
        self.sdk.delete(collection, id).await;
        let unread = !self.is_read;
        self.note_deleted(collection, id, Gone { last, unread });
    }

    /// Creates a customer and deletes it at once.
    pub(super) async fn create_briefly(&mut self, customer: Value) {
        let last = self.sdk.create("customer", customer).await;
        let id = text(&last["id"]);
        self.sdk.delete("customer", &id).await;
        let unread = true;
        self.note_deleted("customer", &id, Gone { last, unread });
    }

    fn note_deleted(&mut self, collection: &str, id: &str, gone: Gone) {
        let name = (collection.to_owned(), id.to_owned());
        self.gone.insert(name, gone);
    }

    /// Has the provider's events looked at now. All collections have the same feed.
    pub(super) async fn check(&self) {
        self.of_collection("customer", "check", json!({})).await;
    }

    pub(super) async fn backfill(&self, collection: &str, body: Value) {
        self.of_collection(collection, "backfill", body).await;
    }

    async fn of_collection(&self, collection: &str, action: &str, body: Value) {
        let sync = &self.sync;
        let path = format!("/v1/syncs/{sync}/collections/stripe:{collection}/{action}");
        self.server.post(&path, body).await.expect(202);
    }

    /// Waits until the stream has exactly what the SDK reads of these collections.
    pub(super) async fn matches(&mut self, collections: &[&str]) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let began = Instant::now();
            let stream = self.stream().await;
            let differences = self.differences(&stream, collections).await;
            if differences.is_empty() {
                return;
            }
            let waited_enough = Instant::now() > give_up;
            assert!(!waited_enough, "{}", self.told(&differences));
            // The other half of the time the account serves the sync.
            tokio::time::sleep(began.elapsed().max(PAUSE)).await;
        }
    }

    /// Fails unless these copies are exactly what the SDK reads of these collections.
    pub(super) async fn compare(&mut self, copies: &Copies, collections: &[&str]) {
        let differences = self.differences(copies, collections).await;
        assert!(differences.is_empty(), "{}", self.told(&differences));
    }

    /// Takes and acknowledges everything that the consumer has.
    pub(super) async fn consume(&self, delivered: &mut Copies) {
        let next = json!({"batch_size": 200, "info": true});
        loop {
            let path = format!("{CONSUMER}/next");
            let mut taken = self.server.post(&path, next.clone()).await.expect(200);
            let mut tokens = Vec::new();
            for message in taken["data"].as_array_mut().unwrap() {
                assert_eq!(message["attempts"], 1, "{message}");
                tokens.push(message["ack_token"].take());
                delivered.take(message["record"].take());
            }
            let count = tokens.len().to_string();
            let ack = json!({"ack_tokens": tokens});
            let acked = self.server.post(&format!("{CONSUMER}/ack"), ack).await;
            acked.expect(204);
            assert_eq!(acked.header("headrace-settled"), Some(count.as_str()));
            if taken["info"]["num_pending"] == 0 {
                break;
            }
        }
        let consumer = self.server.get(CONSUMER).await;
        assert_eq!(consumer["num_pending"], 0, "{consumer}");
        assert_eq!(consumer["num_ack_pending"], 0, "{consumer}");
    }

    async fn stream(&self) -> Copies {
        let mut copies = Copies::default();
        let mut after = String::new();
        loop {
            let path = format!("/v1/records?stream_id=dev&limit=1000{after}");
            let mut page = self.server.get(&path).await;
            let records = page["records"].as_array_mut().unwrap();
            if records.is_empty() {
                return copies;
            }
            records.drain(..).for_each(|record| copies.take(record));
            after = format!("&after_cursor={}", page["cursor"].as_str().unwrap());
        }
    }

    async fn differences(&mut self, copies: &Copies, collections: &[&str]) -> Vec<String> {
        let mut differences = Vec::new();
        for collection in collections {
            let objects = self.sdk.list(collection).await;
            assert!(!objects.is_empty(), "there is no {collection} to compare");
            differences.extend(copies.differences(collection, &objects, &self.gone));
        }
        differences
    }

    fn told(&self, differences: &[String]) -> String {
        let first = differences.iter().take(3).cloned().collect::<Vec<_>>();
        let log = self.server.logs();
        let log: Vec<&str> = log
            .lines()
            .rev()
            .filter(|line| line.contains(" WARN") || line.contains("ERROR"))
            .take(20)
            .collect();
        let (count, first, log) = (differences.len(), first.join("\n"), log.join("\n"));
        format!("{count} records differ, of them\n{first}\nThe log, newest first:\n{log}")
    }
}
