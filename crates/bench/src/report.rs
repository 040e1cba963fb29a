//! The lines that are printed: a table in Markdown, as the documentation has it.

use std::time::Duration;

use tokio::time::Instant;

/// What was measured, told as it comes.
pub(crate) struct Report;

impl Report {
    pub(crate) fn new() -> Self {
        say("| case | per second | p50 ms | p99 ms | max ms |");
        say("|---|---|---|---|---|");
        Self
    }

    /// One case: how much was done since, and how long its single calls took.
    pub(crate) fn case(&mut self, name: &str, count: usize, since: Instant, calls: Vec<Duration>) {
        self.timed(name, count, since.elapsed(), calls);
    }

    /// The same, of what took so long.
    pub(crate) fn timed(
        &mut self,
        name: &str,
        count: usize,
        took: Duration,
        mut calls: Vec<Duration>,
    ) {
        let rate = count as f64 / took.as_secs_f64();
        calls.sort_unstable();
        let at = |part: f64| {
            let index = (calls.len() as f64 * part) as usize;
            let call = calls.get(index.min(calls.len().saturating_sub(1)));
            call.map_or(String::new(), |call| format!("{:.2}", millis(*call)))
        };
        say(&format!(
            "| {name} | {rate:.0} | {} | {} | {} |",
            at(0.5),
            at(0.99),
            at(1.0)
        ));
    }

    /// How long single calls took, where a rate would mean nothing.
    pub(crate) fn latency(&mut self, name: &str, mut calls: Vec<Duration>) {
        calls.sort_unstable();
        let at = |part: usize| {
            calls
                .get(calls.len() * part / 100)
                .map_or(0.0, |call| millis(*call))
        };
        let most = calls.last().map_or(0.0, |call| millis(*call));
        say(&format!(
            "| {name} | | {:.2} | {:.2} | {most:.2} |",
            at(50),
            at(99)
        ));
    }

    /// Something else that was found.
    pub(crate) fn found(&mut self, name: &str, what: &str) {
        say(&format!("| {name}: {what} | | | | |"));
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are the output of this program"
)]
fn say(line: &str) {
    println!("{line}");
}
