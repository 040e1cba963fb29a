//! `cargo xtask test`: everything that continuous integration checks, in its order, stopping at the first failure.

use anyhow::Result;

use crate::console::say;
use crate::report::Report;
use crate::workspace::Workspace;
use crate::{checks, house_rules, node, openapi, python};

type Step = fn(&Workspace) -> Result<()>;

/// Cheap and likely failures first.
const STEPS: [(&str, Step); 6] = [
    ("setup", setup),
    ("formatting", checks::formatting),
    ("house rules", house_rules::check),
    ("lints", checks::lints),
    ("tests", checks::tests),
    ("docs", checks::docs),
];

/// Runs all steps and ends with a table of how long each took.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut report = Report::default();
    let result = STEPS
        .iter()
        .try_for_each(|(name, step)| report.step(name, || step(workspace)));
    say(&format!("\n{}", report.table()));
    result
}

fn setup(workspace: &Workspace) -> Result<()> {
    checks::require_components(workspace)?;
    python::install(workspace)?;
    openapi::install(workspace)?;
    node::install(workspace)
}
