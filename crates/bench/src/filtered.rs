//! Consumers with a filter beside one without.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use crate::consume::Case;
use crate::prepared::prepare;
use crate::report::Report;
use crate::server::Server;

/// One in so many is rare.
const RARE: usize = 100_000;

fn collection(number: usize) -> &'static str {
    match number % RARE {
        0 => "stripe:product",
        n if n % 2 == 0 => "stripe:customer",
        _ => "stripe:charge",
    }
}

pub(crate) async fn run(report: &mut Report, count: usize) -> Result<()> {
    let prepared = prepare(count, collection).await?;
    let server = Arc::new(Server::open(prepared.folder, None).await?);
    let rare = count.div_ceil(RARE);
    for (filter, what, batch, wanted) in [
        (json!({}), "no filter", 100, 100_000),
        (
            json!({"collection_id": ["stripe:customer"]}),
            "every other record",
            100,
            100_000,
        ),
        (json!({}), "no filter", 1, 2_000),
        (
            json!({"collection_id": ["stripe:product"]}),
            "one in 100,000",
            1,
            rare,
        ),
    ] {
        let name = format!("of {count} records, {what}, 1 worker, batch {batch}");
        let case = Case {
            name: &name,
            consumers: 1,
            workers: 1,
            batch,
            wanted,
            filter,
            wait: "0",
        };
        case.run(report, &server).await?;
    }
    Ok(())
}
