//! Stripe's own description of its API, which tests judge our definition by.
//!
//! It comes in a Python package, as `testing/requirements-openapi.txt` says, and is kept as JSON below the build directory.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::console::say;
use crate::python;
use crate::workspace::Workspace;

/// The document, by absolute path.
pub(crate) fn document(workspace: &Workspace) -> PathBuf {
    directory(workspace).join("stripe.json")
}

/// Makes the document with the Python environment, unless it is there already.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let testing = workspace.root().join("testing");
    let requirements = testing.join("requirements-openapi.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("could not read {}", requirements.display()))?;
    // Written last, so that an interrupted installation is begun again.
    let stamp = directory(workspace).join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        say("Stripe's OpenAPI for tests is up to date");
        return Ok(());
    }

    say("fetching Stripe's OpenAPI for tests");
    let packages = directory(workspace).join("packages");
    python::pip(workspace)
        .args(["install", "--quiet", "--no-deps", "--upgrade", "--target"])
        .args([&packages])
        .args([OsStr::new("--requirement"), requirements.as_os_str()])
        .run()?;
    workspace
        .process(python::interpreter(workspace))
        .args([testing.join("stripe_openapi.py")])
        .args([packages, document(workspace)])
        .run()?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.test_servers().join("openapi")
}
