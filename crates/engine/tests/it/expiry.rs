//! Ack windows end by themselves.

use std::time::Duration;

use headrace_engine::{Clock, Settlement, Stored};
use headrace_model::config::{DeliverPolicy, HttpConsumer};
use headrace_model::delivery::{Consumer, LONGEST_DELAY, Phase};
use headrace_model::filter::Filter;
use headrace_model::{ConsumerId, Timestamp};
use headrace_store::{Kind, Message, Object, Write};
use uuid::Uuid;

use crate::desk::{CUSTOMER, Desk};

#[tokio::test]
async fn a_consumer_that_cannot_be_read_keeps_no_other_from_its_timer() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    assert_eq!(desk.next(&consumer).await.len(), 1);
    let broken = Object {
        kind: Kind::Consumer,
        id: Uuid::from_u128(1),
        org: desk.org,
        revision: 0,
        names: Vec::new(),
        body: b"{".to_vec(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    desk.store.write(vec![Write::Put(broken)]).await.unwrap();
    desk.clock.leap(61);
    let id = ConsumerId(consumer.id);
    desk.restart().await;
    until_any(&desk, id, is_expired, "the window ends").await;
}

async fn phases(desk: &Desk, id: ConsumerId) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut look = |state: &Consumer| {
        phases = state.outstanding().map(|(_, entry)| entry.phase).collect();
    };
    desk.store.inspect(id, &mut look).await.unwrap();
    phases
}

fn is_expired(phase: &Phase) -> bool {
    matches!(phase, Phase::Expired(_))
}

/// Waits until what is outstanding is as wanted.
async fn until(desk: &Desk, id: ConsumerId, wanted: impl Fn(&[Phase]) -> bool, what: &str) {
    let mut wake = desk.store.watch_consumer(id).await.unwrap();
    let comes = async {
        while !wanted(&phases(desk, id).await) {
            wake.changed().await.unwrap();
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(30), comes).await;
    came.expect(what);
}

async fn until_any(desk: &Desk, id: ConsumerId, wanted: impl Fn(&Phase) -> bool, what: &str) {
    until(desk, id, |phases| phases.iter().any(&wanted), what).await;
}

#[tokio::test]
async fn a_window_that_was_made_shorter_by_an_extend_ends_by_itself() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let messages = desk.next(&consumer).await;
    let id = ConsumerId(consumer.id);
    let mut shorter = consumer;
    shorter.value.ack_wait_ms = 1;
    let settlement = Settlement {
        extend: vec![messages[0].leased.token(id.number())],
        ..Settlement::default()
    };
    let settled = desk.engine.settle(&shorter, &settlement).await.unwrap();
    assert_eq!(settled.settled, 1);
    let ends = "the window ends before the minute that it was";
    until_any(&desk, id, is_expired, ends).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_before_a_start_makes_no_window_longer() {
    let mut desk = Desk::new().await;
    for id in ["a", "b", "c"] {
        desk.put(CUSTOMER, id, Some("{}")).await;
    }
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let messages = desk.next(&consumer).await;
    let id = ConsumerId(consumer.id);
    let (expires, back) = (
        messages[0].leased.token(id.number()),
        Duration::from_secs(60),
    );
    let settlement = Settlement {
        nack: vec![(expires, back, None)],
        ..Settlement::default()
    };
    desk.engine.settle(&consumer, &settlement).await.unwrap();
    desk.clock.leap(-30 * 86_400);
    desk.restart().await;
    let longest = desk.clock.now() + Duration::from_secs(61);
    let is_cut = |phase: &Phase| match *phase {
        Phase::Leased { until, .. } => until < longest,
        Phase::Expired(_) => false,
        Phase::Nacked(due) => due < longest + LONGEST_DELAY,
    };
    // Written in the background of the start.
    let all_cut = |phases: &[Phase]| phases.iter().all(is_cut);
    until(&desk, id, all_cut, "no window is longer than it was to be").await;
    assert_eq!(phases(&desk, id).await.len(), 3);
    desk.clock.leap(61);
    assert_eq!(desk.next(&consumer).await.len(), 3);
}

/// The clock is set right as the server stops: nobody has moved anything back by then.
#[tokio::test]
async fn a_clock_that_was_ahead_for_a_moment_makes_no_window_longer() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    desk.clock.leap(3 * 86_400);
    assert_eq!(desk.next(&consumer).await.len(), 1);
    desk.clock.leap(-3 * 86_400);
    desk.restart().await;
    let longest = desk.clock.now() + Duration::from_secs(61);
    let is_short = |phase: &Phase| matches!(phase, Phase::Leased { until, .. } if *until < longest);
    let id = ConsumerId(consumer.id);
    until_any(&desk, id, is_short, "the window is as long as it was to be").await;
}

