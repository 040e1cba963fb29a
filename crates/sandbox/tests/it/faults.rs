//! Limits and scripted misbehaviour.

use std::time::Duration;

use headrace_sandbox::stripe::{Collection, StripeOptions};
use headrace_sandbox::{Fault, FaultKind};
use reqwest::Method;

use crate::client::Client;

#[tokio::test]
async fn requests_over_the_limit_are_turned_away() {
    let options = StripeOptions {
        rate: Some(0),
        should_retry: Some(true),
        ..Default::default()
    };
    let client = Client::with(options).await;
    let refused = client.get("/v1/customers").await;
    assert_eq!(refused.refusal(), (429, "rate_limit", ""));
    assert_eq!(refused.header("stripe-rate-limited-reason"), "global-rate");
    assert_eq!(refused.header("stripe-should-retry"), "true");
    assert_eq!(client.stripe.requests().count(), 1);
}

#[tokio::test]
async fn a_scripted_answer_comes_when_its_turn_has() {
    let client = Client::new().await;
    let kind = FaultKind::Status {
        code: 503,
        headers: vec![("Retry-After".into(), "7".into())],
        body: r#"{"error":{"type":"api_error","message":"Try again."}}"#.into(),
    };
    client.stripe.faults().push(Fault {
        skip: 1,
        times: 2,
        ..Fault::once("/v1/customers", kind)
    });

    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = client.get("/v1/customers?limit=1").await;
        assert_eq!(answer.header("retry-after") == "7", answer.status == 503);
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    assert_eq!(client.stripe.faults().pending(), 0);
    assert_eq!(
        client.stripe.requests().recent(),
        ["GET /v1/customers?limit=1"; 4]
    );
}

#[tokio::test]
async fn connections_close_before_or_within_an_answer() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 50);
    let get = || client.request(Method::GET, "/v1/customers?limit=50").send();

    client
        .stripe
        .faults()
        .push(Fault::once("/v1/customers", FaultKind::ResetConnection));
    assert!(get().await.is_err());
    client
        .stripe
        .faults()
        .push(Fault::once("/v1/customers", FaultKind::TruncateBody));
    let truncated = get().await.unwrap();
    assert_eq!(truncated.status(), 200);
    assert!(truncated.bytes().await.is_err());
    assert_eq!(client.ids("/v1/customers?limit=50").await.len(), 50);
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let client = Client::new().await;
    let post = || {
        client
            .request(Method::POST, "/v1/customers")
            .form(&[("name", "Ada")])
            .send()
    };
    client
        .stripe
        .faults()
        .push(Fault::once("/v1/customers", FaultKind::ResetConnection));
    assert!(post().await.is_err());
    assert_eq!(client.stripe.count(Collection::Customer), 0);

    client
        .stripe
        .faults()
        .push(Fault::once("/v1/customers", FaultKind::LoseAnswer));
    assert!(post().await.is_err());
    assert_eq!(client.stripe.count(Collection::Customer), 1);
}

#[tokio::test]
async fn answers_can_be_late_or_wrong() {
    let client = Client::new().await;
    let late = Fault::once("/v1/account", FaultKind::Delay(Duration::from_secs(3600)));
    client.stripe.faults().push(late);
    let request = client
        .request(Method::GET, "/v1/account")
        .timeout(Duration::from_millis(50));
    assert!(request.send().await.unwrap_err().is_timeout());

    let wrong = FaultKind::RawBody(b"<html>"[..].into());
    client
        .stripe
        .faults()
        .push(Fault::once("/v1/account", wrong));
    let answer = client
        .request(Method::GET, "/v1/account")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "<html>");
}
