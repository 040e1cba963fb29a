//! Logs: to standard error, as text or as JSON.

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what; unset, what an operator needs.
pub(crate) fn start(json: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,headrace=info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        logs.json().try_init()
    } else {
        logs.try_init()
    };
    // A second start changes nothing: the first one's settings stay.
    drop(started);
}
