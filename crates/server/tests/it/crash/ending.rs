//! How it must end: the stream equals the account, and every consumer had all of it.

use headrace_sandbox::stripe::Stripe;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use super::deliveries::Act;
use super::ledger::{CONSUMERS, Ledger, STRICT};
use super::process::Api;
use super::{ACK_WAIT, account, checks, load};
use crate::harness::PATIENCE;

/// Waits until everything was read and the stream equals the account.
pub(crate) async fn until_equal(api: &Api, ledger: &Ledger, stripe: &Stripe) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let check = api.sync("/collections/stripe:customer/check");
        api.post(&check, json!({})).await.unwrap();
        let sync = checks::see_sync(api, ledger).await.unwrap();
        let collections = sync["collections"].as_array().unwrap();
        // Looked at since the start: no event is left that would make one more version.
        let is_live = collections
            .iter()
            .all(|one| one["status"] == "live" && !one["last_checked_at"].is_null());
        let differences = match is_live {
            true => {
                let records = checks::list(api, ledger).await.unwrap();
                account::differences(stripe, records.values())
            }
            false => vec!["not everything was looked at".to_owned()],
        };
        if differences.is_empty() {
            return;
        }
        assert!(Instant::now() < give_up, "{differences:#?} {sync:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Takes and acks until nothing is left.
pub(crate) async fn drain(api: &Api, ledger: &Ledger, consumer: usize) {
    let give_up = Instant::now() + PATIENCE;
    let path = format!("/v1/http-consumers/{}", CONSUMERS[consumer]);
    let mut wait = 0;
    loop {
        let tokens = load::next(api, ledger, consumer, 200, wait).await;
        let tokens = tokens.unwrap();
        if !tokens.is_empty() {
            load::settle(api, ledger, consumer, tokens, Act::Ack)
                .await
                .unwrap();
            continue;
        }
        let shown = api.get(&path).await.unwrap().expect(200);
        if shown["num_pending"] == 0 && shown["num_ack_pending"] == 0 {
            return;
        }
        assert!(Instant::now() < give_up, "it never ends: {shown:#}");
        wait = u64::try_from(ACK_WAIT.as_millis()).unwrap();
    }
}

/// Each record's newest version was delivered to the consumer and acked, or given up on, if it
/// selects it.
pub(crate) async fn had_all(api: &Api, ledger: &Ledger, consumer: usize) {
    let path = format!("/v1/http-consumers/{}", CONSUMERS[consumer]);
    let shown = api.get(&path).await.unwrap().expect(200);
    for count in ["num_pending", "num_ack_pending"] {
        assert_eq!(shown[count], 0, "{shown:#}");
    }
    let dead = checks::dead_letters(api, consumer).await.unwrap();
    assert_eq!(shown["num_dead"], dead.len());
    assert!(consumer == STRICT || dead.is_empty());
    let records = checks::list(api, ledger).await.unwrap();
    let is_selected = |collection: &str| consumer != 1 || collection == "stripe:customer";
    let deliveries = ledger.deliveries(consumer);
    for record in records.values() {
        let is_dead = dead.get(&record.id) == Some(&record.updated_idx);
        assert!(
            !is_selected(&record.collection_id)
                || is_dead
                || deliveries.is_done(record.updated_idx),
            "{} at {} never reached {}",
            record.upstream_id,
            record.updated_idx,
            CONSUMERS[consumer]
        );
    }
}
