//! `headrace org`: works on the data directory while no server has it. No request does the same: over
//! HTTP an organisation sees itself alone.

use clap::{Args, Subcommand};

use super::out;
use super::token::{open, parse_scopes};
use crate::config::Options;

/// What to do with organisations.
#[derive(Debug, Subcommand)]
pub(crate) enum OrgCommand {
    /// Make an organisation, and an admin token for it
    Create(CreateOrg),
    /// List the organisations
    List(Options),
}

/// A new organisation.
#[derive(Debug, Args)]
pub(crate) struct CreateOrg {
    /// Its name
    name: String,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(crate) async fn run(command: OrgCommand) -> anyhow::Result<()> {
    match command {
        OrgCommand::Create(CreateOrg { name, options }) => {
            let offline = open(options).await?;
            let org = offline.engine.create_org(name).await?;
            let (_, token) = offline
                .create_token(org.id, "first", parse_scopes("admin")?)
                .await?;
            out::line(&format!("organisation {} {}", org.id, org.value.name));
            out::line(&format!("admin token  {token}"));
            offline.close().await
        }
        OrgCommand::List(options) => {
            let offline = open(options).await?;
            for org in offline.engine.orgs().await? {
                out::line(&format!("{} {}", org.id, org.value.name));
            }
            offline.close().await
        }
    }
}
