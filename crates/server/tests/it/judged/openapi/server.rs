//! The server that answers by the document.

use headrace_model::provider::Request;
use serde_json::Value;

use super::document::Document;
use crate::judged::programs::Steady;

pub(super) struct Server {
    pub(super) document: Document,
    steady: Steady,
    client: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self {
            document: Document::read(),
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
        let path = headers["x-steady-matched-path"].to_str().unwrap();
        let unknown = self.unknown_parts(path, request);
        assert!(unknown.is_empty(), "{request}: no parts are {unknown:?}");
        let mut body: Value = serde_json::from_str(&text).unwrap();
        if body["has_more"].is_boolean() {
            body["has_more"] = false.into();
        }
        body
    }

    /// Parts of parameters, such as `created[gte]`, that the document does not have: the server takes any.
    fn unknown_parts(&self, path: &str, request: &Request) -> Vec<String> {
        let (_, query) = request.path_and_query.split_once('?').unwrap_or_default();
        let names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned());
        let is_unknown = |name: &String| match name.trim_end_matches(']').split_once('[') {
            Some((name, part)) => !self.document.has_part(path, name, part),
            None => false,
        };
        names.filter(is_unknown).collect()
    }
}
