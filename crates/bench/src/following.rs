//! Following an account that changes: how late a change arrives, and what it costs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::extract::Request;
use axum::middleware::{self, Next};
use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::report::Report;
use crate::server::{Server, text};

/// How many single changes are waited for.
const SAMPLES: usize = 300;
/// The order of what was seen so close together is not known: it would be read again, one by one.
const SETTLED: Duration = Duration::from_secs(3);
const CHANGES: usize = 1_000;
const DELETES: usize = 100;

/// When the provider first answered what has changed, since that was cleared.
type Answered = Arc<Mutex<Option<Instant>>>;

/// Latency of single changes, and a bulk of changes and deletes in an account with so many customers.
pub(crate) async fn run(report: &mut Report, count: usize) -> Result<()> {
    let stripe = Stripe::new(StripeOptions::default());
    stripe.seed(Collection::Customer, count);
    let answered = Answered::default();
    let note = Arc::clone(&answered);
    let router = stripe
        .router()
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let note = Arc::clone(&note);
            async move {
                let tells = request.uri().path().ends_with("/events");
                let answer = next.run(request).await;
                if tells {
                    let mut first = note.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert_with(Instant::now);
                }
                answer
            }
        }));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, _sandbox) = headrace_sandbox::serve(router, any).await?;
    let server = Server::start(&format!("http://{address}/v1")).await?;
    let sync = server.sync_customers().await?;
    server.backfilled(&sync).await?;
    let new = json!({"stream_id": "dev", "deliver_policy": "new", "max_ack_pending": 20_000});
    let consumer = server.post("/v1/http-consumers", new).await?;
    let consumer = text(&consumer["id"])?;
    single(report, &stripe, &server, &sync, &consumer, &answered).await?;
    bulk(report, &stripe, &server, &sync, &consumer, count).await
}

/// From the provider's answer that has the change to the worker that waits for it. The change is made
/// while the sync stands still: it looks as soon as it is enabled.
async fn single(
    report: &mut Report,
    stripe: &Stripe,
    server: &Server,
    sync: &str,
    consumer: &str,
    answered: &Answered,
) -> Result<()> {
    let mut calls = Vec::new();
    let (disable, enable) = (
        format!("/v1/syncs/{sync}/disable"),
        format!("/v1/syncs/{sync}/enable"),
    );
    for number in 0..SAMPLES {
        server.post(&disable, json!({})).await?;
        let created = stripe.create(
            Collection::Customer,
            json!({"name": format!("New {number}")}),
        )?;
        *answered.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let worker = async {
            let messages = take(server, consumer, 1, "60s").await?;
            Ok((messages, Instant::now()))
        };
        let ((messages, arrived), _) = tokio::try_join!(worker, server.post(&enable, json!({})))?;
        let asked = *answered.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.context("nobody asked for events")?;
        ensure!(
            messages[0]["record"]["upstream_id"] == created["id"],
            "another one came"
        );
        calls.push(arrived.duration_since(asked));
        ack(server, consumer, &messages).await?;
    }
    report.latency("from the provider's answer to a waiting worker", calls);
    Ok(())
}

/// Changes and deletes all over the account at once.
async fn bulk(
    report: &mut Report,
    stripe: &Stripe,
    server: &Server,
    sync: &str,
    consumer: &str,
    count: usize,
) -> Result<()> {
    let all = stripe.list_all(Collection::Customer);
    let id = |at: usize| text(&all[at * (all.len() / (CHANGES + DELETES))]["id"]);
    // While the sync stands still, so that one look finds them all.
    server
        .post(&format!("/v1/syncs/{sync}/disable"), json!({}))
        .await?;
    tokio::time::sleep(SETTLED).await;
    for at in 0..CHANGES {
        stripe.update(
            Collection::Customer,
            &id(at)?,
            json!({"name": format!("Changed {at}")}),
        )?;
    }
    for at in CHANGES..CHANGES + DELETES {
        stripe.delete(Collection::Customer, &id(at)?)?;
    }
    let before = stripe.requests().count();
    let begun = Instant::now();
    server
        .post(&format!("/v1/syncs/{sync}/enable"), json!({}))
        .await?;
    let mut had = 0;
    while had < CHANGES + DELETES {
        let messages = take(server, consumer, 1_000, "30s").await?;
        ensure!(!messages.is_empty(), "only {had} changes came");
        had += messages.len();
        ack(server, consumer, &messages).await?;
    }
    let took = begun.elapsed();
    let requests = stripe.requests().count() - before;
    let name = format!(
        "{CHANGES} changes and {DELETES} deletes among {count}, from enabling to the worker"
    );
    report.timed(&name, had, took, Vec::new());
    let recent = stripe.requests().recent();
    let events = recent.iter().rev().take(usize::try_from(requests)?);
    let events = events.filter(|line| line.contains("/v1/events")).count();
    report.found(
        "what that cost",
        &format!(
            "{requests} requests, {events} of them pages of events, {:.0} ms",
            took.as_secs_f64() * 1_000.0
        ),
    );
    Ok(())
}

async fn take(server: &Server, consumer: &str, batch: usize, wait: &str) -> Result<Vec<Value>> {
    let path = format!("/v1/http-consumers/{consumer}/next?batch_size={batch}&wait_for={wait}");
    let messages = server.request(reqwest::Method::POST, &path);
    let messages = messages.timeout(Duration::from_secs(90)).send().await?;
    let messages = messages.error_for_status()?.json().await?;
    Ok(messages)
}

async fn ack(server: &Server, consumer: &str, messages: &[Value]) -> Result<()> {
    let tokens: Vec<&Value> = messages
        .iter()
        .map(|message| &message["ack_token"])
        .collect();
    let path = format!("/v1/http-consumers/{consumer}/ack");
    let acked = server.request(reqwest::Method::POST, &path);
    let acked = acked.json(&json!({"ack_tokens": tokens})).send().await?;
    acked.error_for_status().context("not acknowledged")?;
    Ok(())
}
