//! `headrace provider check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::out;

/// What to do with provider definitions.
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Check a definition and print the requests it leads to
    Check(Check),
}

/// A definition to check.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The definition's folder
    folder: PathBuf,
}

/// Runs the command.
pub(crate) fn run(command: &ProviderCommand) -> anyhow::Result<()> {
    let ProviderCommand::Check(Check { folder }) = command;
    let definition = headrace_engine::providers::check(folder)?;
    for line in definition.plan() {
        out::line(&line);
    }
    Ok(())
}
