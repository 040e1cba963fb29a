//! `headrace serve`.

use headrace_engine::sync::SyncSettings;

use super::out;
use crate::config::{Config, Options};
use crate::server::{Server, asked_to_stop};
use crate::telemetry;

/// Serves until it is asked to stop.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let config = Config::load(options, std::env::vars())?;
    telemetry::start(config.log_json);
    let admin_token = std::env::var("HEADRACE_ADMIN_TOKEN").ok();
    let server = Server::start(&config, admin_token.as_deref(), SyncSettings::default()).await?;
    // Before it says so: who reads that may ask it to stop at once.
    let asked = asked_to_stop()?;
    out::line(&format!("Headrace serves on http://{}", server.address));
    asked.await;
    server.stop().await
}
