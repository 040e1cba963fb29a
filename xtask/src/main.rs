//! The project's own commands, run as `cargo xtask <command>`.
//!
//! `test` is the whole of continuous integration: what passes here passes there, because they run this same code.

mod audit;
mod bench;
mod checks;
mod console;
mod fuzz;
mod house_rules;
mod node;
mod openapi;
mod process;
mod python;
mod report;
mod system;
mod test;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  test     run every check of continuous integration
  audit    check the dependencies' licences, origins and known vulnerabilities
  bench    measure how fast it is: [case, or all] [records]
  fuzz     run the fuzz targets, 60 seconds each: [seconds] [targets]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["test"] => test::run(&Workspace::locate()?),
        ["audit"] => audit::run(&Workspace::locate()?),
        ["bench", what @ ..] => bench::run(&Workspace::locate()?, what),
        ["fuzz", what @ ..] => fuzz::run(&Workspace::locate()?, what),
        [] | ["help" | "--help" | "-h"] => {
            console::say(USAGE);
            Ok(())
        }
        _ => bail!("unknown command: {}\n\n{USAGE}", arguments.join(" ")),
    }
}
