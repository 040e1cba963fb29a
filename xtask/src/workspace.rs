//! Where things are: the repository, its build directory and the tools made there.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Process;

/// The checked-out repository that `cargo xtask` was started in.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the repository through the variables that cargo sets for what it runs.
    pub(crate) fn locate() -> Result<Self> {
        let manifest_dir =
            env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = Path::new(&manifest_dir)
            .parent()
            .context("the xtask package lies in no workspace")?
            .to_path_buf();
        let target = root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the servers that tests talk to are installed. It may be deleted at any time.
    pub(crate) fn test_servers(&self) -> PathBuf {
        self.target.join("test-servers")
    }

    /// The fuzz targets, which are a workspace of their own.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz").join("Cargo.toml")
    }

    /// Where the fuzz targets are built, and keep what they find. It may be deleted at any time.
    pub(crate) fn fuzzing(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// A process in the repository's root.
    pub(crate) fn process(&self, program: impl AsRef<OsStr>) -> Process {
        Process::new(program, &self.root)
    }

    /// The cargo that runs us, in the repository's root.
    pub(crate) fn cargo(&self) -> Process {
        self.process(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}
