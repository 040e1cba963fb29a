//! What a server takes that has nothing to do, and what one takes that has read very much.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::report::Report;
use crate::server::Server;

const WATCHED: Duration = Duration::from_secs(10);

/// A server without any work.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    // Nothing is there, and nothing asks for it.
    let server = Server::start("http://127.0.0.1:9/v1").await?;
    sleep(Duration::from_secs(1)).await;
    let (before, since) = (server.cpu_time()?, Instant::now());
    sleep(WATCHED).await;
    let used = server.cpu_time()?.saturating_sub(before);
    let part = used.as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
    report.found(
        "a server at rest",
        &format!("{part:.2} % of a core, {}", server.memory()?),
    );
    Ok(())
}
