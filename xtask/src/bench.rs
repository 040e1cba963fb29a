//! `cargo xtask bench`: load programs in release builds. Nothing of it is a test.

use anyhow::Result;

use crate::workspace::Workspace;

/// Builds the server and the load program, and runs it.
pub(crate) fn run(workspace: &Workspace, what: &[&str]) -> Result<()> {
    let build = "build --release --locked --package headrace-server --package headrace-bench";
    workspace.cargo().args(build.split(' ')).run()?;
    workspace
        .cargo()
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "headrace-bench",
            "--",
        ])
        .args(what)
        .run()
}
