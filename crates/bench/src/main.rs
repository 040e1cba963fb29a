//! Load programs, run by `cargo xtask bench`. Each prints one line per case: what was done, how fast.
//!
//! Everything is on loopback and ends by itself. Figures are of the machine they are made on; what
//! counts is how they change with the code.

mod consume;
mod filtered;
mod following;
mod ingest;
mod opening;
mod pauses;
mod prepared;
mod records;
mod report;
mod resting;
mod server;
mod sync;

use anyhow::{Result, bail};

use report::Report;

/// Records of a case, unless told otherwise.
const RECORDS: usize = 200_000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "all".to_owned());
    let records = match arguments.next() {
        Some(count) => count.parse()?,
        None => RECORDS,
    };
    let mut report = Report::new();
    match what.as_str() {
        "ingest" => ingest::run(&mut report, records).await?,
        "sync" => drop(sync::run(&mut report, records).await?),
        "consume" => consume::run(&mut report, records).await?,
        "together" => sync::together(&mut report, records).await?,
        "filter" => filtered::run(&mut report, records).await?,
        "follow" => following::run(&mut report, records).await?,
        "open" => drop(opening::run(&mut report, records).await?),
        "growth" => opening::growth(&mut report, records).await?,
        "rest" => resting::run(&mut report).await?,
        "backup" => pauses::backup(&mut report, records).await?,
        "retention" => pauses::retention(&mut report, records).await?,
        "all" => {
            ingest::run(&mut report, records).await?;
            consume::run(&mut report, records).await?;
            sync::together(&mut report, records).await?;
            following::run(&mut report, records).await?;
            filtered::run(&mut report, records * 5).await?;
            opening::run(&mut report, records * 5).await?;
            resting::run(&mut report).await?;
            sync::run(&mut report, records * 5).await?;
            pauses::backup(&mut report, records * 5).await?;
            pauses::retention(&mut report, records * 5).await?;
        }
        other => bail!(
            "unknown case {other}: expected ingest, sync, consume, together, filter, follow, open, growth, backup, retention, rest or all"
        ),
    }
    Ok(())
}
