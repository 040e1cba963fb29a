//! Headrace: streams API data into your app and database.

mod address;
mod api;
mod cli;
mod config;
mod files;
mod listen;
mod metrics;
mod server;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::out::error(&format!("could not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::out::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
