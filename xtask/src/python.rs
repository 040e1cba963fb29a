//! The Python environment with the servers and clients of others that tests judge ours by.
//!
//! It is made from `testing/requirements.txt` below the build directory, and made again only when that file changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::console::say;
use crate::process::Process;
use crate::system::{self, Need};
use crate::workspace::Workspace;

/// `ensurepip` is what Debian splits off, and what `venv` cannot do without.
const HAS_VENV: [&str; 2] = [
    "-c",
    "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))",
];

const PYTHON: Need = Need {
    what: "Python 3.11 or later with its `venv` and `ensurepip` modules",
    packages: &["python3", "python3-venv"],
    is_met: has_venv,
};

/// The environment's interpreter, by absolute path.
pub(crate) fn interpreter(workspace: &Workspace) -> PathBuf {
    environment(workspace).join("bin").join("python")
}

/// Makes the environment as the requirements say, unless it is there already.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root().join("testing").join("requirements.txt");
    let wanted = read(&requirements)?;
    // Written last, so that an interrupted installation is begun again.
    let stamp = environment(workspace).join("installed-requirements.txt");
    let installed = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    if installed && interpreter(workspace).exists() {
        say("the Python environment for tests is up to date");
        return Ok(());
    }

    system::require(workspace, &PYTHON)?;
    say("making the Python environment for tests");
    workspace
        .process("python3")
        .args(["-m", "venv", "--clear"])
        .args([environment(workspace)])
        .run()?;
    // What a package is built with is pinned too: newer and older pips ask for it under different names.
    pip(workspace)
        .args(["install", "--quiet", "--no-deps", "--requirement"])
        .args([&requirements])
        .env("PIP_BUILD_CONSTRAINT", &requirements)
        .env("PIP_CONSTRAINT", &requirements)
        .run()?;
    // Every package is pinned and none is resolved, so make sure that none is missing.
    pip(workspace).args(["check"]).run()?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
}

fn environment(workspace: &Workspace) -> PathBuf {
    workspace.test_servers().join("python")
}

/// The environment's own installer.
pub(crate) fn pip(workspace: &Workspace) -> Process {
    workspace.process(interpreter(workspace)).args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
    ])
}

fn has_venv(workspace: &Workspace) -> bool {
    workspace.process("python3").args(HAS_VENV).succeeds()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
