//! How a run went: one line per step, with how long it took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::console::say;

/// The steps run so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    took: Duration,
    passed: bool,
}

impl Report {
    /// Announces a step, runs it and notes how long it took. Its error names the step.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        say(&format!("\n==> {name}"));
        let start = now();
        let result = step();
        self.rows.push(Row {
            name,
            took: start.elapsed(),
            passed: result.is_ok(),
        });
        result.with_context(|| format!("{name} failed"))
    }

    /// The table of all steps and their sum, one line each.
    pub(crate) fn table(&self) -> String {
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        let passed = self.rows.iter().all(|row| row.passed);
        let mut lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| line(row.name, row.took, row.passed))
            .collect();
        lines.push(line("total", total, passed));
        lines.join("\n")
    }
}

fn line(name: &str, took: Duration, passed: bool) -> String {
    let verdict = if passed { "passed" } else { "FAILED" };
    format!("{name:<12} {:>7.1} s  {verdict}", took.as_secs_f64())
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures real work and steers nothing"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_step_is_named_in_the_table_and_in_the_error() {
        let mut report = Report::default();
        report.step("first", || Ok(())).unwrap();
        let error = report.step("second", || bail!("no luck")).unwrap_err();

        assert_eq!(format!("{error:#}"), "second failed: no luck");
        let table = report.table();
        let verdicts: Vec<(&str, &str)> = table
            .lines()
            .map(|line| {
                let mut words = line.split_whitespace();
                (words.next().unwrap(), words.next_back().unwrap())
            })
            .collect();
        assert_eq!(
            verdicts,
            [
                ("first", "passed"),
                ("second", "FAILED"),
                ("total", "FAILED")
            ]
        );
    }
}
