//! The Linear sync. Its documents are judged by the schema that Linear's own SDK declares, and what is made of the
//! answers by emulate: every record must equal what a plain client reads there.
//!
//! emulate knows neither all fields nor all arguments. What it does not know is left out on the way to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use headrace_engine::Providers;
use headrace_model::Timestamp;
use headrace_model::provider::Listing;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::claims;
use super::programs::{Imitation, NODE_MODULES, needed, testing};
use super::synced::{Objects, Synced};
use crate::harness::{Setup, text};

const KEY: &str = "lin_test_admin";
/// With what emulate knows of their fields.
const SERVED: [(&str, &str, &str); 5] = [
    (
        "team",
        "teams",
        "id key name displayName description icon color private timezone createdAt updatedAt archivedAt",
    ),
    (
        "user",
        "users",
        "id name displayName email description title avatarUrl url timezone active admin owner guest app statusEmoji statusLabel statusUntilAt disableReason createdAt updatedAt archivedAt",
    ),
    (
        "project",
        "projects",
        "id name description createdAt updatedAt",
    ),
    (
        "issue",
        "issues",
        "id identifier number title description priority priorityLabel url dueDate startedAt completedAt canceledAt createdAt updatedAt archivedAt team { id key } state { id name type } assignee { id } creator { id } delegate { id } project { id } cycle { id }",
    ),
    (
        "comment",
        "comments",
        "id body createdAt updatedAt issue { id } user { id }",
    ),
];
/// More than a page.
const ISSUES: usize = 104;

#[tokio::test]
async fn every_document_is_one_of_linears_schema() {
    let served = SERVED.map(|(name, ..)| name);
    claims::are_exactly("linear", "@linear/sdk", &served);
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    let linear = &providers.get("linear").unwrap().definition;
    let changed = Listing {
        changed_from: Some(Timestamp::from_seconds(0)),
        ..Listing::default()
    };
    let mut requests = vec![linear.checks[0].request.clone()];
    for collection in &linear.collections {
        requests.push(collection.list(&Listing::default()).unwrap());
        requests.push(collection.list(&changed).unwrap());
        requests.push(collection.get("id", None).unwrap());
    }
    let documents = requests.iter().map(|request| {
        let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
        text(&body["query"])
    });
    let mut documents: Vec<String> = documents.collect();
    documents.push("{ issues { nodes { nothing } } }".to_owned());
    let mut judge = Command::new("node")
        .arg(testing("linear_documents.mjs"))
        .arg(needed(NODE_MODULES))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = judge.stdin.take().unwrap();
    told.write_all(json!(documents).to_string().as_bytes())
        .await
        .unwrap();
    drop(told);
    let said = judge.wait_with_output().await.unwrap();
    let mut said: Vec<Vec<String>> = serde_json::from_slice(&said.stdout).unwrap();
    let wrong = said.pop().unwrap();
    assert!(wrong[0].contains("Cannot query field"), "{wrong:?}");
    assert_eq!(said.len(), 1 + 3 * SERVED.len());
    for (document, wrong) in documents.iter().zip(said) {
        assert!(wrong.is_empty(), "{document}: {wrong:?}");
    }
}

#[tokio::test]
async fn every_record_equals_what_a_plain_client_reads() {
    let served = SERVED.map(|(name, ..)| name);
    claims::are_exactly("linear", "emulate", &served);
    let imitation = Behind::new().await;
    let account = Account::new(&imitation).await;
    assert!(account.matches().await.is_empty());

    account.emulate.change().await;
    for name in served {
        account.synced.ask_for("check", name).await;
    }
    account.matches().await;

    account.emulate.delete().await;
    for name in served {
        account.synced.ask_for("backfill", name).await;
    }
    let gone = account.matches().await;
    assert_eq!(
        gone,
        BTreeMap::from([("comment", 2), ("issue", 1)].map(|(name, n)| (name.to_owned(), n))),
        "a comment, and an issue with another"
    );
    imitation.server.abort();
}

/// emulate, behind what leaves out what it does not know.
struct Behind {
    url: String,
    server: JoinHandle<()>,
    emulate: Imitation,
}

impl Behind {
    async fn new() -> Self {
        let imitation = Imitation::emulate_with(
            "linear",
            &json!({"projects": [{"name": "Moon", "team": "ENG"}]}),
        )
        .await;
        let router = Router::new().route("/graphql", post(forwarded));
        let to = (Client::new(), format!("{}/graphql", imitation.url));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let serving = headrace_sandbox::serve(router.with_state(to), any).await;
        let (address, server) = serving.unwrap();
        Self {
            url: format!("http://{address}"),
            server,
            emulate: imitation,
        }
    }
}

