//! The API judged by schemathesis, which knows only the `OpenAPI` document: what the document says must
//! hold for any request, and what it does not allow must be refused.
//!
//! `testing/schemathesis.toml` says what is left out, and why. A run is repeated by its seed, and made
//! longer by `HEADRACE_API_EXAMPLES`.

use std::path::Path;
use std::process::Stdio;

use headrace_sandbox::stripe::Collection;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{ADMIN, Server, Setup, sandbox, text};
use crate::judged::interpreter;

/// What decides all requests, unless `HEADRACE_API_SEED` says otherwise.
const SEED: &str = "20";
/// Requests made up for each operation, unless `HEADRACE_API_EXAMPLES` says otherwise.
const EXAMPLES: &str = "10";

/// A server with a bit of everything, each under a name that the judge is told, and its credential.
async fn furnished() -> (Server, String) {
    let (stripe, base) = sandbox().await;
    stripe.seed(Collection::Customer, 30);
    let server = Setup::new().stripe(&base).env("RUST_LOG", "warn").start();
    let sync = server
        .sync_stripe(&["stripe:customer", "stripe:product"])
        .await;
    server.backfilled(&sync).await;
    let path = format!("/v1/syncs/{sync}");
    let sync = server
        .patch(&path, json!({"slug": "sync"}))
        .await
        .expect(200);
    let consumer = json!({"slug": "worker", "max_deliver": 1, "ack_wait_ms": 43_200_000});
    server
        .post("/v1/http-consumers", consumer)
        .await
        .expect(201);
    // One message is out, and one is dead.
    let next = "/v1/http-consumers/worker/next";
    let taken = server
        .post(next, json!({"batch_size": 2}))
        .await
        .expect(200);
    let reject = json!({"reject": [taken[0]["ack_token"]]});
    let settle = "/v1/http-consumers/worker/settle";
    server.post(settle, reject).await.expect(200);
    let credential = text(&sync["credential_id"]);
    (server, credential)
}

/// Runs the judge with this token: what it found.
async fn judge(
    server: &Server,
    credential: &str,
    token: &str,
    arguments: &[&str],
) -> Result<(), String> {
    let told = |name: &str, unless: &str| std::env::var(name).unwrap_or_else(|_| unless.to_owned());
    let seed = told("HEADRACE_API_SEED", SEED);
    let examples = told("HEADRACE_API_EXAMPLES", EXAMPLES);
    let document = server.data.with_extension("json");
    let served = server.get("/v1/openapi.json").await;
    std::fs::write(&document, served.to_string()).unwrap();
    let testing = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing");
    let testing = testing.canonicalize().unwrap();
    let output = Command::new(interpreter())
        .args(["-m", "schemathesis.cli", "--no-color", "--config-file"])
        .arg(testing.join("schemathesis.toml"))
        .arg("run")
        .arg(&document)
        .args(["--url", &server.url, "--seed", &seed])
        .args(["--max-examples", &examples])
        .args(arguments)
        .env("HEADRACE_TESTING", &testing)
        .env("HEADRACE_TOKEN", token)
        .env("HEADRACE_CREDENTIAL", credential)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(document.parent().unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let erred = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{said}\n{erred}\nagain: HEADRACE_API_SEED={seed} HEADRACE_API_EXAMPLES={examples}"
        )),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_its_document() {
    let (server, credential) = furnished().await;
    let found = judge(&server, &credential, ADMIN, &[]).await;
    found.unwrap_or_else(|found| panic!("{found}\n{}", server.logs()));
    let log = server.logs();
    assert!(
        !log.contains("panicked") && !log.contains(" ERROR "),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_only_reads_changes_nothing_whatever_it_sends() {
    let (server, credential) = furnished().await;
    let made = json!({"name": "reader", "scopes": ["read"]});
    let token = server.post("/v1/api-tokens", made).await.expect(201);
    // What a sync has read last, and when, goes on by itself.
    server
        .post("/v1/syncs/sync/disable", json!({}))
        .await
        .expect(200);
    let everything = async || {
        let mut all = Vec::new();
        for path in [
            "/v1/streams",
            "/v1/streams/dev",
            "/v1/credentials",
            "/v1/syncs",
            "/v1/http-consumers",
            "/v1/http-consumers/worker/dead-letters",
            "/v1/http-consumers/worker/messages?state=delivered",
            "/v1/api-tokens",
        ] {
            let mut answer = server.get(path).await;
            // Time passes.
            for one in answer["data"].as_array_mut().into_iter().flatten() {
                one["stats"] = Value::Null;
                one["health"]["time"] = Value::Null;
            }
            all.push(answer);
        }
        all
    };
    let before = everything().await;
    let phases = [
        "--phases",
        "coverage,fuzzing",
        "--warnings",
        "off",
        "--exclude-checks",
        "positive_data_acceptance",
    ];
    let found = judge(&server, &credential, &text(&token["token"]), &phases).await;
    found.unwrap_or_else(|found| panic!("{found}\n{}", server.logs()));
    assert_eq!(before, everything().await);
}
