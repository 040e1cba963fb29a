//! What is looked at after each start.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::ledger::{CONSUMERS, Ledger, Record, STRICT};
use super::load;
use super::process::Api;
use crate::harness::text;

/// Compares the state with everything that was shown and promised before. `None` when the process
/// ended meanwhile.
pub(crate) async fn check(api: &Api, ledger: &Ledger) -> Option<()> {
    let (newest, last_idx) = {
        let log = ledger.log();
        (log.newest(), log.last_idx())
    };
    let stream = api.get("/v1/streams/dev").await?.expect(200);
    let shown = stream["stats"]["last_idx"].as_u64().unwrap();
    assert!(
        shown >= last_idx,
        "the log ends at {shown}, but {last_idx} was shown"
    );
    let records = list(api, ledger).await?;
    for (record, idx) in newest {
        let found = records.get(&record).map(|record| record.updated_idx);
        assert!(
            found.is_some_and(|found| found >= idx),
            "version {idx} of record {record} was lost: {found:?} is there"
        );
    }
    let dead = dead_letters(api, STRICT).await?;
    for (record, idx) in ledger.deliveries(STRICT).given_up() {
        // A version that left the log before it was given up on is nothing any more.
        if records[&record].updated_idx == idx {
            let found = dead.get(&record);
            assert_eq!(found, Some(&idx), "a dead letter was lost");
        }
    }
    let consumers = api.get("/v1/http-consumers?limit=1000").await?.expect(200);
    let consumers = consumers["data"].as_array().unwrap();
    let slugs: BTreeSet<String> = consumers.iter().map(|one| text(&one["slug"])).collect();
    ledger.settings().see_consumers(&slugs);
    let sync = api.get(&api.sync("")).await?.expect(200);
    ledger.settings().see_sync_again(&sync);
    let made = ledger.settings().made();
    let tokens = ledger.settings().tokens();
    for (slug, id) in newest_of(made) {
        let again = load::make_consumer(api, &slug).await?;
        assert_eq!(again, id, "{slug} was made twice");
    }
    for token in newest_of(tokens) {
        let read = api.get_as(&token, "/v1/streams/dev").await?;
        assert_eq!(read.status.as_u16(), 200, "a token was lost");
    }
    Some(())
}

/// The newest few: what is older was looked at before.
fn newest_of<T>(mut all: Vec<T>) -> Vec<T> {
    all.split_off(all.len().saturating_sub(5))
}

/// Looks at the sync.
pub(crate) async fn see_sync(api: &Api, ledger: &Ledger) -> Option<Value> {
    let sync = api.get(&api.sync("")).await?.expect(200);
    ledger.settings().see_sync(&sync);
    Some(sync)
}

/// The versions that a consumer has given up on, by record.
pub(crate) async fn dead_letters(api: &Api, consumer: usize) -> Option<HashMap<String, u64>> {
    let path = format!("/v1/http-consumers/{}/dead-letters", CONSUMERS[consumer]);
    let mut dead = HashMap::new();
    let mut query = "?limit=1000".to_owned();
    loop {
        let page = api.get(&format!("{path}{query}")).await?.expect(200);
        for letter in page["data"].as_array().unwrap() {
            let idx = letter["updated_idx"].as_u64().unwrap();
            dead.insert(text(&letter["id"]), idx);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=1000&cursor={cursor}"),
            None => return Some(dead),
        }
    }
}

/// A page of records.
#[derive(Deserialize)]
struct Page {
    records: Vec<Record>,
    cursor: Option<String>,
}

/// Reads the whole stream: the newest version seen of each record, by id.
pub(crate) async fn list(api: &Api, ledger: &Ledger) -> Option<HashMap<String, Record>> {
    let mut found = HashMap::new();
    let mut cursor = 0;
    while let Some(last) = read_page(api, ledger, cursor, 1_000, |record| {
        found.insert(record.id.clone(), record);
    })
    .await?
    {
        cursor = last;
    }
    Some(found)
}

/// Reads one page after this index. Answers the last index on it, if there is any.
pub(crate) async fn read_page(
    api: &Api,
    ledger: &Ledger,
    after: u64,
    limit: usize,
    mut take: impl FnMut(Record),
) -> Option<Option<u64>> {
    let path = format!("/v1/records?stream_id=dev&limit={limit}&after_cursor={after}");
    let answer = api.get(&path).await?;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    let page: Page = serde_json::from_str(&answer.text).unwrap();
    let mut last = after;
    for record in page.records {
        assert!(
            record.updated_idx > last,
            "{} comes after {last}",
            record.updated_idx
        );
        last = record.updated_idx;
        ledger.log().see(&record);
        take(record);
    }
    if last > after {
        assert_eq!(page.cursor, Some(last.to_string()));
    }
    Some((last > after).then_some(last))
}
