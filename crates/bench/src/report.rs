//! The lines that are printed.

use std::time::Duration;

use tokio::time::Instant;

/// What was measured, told as it comes.
pub(crate) struct Report;

impl Report {
    pub(crate) fn new() -> Self {
        say(&format!(
            "{:<58} {:>12} {:>9} {:>9} {:>9}",
            "case", "per second", "p50 ms", "p99 ms", "max ms"
        ));
        Self
    }

    /// One case: how much was done since, and how long its single calls took.
    pub(crate) fn case(
        &mut self,
        name: &str,
        count: usize,
        since: Instant,
        mut calls: Vec<Duration>,
    ) {
        let rate = count as f64 / since.elapsed().as_secs_f64();
        calls.sort_unstable();
        let at = |part: f64| {
            let index = (calls.len() as f64 * part) as usize;
            let call = calls.get(index.min(calls.len().saturating_sub(1)));
            call.map_or(0.0, |call| call.as_secs_f64() * 1_000.0)
        };
        say(&format!(
            "{name:<58} {rate:>12.0} {:>9.2} {:>9.2} {:>9.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        ));
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are the output of this program"
)]
fn say(line: &str) {
    println!("{line}");
}
