//! `cargo xtask audit`: what our dependencies may be, by `deny.toml`.

use anyhow::{Result, bail};

use crate::console::say;
use crate::workspace::Workspace;

/// Checks licences, bans and sources from the lock file alone, then known vulnerabilities when their database can be
/// fetched. A machine without the internet skips the last and says so.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let deny = || workspace.cargo().args(["deny"]);
    if !deny().args(["--version"]).succeeds() {
        bail!("cargo-deny is not installed: run `cargo install --locked cargo-deny`");
    }

    deny()
        .args(["check", "licenses", "bans", "sources"])
        .run()?;
    if !deny().args(["fetch", "db"]).succeeds() {
        say("advisories: skipped (database not reachable)");
        return Ok(());
    }
    deny().args(["check", "advisories"]).run()
}