#[tokio::test]
async fn what_was_given_back_by_a_clock_that_was_ahead_is_due_when_that_is_set_right() {
    let mut desk = Desk::new().await;
    for id in ["a", "b"] {
        desk.put(CUSTOMER, id, Some("{}")).await;
    }
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let id = ConsumerId(consumer.id);
    desk.clock.leap(10 * 3_600);
    let messages = desk.next(&consumer).await;
    let nack = |at: usize, delay| (messages[at].leased.token(id.number()), delay, None);
    let day = LONGEST_DELAY;
    let settlement = Settlement {
        nack: vec![nack(0, Duration::ZERO), nack(1, day)],
        ..Settlement::default()
    };
    let settled = desk.engine.settle(&consumer, &settlement).await.unwrap();
    assert_eq!(settled.settled, 2);
    desk.clock.leap(-10 * 3_600);
    // Whoever asks for more notices.
    assert_eq!(desk.next(&consumer).await.len(), 0);
    let is_due = |phase: &Phase| matches!(phase, Phase::Nacked(due) if *due <= desk.clock.now());
    until_any(&desk, id, is_due, "it is due at once, as it was to be").await;
    let again = desk.next(&consumer).await;
    assert_eq!(again.len(), 1, "the other waits for its day");
    let latest = desk.clock.now() + day;
    for phase in phases(&desk, id).await {
        assert!(!matches!(phase, Phase::Nacked(due) if due > latest));
    }
}

/// Gives back what was taken when the clock has just been set back.
async fn give_back(desk: &Desk, consumer: &Stored<HttpConsumer>, messages: &[Message]) {
    let id = ConsumerId(consumer.id);
    let minute = Duration::from_secs(60);
    let nack = |message: &Message| (message.leased.token(id.number()), minute, None);
    let settlement = Settlement {
        nack: messages.iter().map(nack).collect(),
        ..Settlement::default()
    };
    let settled = desk.engine.settle(consumer, &settlement).await.unwrap();
    assert_eq!(settled.settled, messages.len() as u64);
    let longest = desk.clock.now() + Duration::from_secs(120);
    let is_moved = |phases: &[Phase]| {
        phases.iter().all(|phase| match *phase {
            Phase::Leased { until, .. } => until < longest,
            Phase::Nacked(due) => due < longest,
            Phase::Expired(_) => false,
        })
    };
    until(desk, id, is_moved, "what waits was moved back").await;
    let earliest = desk.clock.now() + Duration::from_secs(50);
    let is_delayed = |phase: &Phase| match *phase {
        Phase::Nacked(due) => due >= earliest,
        _ => true,
    };
    assert!(phases(desk, id).await.iter().all(is_delayed));
}

#[tokio::test]
async fn what_is_given_back_after_the_clock_was_set_back_keeps_its_delay() {
    let mut desk = Desk::new().await;
    for id in ["a", "b", "c"] {
        desk.put(CUSTOMER, id, Some("{}")).await;
    }
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let messages = desk.next(&consumer).await;
    desk.clock.leap(-10 * 3_600);
    give_back(&desk, &consumer, &messages[..1]).await;
    desk.clock.leap(-10 * 3_600);
    desk.restart().await;
    give_back(&desk, &consumer, &messages[1..2]).await;
}

#[tokio::test]
async fn a_start_cuts_no_window_that_a_worker_was_promised() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let promised = ConsumerId(consumer.id);
    assert_eq!(desk.next(&consumer).await.len(), 1);
    let before = phases(&desk, promised).await;
    let mut shorter = consumer.value.clone();
    shorter.ack_wait_ms = 1_000;
    let updating = desk.engine.update_consumer(consumer, shorter);
    updating.await.unwrap();
    // Another one, that the timer comes to after it.
    let other = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let other_id = ConsumerId(other.id);
    assert!(other_id > promised);
    let mut value = other.value.clone();
    value.ack_wait_ms = 30_000;
    let (other, _) = desk.engine.update_consumer(other, value).await.unwrap();
    assert_eq!(desk.next(&other.consumer).await.len(), 1);
    desk.clock.leap(31);
    desk.restart().await;
    let come = "the timer has come to the other one";
    until_any(&desk, other_id, is_expired, come).await;
    assert_eq!(phases(&desk, promised).await, before);
}
