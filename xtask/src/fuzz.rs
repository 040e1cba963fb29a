//! `cargo xtask fuzz`: every target of `fuzz/` for a while, without a nightly toolchain.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::console::say;
use crate::workspace::Workspace;

/// What libFuzzer needs to see where a run has come: options of the compiler that are stable.
const INSTRUMENTED: [&str; 8] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Builds the targets and runs each, or those that are named, for so many seconds: 60 unless given.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let (seconds, named) = match arguments {
        [first, named @ ..] if first.parse::<u32>().is_ok() => (*first, named),
        named => ("60", named),
    };
    let all = targets(workspace)?;
    if let Some(unknown) = named
        .iter()
        .find(|name| !all.iter().any(|one| one == *name))
    {
        bail!("there is no target {unknown}: there are {}", all.join(", "));
    }
    let program = build(workspace)?;
    for target in all {
        if named.is_empty() || named.contains(&target.as_str()) {
            say(&format!("fuzzing {target} for {seconds} s"));
            fuzz(workspace, &program, &target, seconds)?;
        }
    }
    Ok(())
}

/// The targets have the names of their seeds' folders.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let seeds = workspace.root().join("fuzz/corpus");
    let mut names = Vec::new();
    let entries =
        fs::read_dir(&seeds).with_context(|| format!("could not list {}", seeds.display()))?;
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    if !workspace.process("c++").args(["--version"]).succeeds() {
        bail!(
            "libFuzzer is built with a C++ compiler; run this once, then run again:\n\
             sudo apt-get update && sudo apt-get install -y --no-install-recommends g++"
        );
    }
    let host = workspace
        .process("rustc")
        .args(["--print", "host-tuple"])
        .read()?;
    let target = workspace.fuzzing();
    // With a target named, what only runs at build time is left as it is.
    workspace
        .cargo()
        .args(["build", "--release", "--locked", "--manifest-path"])
        .args([workspace.fuzz()])
        .args(["--target", &host, "--target-dir"])
        .args([&target])
        .env("RUSTFLAGS", INSTRUMENTED.join(" "))
        .run()?;
    Ok(target.join(host).join("release/headrace-fuzz"))
}

/// What was found to lead somewhere new is kept below the build directory, for the next time.
fn fuzz(workspace: &Workspace, program: &PathBuf, target: &str, seconds: &str) -> Result<()> {
    let found = workspace.fuzzing().join("corpus").join(target);
    let failures = workspace.fuzzing().join("failures").join(target);
    for folder in [&found, &failures] {
        fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    workspace
        .process(program)
        .args([format!("-max_total_time={seconds}")])
        .args([format!("-artifact_prefix={}/", failures.display())])
        // A hang is a failure, and so is growing without bound.
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .args(["-max_len=16384", "-verbosity=0"])
        .args([found, workspace.root().join("fuzz/corpus").join(target)])
        .env("HEADRACE_FUZZ_TARGET", target)
        .run()
        .with_context(|| format!("{target} fails on the file in {}", failures.display()))
}
