//! Workers that take and acknowledge over HTTP. An acknowledgement is durable when it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::report::Report;
use crate::server::{Server, text};
use crate::sync;

pub(crate) async fn run(report: &mut Report, count: usize) -> Result<()> {
    let server = Arc::new(sync::run(report, count).await?);
    for (consumers, workers) in [(1, 1), (1, 8), (8, 8)] {
        for batch in [1, 100, 1_000] {
            let case = Case {
                name: &format!(
                    "consume over HTTP, {consumers} consumers, {workers} workers, batch {batch}"
                ),
                consumers,
                workers,
                batch,
                // One at a time, a fraction tells as much.
                wanted: if batch == 1 { count.min(5_000) } else { count },
                filter: json!({}),
                wait: "0",
            };
            case.run(report, &server).await?;
        }
    }
    Ok(())
}

/// Everything in the stream, once.
pub(crate) async fn drain(report: &mut Report, server: &Arc<Server>, count: usize) -> Result<()> {
    let case = Case {
        name: &format!("consume over HTTP, 8 consumers, 8 workers, batch 100, of {count} records"),
        consumers: 8,
        workers: 8,
        batch: 100,
        wanted: count.min(200_000),
        filter: json!({}),
        wait: "0",
    };
    case.run(report, server).await
}

/// So many workers on so many consumers, until each consumer has had so many messages.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) consumers: usize,
    pub(crate) workers: usize,
    pub(crate) batch: usize,
    pub(crate) wanted: usize,
    pub(crate) filter: Value,
    /// How long a worker waits for messages: those of one consumer do not, or the last ones of all
    /// would be waited for.
    pub(crate) wait: &'static str,
}

impl Case<'_> {
    pub(crate) async fn run(self, report: &mut Report, server: &Arc<Server>) -> Result<()> {
        let Self {
            consumers, wanted, ..
        } = self;
        let mut ids = Vec::new();
        for _ in 0..consumers {
            let body =
                json!({"stream_id": "dev", "max_ack_pending": 20_000, "filters": self.filter});
            let made = server.post("/v1/http-consumers", body).await?;
            ids.push(text(&made["id"])?);
        }
        let had: Vec<_> = ids.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for worker in 0..self.workers {
            let at = worker % consumers;
            let (id, had) = (ids[at].clone(), Arc::clone(&had[at]));
            let (batch, wait) = (self.batch, self.wait);
            running.spawn(work(Arc::clone(server), id, had, batch, wanted, wait));
        }
        let mut cycles = Vec::new();
        while let Some(worker) = running.join_next().await {
            cycles.extend(worker??);
        }
        let total = had.iter().map(|had| had.load(Ordering::SeqCst)).sum();
        report.case(self.name, total, begun, cycles);
        for id in ids {
            let path = format!("/v1/http-consumers/{id}");
            server.request(Method::DELETE, &path).send().await?;
        }
        Ok(())
    }
}

/// Takes and acknowledges until the consumer has had enough. Answers how long each round took.
async fn work(
    server: Arc<Server>,
    consumer: String,
    had: Arc<AtomicUsize>,
    batch: usize,
    wanted: usize,
    wait: &str,
) -> Result<Vec<Duration>> {
    let next = format!("/v1/http-consumers/{consumer}/next?batch_size={batch}&wait_for={wait}");
    let ack = format!("/v1/http-consumers/{consumer}/ack");
    let mut rounds = Vec::new();
    while had.load(Ordering::SeqCst) < wanted {
        let began = Instant::now();
        let messages = server.request(Method::POST, &next).send().await?;
        let messages = messages.error_for_status()?.bytes().await?;
        let tokens = tokens(&messages);
        if tokens.is_empty() {
            break;
        }
        had.fetch_add(tokens.len(), Ordering::SeqCst);
        let request = server.request(Method::POST, &ack);
        let acked = request.json(&json!({"ack_tokens": tokens})).send().await?;
        let settled = acked.headers().get("headrace-settled");
        let settled = settled.context("not acknowledged")?.to_str()?;
        anyhow::ensure!(settled == tokens.len().to_string(), "{settled} settled");
        rounds.push(began.elapsed());
    }
    Ok(rounds)
}

/// The tokens in an answer, found without reading it as JSON: the load should be light.
fn tokens(messages: &Bytes) -> Vec<&str> {
    const BEFORE: &str = r#"{"ack_token":""#;
    let text = std::str::from_utf8(messages).unwrap_or_default();
    let found = text.split(BEFORE).skip(1);
    found.filter_map(|rest| rest.split('"').next()).collect()
}