async fn forwarded(
    State((client, url)): State<(Client, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    body["query"] = Value::String(known(&text(&body["query"])));
    let mut request = client.post(url).json(&body);
    if let Some(key) = headers.get("authorization") {
        request = request.header("authorization", key);
    }
    let answer = request.send().await.unwrap();
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    (status, headers, answer.bytes().await.unwrap())
}

/// A document without what emulate does not know.
fn known(document: &str) -> String {
    let mut known = document.to_owned();
    for unknown in [
        ", filter: { updatedAt: { gte: $since } }",
        ", $since: DateTimeOrDuration!",
        ", orderBy: createdAt",
        ", orderBy: updatedAt",
        ", includeArchived: true",
    ] {
        known = known.replace(unknown, "");
    }
    for (_, root, fields) in SERVED {
        let one = root.trim_end_matches('s');
        let is_of_it = [format!(" {root}("), format!(" {one}(")];
        if is_of_it.iter().any(|of| known.contains(of)) {
            let (before, rest) = known.split_once("{ id ").unwrap();
            let behind = match rest.rsplit_once("} pageInfo") {
                Some((_, behind)) => format!("}} pageInfo{behind}"),
                None => "} }".to_owned(),
            };
            known = format!("{before}{{ {fields} {behind}");
        }
    }
    known
}

/// An account at emulate, and a server that syncs it.
struct Account {
    synced: Synced,
    emulate: Emulate,
}

/// What a plain client does there.
struct Emulate {
    client: Client,
    url: String,
}

impl Account {
    async fn new(imitation: &Behind) -> Self {
        let emulate = Emulate {
            client: Client::new(),
            url: format!("{}/graphql", imitation.emulate.url),
        };
        emulate.seed().await;
        let server = Setup::new().provider("linear", &imitation.url).start();
        let credential = json!({"kind": "linear_key", "key": KEY});
        let served = SERVED.map(|(name, ..)| name);
        let synced = Synced::begin(server, "linear", &served, credential).await;
        Self { synced, emulate }
    }

    /// Waits until the stream has exactly what is there. Answers how many are gone of each collection.
    async fn matches(&self) -> BTreeMap<String, usize> {
        let there = async || {
            let mut there = Objects::new();
            for (name, ..) in SERVED {
                let objects = self.emulate.list(name).await;
                assert!(!objects.is_empty(), "there is no {name} to compare");
                let named = |object: Value| ((name.to_owned(), text(&object["id"])), object);
                there.extend(objects.into_iter().map(named));
            }
            there
        };
        self.synced.until_equal(there).await
    }
}

impl Emulate {
    /// Asks emulate itself.
    async fn ask(&self, query: &str) -> Value {
        let request = self.client.post(&self.url).bearer_auth(KEY);
        let answer = request.json(&json!({"query": query})).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    async fn seed(&self) {
        let teams = self.list("team").await;
        let team = text(&teams[0]["id"]);
        for number in 0..ISSUES {
            self.make_issue(&team, &format!("Zoë {number}")).await;
        }
        let issues = self.list("issue").await;
        for at in [0, 0, 1] {
            let issue = text(&issues[at]["id"]);
            let input = format!("{{issueId: \"{issue}\", body: \"said\"}}");
            self.ask(&format!(
                "mutation {{ commentCreate(input: {input}) {{ success }} }}"
            ))
            .await;
        }
    }

    async fn make_issue(&self, team: &str, title: &str) {
        let input = format!("{{teamId: \"{team}\", title: \"{title}\"}}");
        self.ask(&format!(
            "mutation {{ issueCreate(input: {input}) {{ success }} }}"
        ))
        .await;
    }

    async fn change(&self) {
        let issues = self.list("issue").await;
        let id = text(&issues[7]["id"]);
        self.ask(&format!(
            "mutation {{ issueUpdate(id: \"{id}\", input: {{title: \"renamed\"}}) {{ success }} }}"
        ))
        .await;
        let team = text(&issues[0]["team"]["id"]);
        self.make_issue(&team, "new").await;
        let comments = self.list("comment").await;
        let id = text(&comments[0]["id"]);
        self.ask(&format!(
            "mutation {{ commentUpdate(id: \"{id}\", input: {{body: \"meant\"}}) {{ success }} }}"
        ))
        .await;
    }

    /// Deletes a comment, and an issue that has another.
    async fn delete(&self) {
        let comments = self.list("comment").await;
        let id = text(&comments[0]["id"]);
        let other = comments
            .iter()
            .find(|comment| comment["issue"] != comments[0]["issue"]);
        let issue = text(&other.unwrap()["issue"]["id"]);
        for deleting in [
            format!("commentDelete(id: \"{id}\")"),
            format!("issueDelete(id: \"{issue}\", permanentlyDelete: true)"),
        ] {
            self.ask(&format!("mutation {{ {deleting} {{ success }} }}"))
                .await;
        }
    }

    /// Every object of a collection, page by page.
    async fn list(&self, name: &str) -> Vec<Value> {
        let (_, root, fields) = SERVED.iter().find(|(of, ..)| *of == name).unwrap();
        let mut all = Vec::new();
        let mut after = "null".to_owned();
        loop {
            let mut page = self
                .ask(&format!(
                    "{{ {root}(first: 50, after: {after}) {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}"
                ))
                .await;
            let page = &mut page[root];
            all.append(page["nodes"].as_array_mut().unwrap());
            match page["pageInfo"]["hasNextPage"].as_bool().unwrap() {
                true => after = page["pageInfo"]["endCursor"].to_string(),
                false => return all,
            }
        }
    }
}
