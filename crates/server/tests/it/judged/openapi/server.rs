//! The server that answers by the document.

use headrace_model::provider::Request;
use serde_json::Value;

use crate::judged::programs::Steady;

pub(super) struct Server {
    steady: Steady,
    client: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self {
            steady: Steady::start().await,
            client: reqwest::Client::new(),
        }
    }

    /// The answer to a request that the document knows, every parameter included. It is made up by the document; a list
    /// has one record, and says that it is whole.
    pub(super) async fn ask(&self, request: &Request) -> Value {
        let url = format!("{}/v1{}", self.steady.url, request.path_and_query);
        let asked = self.client.get(url);
        let answer = asked.header("X-Steady-Reject-On-Error", "true").send();
        let answer = answer.await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let errors = headers
            .get("x-steady-error-count")
            .map(|n| n.to_str().unwrap());
        let message = headers.get("x-steady-error-1-message");
        let is_known = status.is_success() && errors == Some("0");
        assert!(is_known, "{request}: {status} {message:?} {text}");
        let mut body: Value = serde_json::from_str(&text).unwrap();
        if body["has_more"].is_boolean() {
            body["has_more"] = false.into();
        }
        body
    }
}
