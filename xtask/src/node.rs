//! The programs of others that run on Node.js, which tests judge ours by.
//!
//! They are installed from `testing/package-lock.json` below the build directory, and again only when that file changes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::console::say;
use crate::system::{self, Need};
use crate::workspace::Workspace;

const NODE: Need = Need {
    what: "Node.js 18 or later with npm",
    packages: &["nodejs", "npm"],
    is_met: has_node,
};

const IS_NEW_ENOUGH: [&str; 2] = [
    "-e",
    "process.exit(Number(process.versions.node.split('.')[0]) < 18 ? 1 : 0)",
];

/// Where the packages are, by absolute path.
pub(crate) fn modules(workspace: &Workspace) -> PathBuf {
    directory(workspace).join("node_modules")
}

/// Installs the packages as the lock file says, unless they are there already.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let files = ["package.json", "package-lock.json"];
    let mut wanted = String::new();
    for file in files {
        let path = workspace.root().join("testing").join(file);
        let text = fs::read_to_string(&path);
        wanted += &text.with_context(|| format!("could not read {}", path.display()))?;
    }
    // Written last, so that an interrupted installation is begun again.
    let stamp = directory(workspace).join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        say("the Node.js packages for tests are up to date");
        return Ok(());
    }

    system::require(workspace, &NODE)?;
    say("installing the Node.js packages for tests");
    let directory = directory(workspace);
    fs::create_dir_all(&directory)
        .with_context(|| format!("could not make {}", directory.display()))?;
    for file in files {
        let from = workspace.root().join("testing").join(file);
        fs::copy(&from, directory.join(file))
            .with_context(|| format!("could not copy {}", from.display()))?;
    }
    let options = "ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix";
    workspace
        .process("npm")
        .args(options.split(' '))
        .args([&directory])
        .run()?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.test_servers().join("node")
}

fn has_node(workspace: &Workspace) -> bool {
    let has_npm = workspace.process("npm").args(["--version"]).succeeds();
    has_npm && workspace.process("node").args(IS_NEW_ENOUGH).succeeds()
}
