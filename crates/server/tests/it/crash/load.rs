//! What goes on while the server works: workers, a reader, and an owner who changes everything.

use std::time::Duration;

use headrace_sandbox::stripe::Stripe;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::LONG;
use super::account::FOLLOWED;
use super::checks::{read_page, see_sync};
use super::deliveries::{Act, Message, Token};
use super::ledger::{CONSUMERS, Ledger, SLOW, STRICT};
use super::plan::Rng;
use super::process::Api;
use crate::harness::{Answer, text};

/// Works until the server is gone.
pub(crate) async fn until_cut_off(api: &Api, ledger: &Ledger, stripe: &Stripe, rng: &mut Rng) {
    let mut work = |consumer| work(api, ledger, consumer, rng.fork());
    let (one, two, three) = (work(0), work(0), work(1));
    let four = work_strictly(api, ledger, rng.fork());
    let five = work_slowly(api, ledger, rng.fork());
    let reading = read(api, ledger, rng.fork());
    let owning = own(api, ledger, stripe, rng.fork());
    tokio::join!(one, two, three, four, five, reading, owning);
}

/// A worker: takes messages, acks most, gives some back, forgets some, and keeps some for later.
async fn work(api: &Api, ledger: &Ledger, consumer: usize, mut rng: Rng) -> Option<()> {
    loop {
        if rng.percent(10) {
            let kept = ledger.deliveries(consumer).take_kept();
            settle(api, ledger, consumer, kept, Act::Ack).await?;
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
        settle(api, ledger, consumer, ack, Act::Ack).await?;
        settle(api, ledger, consumer, nack, Act::Nack(Duration::ZERO)).await?;
    }
}

/// The one worker of the consumer that gives up: it also rejects, needs longer, gives back for later,
/// and starts the consumer anew.
async fn work_strictly(api: &Api, ledger: &Ledger, mut rng: Rng) -> Option<()> {
    loop {
        if rng.percent(10) {
            let kept = ledger.deliveries(STRICT).take_kept();
            settle(api, ledger, STRICT, kept, Act::Ack).await?;
        }
        if rng.percent(8) {
            restart(api, ledger, rng.percent(50)).await?;
        }
        let batch = 1 + rng.below(6);
        let messages = next(api, ledger, STRICT, batch, rng.below(40)).await?;
        let [mut ack, mut nack, mut reject, mut extend] = [(); 4].map(|()| Vec::new());
        for token in messages {
            match rng.below(100) {
                0..45 => ack.push(token),
                45..65 => nack.push(token),
                65..75 => reject.push(token),
                75..90 => extend.push(token),
                // Forgotten: the window ends.
                _ => {}
            }
        }
        ledger.deliveries(STRICT).keep(extend.clone());
        settle(api, ledger, STRICT, extend, Act::Extend).await?;
        let delay = Act::Nack(Duration::from_millis(rng.below(400)));
        settle(api, ledger, STRICT, nack, delay).await?;
        settle(api, ledger, STRICT, reject, Act::Reject).await?;
        settle(api, ledger, STRICT, ack, Act::Ack).await?;
    }
}

/// The worker whose messages take long: it needs longer, or gives back for later.
async fn work_slowly(api: &Api, ledger: &Ledger, mut rng: Rng) -> Option<()> {
    loop {
        let messages = next(api, ledger, SLOW, 1, rng.below(40)).await?;
        let act = match rng.percent(50) {
            true => Act::Extend,
            false => Act::Nack(LONG),
        };
        settle(api, ledger, SLOW, messages, act).await?;
    }
}

/// Starts the consumer from the beginning: by another policy, or at once.
async fn restart(api: &Api, ledger: &Ledger, by_policy: bool) -> Option<()> {
    let from = json!({"from_time": ledger.settings().restarting()});
    ledger.deliveries(STRICT).restarting();
    let path = format!("/v1/http-consumers/{}", CONSUMERS[STRICT]);
    let answer = match by_policy {
        true => {
            let patch = json!({ "deliver_policy": from });
            api.call(Method::PATCH, &path, patch).await?
        }
        false => api.post(&format!("{path}/reset"), from).await?,
    };
    answer.expect(200);
    ledger.deliveries(STRICT).restarted();
    Some(())
}

/// Takes messages.
pub(crate) async fn next(
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

/// Settles. What is not answered is acked after the next start.
pub(crate) async fn settle(
    api: &Api,
    ledger: &Ledger,
    consumer: usize,
    tokens: Vec<Token>,
    act: Act,
) -> Option<()> {
    if tokens.is_empty() {
        return Some(());
    }
    let texts: Vec<&String> = tokens.iter().map(|token| &token.text).collect();
    let (call, body) = match act {
        Act::Ack => ("ack", json!({"ack_tokens": texts})),
        Act::Nack(delay) => {
            let delay = u64::try_from(delay.as_millis()).unwrap();
            ("nack", json!({"ack_tokens": texts, "delay_ms": delay}))
        }
        Act::Extend => ("extend", json!({"ack_tokens": texts})),
        Act::Reject => {
            let reject = texts.iter().map(|token| json!({ "token": token }));
            ("settle", json!({"reject": reject.collect::<Vec<_>>()}))
        }
    };
    let path = format!("/v1/http-consumers/{}/{call}", CONSUMERS[consumer]);
    let settlement = ledger.deliveries(consumer).settling(tokens.clone(), act);
    let Some(answer) = api.post(&path, body).await else {
        if act != Act::Extend {
            ledger.deliveries(consumer).keep(tokens);
        }
        return None;
    };
    let (settled, stale) = counts(&answer, act);
    assert_eq!(settled + stale, tokens.len());
    let mut deliveries = ledger.deliveries(consumer);
    deliveries.settled(&settlement, settled);
    Some(())
}

fn counts(answer: &Answer, act: Act) -> (usize, usize) {
    if act == Act::Reject {
        let counts = answer.expect(200);
        let count = |name: &str| counts[name].as_u64().unwrap() as usize;
        return (count("settled"), count("stale"));
    }
    answer.expect(204);
    let count = |name| answer.header(name).unwrap().parse::<usize>().unwrap();
    (count("headrace-settled"), count("headrace-stale"))
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
            3 => add_token(api, ledger).await?,
            4 if ledger.settings().extras() > 3 => remove_consumer(api, ledger).await?,
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
pub(crate) async fn patch_sync(
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
    let made = make_consumer(api, &slug).await?;
    ledger.settings().created(&slug, made);
    Some(())
}

/// Asks for a consumer under a key that names it: the same answer each time. Its id.
pub(crate) async fn make_consumer(api: &Api, slug: &str) -> Option<String> {
    let consumer = json!({"stream_id": "dev", "slug": slug});
    let answer = api.make("/v1/http-consumers", slug, &consumer).await?;
    Some(text(&answer.expect(201)["id"]))
}

async fn add_token(api: &Api, ledger: &Ledger) -> Option<()> {
    let token = json!({"name": "reader", "scopes": ["read"]});
    let answer = api.post("/v1/api-tokens", token).await?;
    ledger.settings().token(text(&answer.expect(201)["token"]));
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
