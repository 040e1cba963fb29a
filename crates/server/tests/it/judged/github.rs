//! The GitHub sync, judged by emulate: every record must equal what a plain client reads there, page by page.
//! Its pages are numbered, its lists go by the time of the last change, and what belongs to a repository is listed
//! under its name.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::PATIENCE;
use super::claims;
use super::programs::Imitation;
use crate::harness::{Server, Setup, text};

const TOKEN: &str = "test_token_admin";
const SERVED: [&str; 5] = ["repository", "issue", "pull_request", "commit", "release"];
/// More than a page.
const ISSUES: usize = 104;

#[tokio::test]
async fn every_record_equals_what_a_plain_client_reads() {
    claims::are_exactly("github", "emulate", &SERVED);
    let account = Account::new().await;
    account.matches().await;

    account.change().await;
    for collection in SERVED {
        account.check(collection).await;
    }
    let gone = account.matches().await;
    assert_eq!(gone, ["release"], "one was deleted");
}

/// An account at emulate, and a server that syncs it.
struct Account {
    server: Server,
    sync: String,
    client: Client,
    url: String,
    _imitation: Imitation,
}

impl Account {
    async fn new() -> Self {
        let imitation = Imitation::emulate("github").await;
        let url = imitation.url.clone();
        let server = Setup::new().provider("github", &url).start();
        let mut account = Self {
            server,
            sync: String::new(),
            client: Client::new(),
            url,
            _imitation: imitation,
        };
        account.seed().await;
        let ids = SERVED.map(|name| format!("github:{name}"));
        let stream = json!({"slug": "dev"});
        account.server.post("/v1/streams", stream).await.expect(201);
        let sync = json!({
            "provider": "github", "name": "judged", "collection_ids": ids, "stream_id": "dev",
            "credential": {"kind": "github_token", "token": TOKEN},
        });
        let sync = account.server.post("/v1/syncs", sync).await.expect(201);
        account.sync = text(&sync["id"]);
        account
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(TOKEN)
            .json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    /// Two repositories, of which one has more issues than fit on a page, and one that is empty.
    async fn seed(&self) {
        for (name, has_files) in [("first", true), ("second", true), ("empty", false)] {
            let repository = json!({"name": name, "auto_init": has_files});
            self.post("/user/repos", repository).await;
        }
        for number in 0..ISSUES {
            let issue = json!({"title": format!("Zoë {number}"), "body": "emoji"});
            self.post("/repos/admin/first/issues", issue).await;
        }
        let issue = json!({"title": "Another repository's"});
        self.post("/repos/admin/second/issues", issue).await;
        for name in ["a", "b"] {
            self.propose(name).await;
            let release = json!({"tag_name": format!("v-{name}"), "name": name});
            self.post("/repos/admin/first/releases", release).await;
        }
    }

    /// Commits a file to a new branch, and makes a pull request of it.
    async fn propose(&self, branch: &str) {
        let head = "/repos/admin/first/git/ref/heads/main";
        let head = self.ask(Method::GET, head, Value::Null).await;
        let sha = &head["object"]["sha"];
        let new = json!({"ref": format!("refs/heads/{branch}"), "sha": sha});
        self.post("/repos/admin/first/git/refs", new).await;
        self.commit(branch, branch).await;
        let pull = json!({"title": branch, "head": branch, "base": "main"});
        self.post("/repos/admin/first/pulls", pull).await;
    }

    async fn commit(&self, branch: &str, file: &str) {
        let path = format!("/repos/admin/first/contents/{file}.txt");
        let file = json!({"message": file, "content": "aGVsbG8=", "branch": branch});
        self.ask(Method::PUT, &path, file).await;
    }

    /// Changes something of everything.
    async fn change(&self) {
        let patch = async |path: &str, body: Value| {
            let path = format!("/repos/admin{path}");
            self.ask(Method::PATCH, &path, body).await;
        };
        patch("/first/issues/1", json!({"state": "closed"})).await;
        patch("/first/issues/103", json!({"title": "renamed"})).await;
        let new = json!({"title": "new"});
        self.post("/repos/admin/second/issues", new).await;
        let pulls = self.list("pull_request").await;
        let number = &pulls[1]["number"];
        let path = format!("/first/pulls/{number}");
        patch(&path, json!({"title": "renamed"})).await;
        self.commit("main", "pushed").await;
        let releases = self.list("release").await;
        let path = |at: usize| format!("/first/releases/{}", releases[at]["id"]);
        patch(&path(0), json!({"name": "renamed"})).await;
        let path = format!("/repos/admin{}", path(1));
        self.ask(Method::DELETE, &path, Value::Null).await;
        patch("/second", json!({"description": "described"})).await;
    }

    async fn check(&self, collection: &str) {
        let sync = &self.sync;
        let path = format!("/v1/syncs/{sync}/collections/github:{collection}/check");
        self.server.post(&path, json!({})).await.expect(202);
    }

    /// Every object of a collection, page by page.
    async fn list(&self, collection: &str) -> Vec<Value> {
        let lists = match collection {
            "repository" => vec!["/user/repos?".to_owned()],
            "issue" => lists("issues?state=all&", &["first", "second", "empty"]),
            "pull_request" => lists("pulls?state=all&", &["first", "second", "empty"]),
            "commit" => lists("commits?", &["first", "second"]),
            _ => lists("releases?", &["first", "second", "empty"]),
        };
        let mut all = Vec::new();
        for list in lists {
            for page in 1.. {
                let path = format!("{list}per_page=100&page={page}");
                let objects = self.ask(Method::GET, &path, Value::Null).await;
                let objects = objects.as_array().unwrap();
                if objects.is_empty() {
                    break;
                }
                all.extend(objects.iter().cloned());
            }
        }
        all
    }

    /// Waits until the stream has exactly what is there. Answers the collections of what is gone.
    async fn matches(&self) -> Vec<String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut expected = BTreeMap::new();
            for collection in SERVED {
                let id = match collection {
                    "commit" => "node_id",
                    _ => "id",
                };
                let objects = self.list(collection).await;
                assert!(!objects.is_empty(), "there is no {collection} to compare");
                for object in objects {
                    let id = object[id].to_string().trim_matches('"').to_owned();
                    expected.insert((collection.to_owned(), id), object);
                }
            }
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

    /// What the stream has, and the collections of what is gone.
    async fn stream(&self) -> (BTreeMap<(String, String), Value>, Vec<String>) {
        let page = "/v1/records?stream_id=dev&limit=1000";
        let mut page = self.server.get(page).await;
        let (mut found, mut gone) = (BTreeMap::new(), Vec::new());
        for record in page["records"].as_array_mut().unwrap() {
            let collection = text(&record["collection_id"]);
            let collection = collection.trim_start_matches("github:").to_owned();
            match record["deleted"] == true {
                true => gone.push(collection),
                false => {
                    let name = (collection, text(&record["upstream_id"]));
                    found.insert(name, record["data"].take());
                }
            }
        }
        (found, gone)
    }
}

fn lists(list: &str, repositories: &[&str]) -> Vec<String> {
    let path = |repository: &&str| format!("/repos/admin/{repository}/{list}");
    repositories.iter().map(path).collect()
}
