//! What the machine itself must have, beyond a Rust toolchain: on Debian it is installed, elsewhere asked for.

use anyhow::{Result, bail};

use crate::console::say;
use crate::workspace::Workspace;

/// A program that tests need.
pub(crate) struct Need {
    /// What it is, with the least version.
    pub(crate) what: &'static str,
    /// The Debian packages that have it.
    pub(crate) packages: &'static [&'static str],
    /// Whether it is there.
    pub(crate) is_met: fn(&Workspace) -> bool,
}

/// Makes sure of it: installs it as root on Debian, else says what to type.
pub(crate) fn require(workspace: &Workspace, need: &Need) -> Result<()> {
    if (need.is_met)(workspace) {
        return Ok(());
    }
    let Need { what, packages, .. } = need;
    let named = packages.join(" ");
    let is_root = workspace
        .process("id")
        .args(["-u"])
        .read()
        .is_ok_and(|id| id == "0");
    if !workspace.process("apt-get").args(["--version"]).succeeds() {
        bail!("tests need {what}: install it and run again");
    }
    if !is_root {
        bail!(
            "tests need {what}; run this once, then run again:\n\
             sudo apt-get update && sudo apt-get install -y --no-install-recommends {named}"
        );
    }

    say(&format!("installing {named}"));
    let apt = || {
        workspace
            .process("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
    };
    apt().args(["update"]).run()?;
    apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(*packages)
        .run()?;
    if !(need.is_met)(workspace) {
        bail!("{named} did not bring {what}");
    }
    Ok(())
}
