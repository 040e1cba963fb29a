//! A first reading, from an imitated account to the stream.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
use serde_json::json;
use tokio::time::Instant;

use crate::consume::Case;
use crate::report::Report;
use crate::server::Server;

/// Reads an account with so many customers, and leaves the server that has read it.
pub(crate) async fn run(report: &mut Report, count: usize) -> Result<Server> {
    let stripe = Stripe::new(StripeOptions::default());
    stripe.seed(Collection::Customer, count);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, _sandbox) = headrace_sandbox::serve(stripe.router(), any).await?;
    let server = Server::start(&format!("http://{address}/v1")).await?;
    let begun = Instant::now();
    let sync = server.sync_customers().await?;
    server.backfilled(&sync).await?;
    report.case(
        &format!("sync, first reading of {count} customers, 100 a page, no rate limit"),
        count,
        begun,
        Vec::new(),
    );
    report.found("memory after that", &server.memory()?);
    Ok(server)
}

/// A first reading while eight consumers follow it.
pub(crate) async fn together(report: &mut Report, count: usize) -> Result<()> {
    let stripe = Stripe::new(StripeOptions::default());
    stripe.seed(Collection::Customer, count);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, _sandbox) = headrace_sandbox::serve(stripe.router(), any).await?;
    let server = Arc::new(Server::start(&format!("http://{address}/v1")).await?);
    let begun = Instant::now();
    let sync = server.sync_customers().await?;
    let reading = async {
        server.backfilled(&sync).await?;
        anyhow::Ok(begun.elapsed())
    };
    let case = Case {
        name: &format!(
            "consume over HTTP while {count} customers are read, 8 consumers, 8 workers, batch 100"
        ),
        consumers: 8,
        workers: 8,
        batch: 100,
        wanted: count,
        filter: json!({}),
        wait: "30s",
    };
    let (read_in, consumed) = tokio::join!(reading, case.run(report, &server));
    consumed?;
    let name = format!("sync, first reading of {count} customers beside these consumers");
    report.timed(&name, count, read_in?, Vec::new());
    Ok(())
}
