//! The command line.

mod backup;
mod curl;
mod dev;
mod org;
pub(crate) mod out;
mod provider;
mod restore;
mod serve;
mod token;

use clap::{Parser, Subcommand};

use crate::config::Options;

/// Streams API data into your app and database.
#[derive(Debug, Parser)]
#[command(name = "headrace", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API
    Serve(Options),
    /// Show what Headrace does: a sandbox Stripe account (or your own), a sync and a consumer
    Dev(dev::DevOptions),
    /// Organisations
    #[command(subcommand)]
    Org(org::OrgCommand),
    /// API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Write a backup, also while a server serves
    Backup(backup::BackupOptions),
    /// Make a data directory of a backup
    Restore(restore::RestoreOptions),
    /// Provider definitions
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// The configuration file with its defaults
    Config,
}

impl Cli {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(options) => serve::run(options).await,
            Command::Dev(options) => dev::run(options).await,
            Command::Org(command) => org::run(command).await,
            Command::Token(command) => token::run(command).await,
            Command::Backup(options) => backup::run(options).await,
            Command::Restore(options) => restore::run(options).await,
            Command::Provider(command) => provider::run(&command),
            Command::Config => {
                out::line(crate::config::DEFAULTS.trim_end());
                Ok(())
            }
        }
    }
}
