//! What goes on while the server works: workers, a reader, and an owner who changes everything.

use headrace_sandbox::stripe::Stripe;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::account::FOLLOWED;
use super::checks::{read_page, see_sync};
use super::deliveries::{Message, Token};
use super::ledger::{CONSUMERS, Ledger};
use super::plan::Rng;
use super::process::Api;

/// Works until the server is gone.
pub(super) async fn until_cut_off(api: &Api, ledger: &Ledger, stripe: &Stripe, rng: &mut Rng) {
    let mut work = |consumer| work(api, ledger, consumer, rng.fork());
    let (one, two, three) = (work(0), work(0), work(1));
    let reading = read(api, ledger, rng.fork());
    let owning = own(api, ledger, stripe, rng.fork());
    tokio::join!(one, two, three, reading, owning);
}

/// A worker: takes messages, acks most, gives some back, forgets some, and keeps some for later.
async fn work(api: &Api, ledger: &Ledger, consumer: usize, mut rng: Rng) -> Option<()> {
    loop {
        if rng.percent(10) {
            let kept = ledger.deliveries(consumer).take_kept();
            settle(api, ledger, consumer, kept, true).await?;
        }
        let batch = 1 + rng.below(6);
        let messages = next(api, ledger, consumer, batch, rng.below(40)).await?;
        let [mut ack, mut nack, mut keep] = [(); 3].map(|()| Vec::new());
        for token in messages {
            match rng.below(100) {
                0..70 => ack.push(token),
                70..82 => nack.push(token),
                82..92 => keep.push(token),
                // Forgotten: the window ends.
                _ => {}
            }
        }
        // What a crash leaves open between two calls is taken up again after it.
        ledger.deliveries(consumer).keep(keep);
        settle(api, ledger, consumer, ack, true).await?;
        settle(api, ledger, consumer, nack, false).await?;
    }
}

/// Takes messages.
pub(super) async fn next(
    api: &Api,
    ledger: &Ledger,
    consumer: usize,
    batch: u64,
    wait_ms: u64,
) -> Option<Vec<Token>> {
    let path = format!("/v1/http-consumers/{}/next", CONSUMERS[consumer]);
    let asked_at = Instant::now();
    let body = json!({"batch_size": batch, "wait_for": wait_ms});
    let answer = api.post(&path, body).await?;
    let got_at = Instant::now();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    let messages: Vec<Message> = serde_json::from_str(&answer.text).unwrap();
    let mut tokens = Vec::with_capacity(messages.len());
    for message in &messages {
        ledger.log().see(&message.record);
        let mut deliveries = ledger.deliveries(consumer);
        tokens.push(deliveries.receive(message, asked_at, got_at));
    }
    Some(tokens)
}

/// Acks, or gives back. What is not answered is tried again after the next start.
pub(super) async fn settle(
    api: &Api,
    ledger: &Ledger,
    consumer: usize,
    tokens: Vec<Token>,
    is_ack: bool,
) -> Option<()> {
    if tokens.is_empty() {
        return Some(());
    }
    let texts: Vec<&String> = tokens.iter().map(|token| &token.text).collect();
    let body = json!({"ack_tokens": texts});
    let call = if is_ack { "ack" } else { "nack" };
    let path = format!("/v1/http-consumers/{}/{call}", CONSUMERS[consumer]);
    let settlement = ledger.deliveries(consumer).settling(tokens.clone(), is_ack);
    let Some(answer) = api.post(&path, body).await else {
        ledger.deliveries(consumer).keep(tokens);
        return None;
    };
    answer.expect(204);
    let count = |name| answer.header(name).unwrap().parse::<usize>().unwrap();
    let (settled, stale) = (count("headrace-settled"), count("headrace-stale"));
    assert_eq!(settled + stale, tokens.len());
    let mut deliveries = ledger.deliveries(consumer);
    deliveries.settled(&settlement, is_ack, settled);
    Some(())
}

/// A reader of the stream, from anywhere.
async fn read(api: &Api, ledger: &Ledger, mut rng: Rng) -> Option<()> {
    loop {
        let after = rng.below(ledger.log().last_idx() + 1);
        read_page(api, ledger, after, 50, drop).await?;
    }
}

/// The owner: changes the account, has it looked at and read again, and changes the configuration.
async fn own(api: &Api, ledger: &Ledger, stripe: &Stripe, mut rng: Rng) -> Option<()> {
    loop {
        stripe.mutate_randomly(1 + rng.below(3) as usize);
        let collection = {
            let settings = ledger.settings();
            let collections = settings.collections();
            let at = rng.below(collections.len() as u64) as usize;
            collections.iter().nth(at).unwrap().clone()
        };
        let what = if rng.percent(20) { "backfill" } else { "check" };
        let path = api.sync(&format!("/collections/{collection}/{what}"));
        let answer = api.post(&path, json!({})).await?;
        match answer.status.as_u16() {
            202 => ledger.settings().see_sync(&answer.expect(202)),
            // It is just being started anew.
            _ => assert_eq!(answer.expect(409)["code"], "conflict"),
        }
        see_sync(api, ledger).await?;
        match rng.below(20) {
            0 => rename(api, ledger).await?,
            1 => add_collection(api, ledger).await?,
            2 => add_consumer(api, ledger).await?,
            3 if ledger.settings().extras() > 3 => remove_consumer(api, ledger).await?,
            _ => {}
        }
    }
}

async fn rename(api: &Api, ledger: &Ledger) -> Option<()> {
    let name = ledger.settings().renaming();
    patch_sync(api, ledger, json!({"name": name})).await
}

async fn add_collection(api: &Api, ledger: &Ledger) -> Option<()> {
    let mut collections = ledger.settings().collections().clone();
    let names = FOLLOWED.map(|(name, _)| format!("stripe:{name}"));
    if let Some(new) = names.into_iter().find(|name| !collections.contains(name)) {
        collections.insert(new);
        patch_sync(api, ledger, json!({"collection_ids": collections})).await?;
    }
    Some(())
}

/// Patches the sync, and takes note of the answer.
pub(super) async fn patch_sync(
    api: &Api,
    ledger: &Ledger,
    change: serde_json::Value,
) -> Option<()> {
    let answer = api.call(Method::PATCH, &api.sync(""), change).await?;
    ledger.settings().see_sync(&answer.expect(200));
    Some(())
}

async fn add_consumer(api: &Api, ledger: &Ledger) -> Option<()> {
    let slug = ledger.settings().creating();
    let consumer = json!({"stream_id": "dev", "slug": slug});
    let answer = api.post("/v1/http-consumers", consumer).await?;
    answer.expect(201);
    ledger.settings().created(&slug);
    Some(())
}

async fn remove_consumer(api: &Api, ledger: &Ledger) -> Option<()> {
    let Some(slug) = ledger.settings().deleting() else {
        return Some(());
    };
    let path = format!("/v1/http-consumers/{slug}");
    let answer = api.call(Method::DELETE, &path, json!(null)).await?;
    answer.expect(204);
    ledger.settings().deleted(slug);
    Some(())
}
