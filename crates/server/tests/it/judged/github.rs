//! The GitHub sync, judged by emulate: every record must equal what a plain client reads there, page by page.
//! Its pages are numbered, its lists go by the time of the last change, and what belongs to a repository is listed
//! under its name.

use std::collections::BTreeMap;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::claims;
use super::programs::Imitation;
use super::synced::{Objects, Synced};
use crate::harness::Setup;

const TOKEN: &str = "test_token_admin";
const SERVED: [&str; 5] = ["repository", "issue", "pull_request", "commit", "release"];
/// More than a page.
const ISSUES: usize = 104;

#[tokio::test]
async fn every_record_equals_what_a_plain_client_reads() {
    claims::are_exactly("github", "emulate", &SERVED);
    let account = Account::new().await;
    account.matches().await;

    account.github.change().await;
    for collection in SERVED {
        account.synced.ask_for("check", collection).await;
    }
    let gone = account.matches().await;
    assert_eq!(gone, BTreeMap::from([("release".to_owned(), 1)]));
}

/// An account at emulate, and a server that syncs it.
struct Account {
    synced: Synced,
    github: GitHub,
    _imitation: Imitation,
}

impl Account {
    async fn new() -> Self {
        let imitation = Imitation::emulate("github").await;
        let github = GitHub {
            client: Client::new(),
            url: imitation.url.clone(),
        };
        github.seed().await;
        let server = Setup::new().provider("github", &github.url).start();
        let credential = json!({"kind": "github_token", "token": TOKEN});
        Self {
            synced: Synced::begin(server, "github", &SERVED, credential).await,
            github,
            _imitation: imitation,
        }
    }

    /// Waits until the stream has exactly what is there. Answers how many are gone of each collection.
    async fn matches(&self) -> BTreeMap<String, usize> {
        let there = async || {
            let mut there = Objects::new();
            for collection in SERVED {
                let id = match collection {
                    "commit" => "node_id",
                    _ => "id",
                };
                let objects = self.github.list(collection).await;
                assert!(!objects.is_empty(), "there is no {collection} to compare");
                for object in objects {
                    let id = object[id].to_string().trim_matches('"').to_owned();
                    there.insert((collection.to_owned(), id), object);
                }
            }
            there
        };
        self.synced.until_equal(there).await
    }
}

/// What a plain client does there.
struct GitHub {
    client: Client,
    url: String,
}

impl GitHub {
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
}

fn lists(list: &str, repositories: &[&str]) -> Vec<String> {
    let path = |repository: &&str| format!("/repos/admin/{repository}/{list}");
    repositories.iter().map(path).collect()
}
