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

    let config = workspace.root().join("deny.toml");
    let of_fuzz = |checks: &[&str]| {
        deny()
            .args(["--manifest-path"])
            .args([workspace.fuzz()])
            .args(["check", "--config"])
            .args([&config])
            .args(checks)
            .run()
    };
    let offline = ["licenses", "bans", "sources"];
    deny().args(["check"]).args(offline).run()?;
    of_fuzz(&offline)?;
    if !deny().args(["fetch", "db"]).succeeds() {
        say("advisories: skipped (database not reachable)");
        return Ok(());
    }
    deny().args(["check", "advisories"]).run()?;
    of_fuzz(&["advisories"])
}
