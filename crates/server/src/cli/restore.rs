//! `headrace restore`: makes a data directory of a backup.

use std::path::PathBuf;

use clap::Args;

use super::out;
use crate::config::{Config, Options};

/// What to restore, and where to.
#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// A file that `headrace backup` has written
    backup: PathBuf,
    /// Give up the data that is in the data directory
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(crate) async fn run(options: RestoreOptions) -> anyhow::Result<()> {
    let RestoreOptions {
        backup,
        replace,
        options,
    } = options;
    let config = Config::load(options, std::env::vars())?;
    let data_dir = config.data_dir.display();
    headrace_store::restore(&format!("sqlite:{data_dir}"), &backup, replace).await?;
    out::line(&format!("restored {} into {data_dir}", backup.display()));
    let key_file = config.key_file.display();
    out::error(&match config.key_file.exists() {
        true => format!(
            "credentials open only if {key_file} is the key file of the installation that was backed up"
        ),
        false => format!(
            "put the key file of the installation that was backed up at {key_file} before the first start: without it \
             no credential opens"
        ),
    });
    out::error(
        "what was changed after the backup is as it was then: API tokens that were revoked since work again",
    );
    Ok(())
}
