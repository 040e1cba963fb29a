//! A first reading, from an imitated account to the stream.

use std::net::SocketAddr;

use anyhow::Result;
use headrace_sandbox::stripe::{Collection, Stripe, StripeOptions};
use tokio::time::Instant;

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
        "sync, first reading, a page a request",
        count,
        begun,
        Vec::new(),
    );
    Ok(server)
}
