//! Running other programs so that they behave the same by hand and in continuous integration.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A program about to run: without standard input, and without the variables that cargo set for us alone.
pub(crate) struct Process {
    command: Command,
}

impl Process {
    pub(crate) fn new(program: impl AsRef<OsStr>, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(directory).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if describes_our_package(&name) {
                command.env_remove(name);
            }
        }
        Self { command }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the program with its output shown as it comes. Failing is an error that carries the command line.
    pub(crate) fn run(mut self) -> Result<()> {
        let line = self.line();
        let status = self
            .command
            .status()
            .with_context(|| format!("could not start `{line}`"))?;
        if !status.success() {
            bail!("`{line}` failed: {status}");
        }
        Ok(())
    }

    /// Whether the program can be started and succeeds. Its output is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// Runs the program and returns what it wrote to standard output, trimmed.
    pub(crate) fn read(mut self) -> Result<String> {
        let line = self.line();
        let Output { status, stdout, .. } = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("could not start `{line}`"))?;
        if !status.success() {
            bail!("`{line}` failed: {status}");
        }
        let text =
            String::from_utf8(stdout).with_context(|| format!("`{line}` did not write UTF-8"))?;
        Ok(text.trim().to_owned())
    }

    /// The command as it would be typed, the program by its bare name.
    fn line(&self) -> String {
        let program = Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        let words = std::iter::once(name).chain(self.command.get_args());
        words
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Build scripts that watch these would run again each time cargo is started by us and then by hand.
fn describes_our_package(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name == "CARGO_MANIFEST_DIR"
            || name == "CARGO_MANIFEST_PATH"
    })
}
