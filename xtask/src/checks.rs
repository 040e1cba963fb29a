//! The checks that cargo does for us.

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{node, openapi, python};

/// Fails with what to type when the toolchain came without the formatter or the linter.
pub(crate) fn require_components(workspace: &Workspace) -> Result<()> {
    for component in ["fmt", "clippy"] {
        if !workspace.cargo().args([component, "--version"]).succeeds() {
            bail!(
                "`cargo {component}` is not installed: run `rustup component add rustfmt clippy`"
            );
        }
    }
    Ok(())
}

pub(crate) fn formatting(workspace: &Workspace) -> Result<()> {
    workspace.cargo().args(["fmt", "--all", "--check"]).run()?;
    workspace
        .cargo()
        .args(["fmt", "--check", "--manifest-path"])
        .args([workspace.fuzz()])
        .run()
}

pub(crate) fn lints(workspace: &Workspace) -> Result<()> {
    let arguments = "clippy --workspace --all-targets --locked -- -D warnings";
    workspace.cargo().args(arguments.split(' ')).run()?;
    // The targets are linted and run with the tests of the model. What is left is to build libFuzzer, which takes a C++
    // compiler and long; that its versions are the locked ones is seen without.
    workspace
        .cargo()
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--manifest-path",
        ])
        .args([workspace.fuzz()])
        .read()
        .map(drop)
}

/// Tests find the programs and documents of others that they need through these variables.
pub(crate) fn tests(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo()
        .args(["test", "--workspace", "--locked"])
        .env("HEADRACE_TEST_PYTHON", python::interpreter(workspace))
        .env("HEADRACE_TEST_NODE_MODULES", node::modules(workspace))
        .env("HEADRACE_TEST_STRIPE_OPENAPI", openapi::document(workspace))
        .run()
}

pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}
