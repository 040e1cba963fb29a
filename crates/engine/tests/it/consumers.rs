//! What a crash or a failure leaves of a change of a consumer, and what a redrive may ask for.

use headrace_engine::{Error, Settlement, Stored};
use headrace_model::config::{DeliverPolicy, HttpConsumer, Unapplied};
use headrace_model::filter::Filter;
use headrace_model::{ConsumerId, RecordId};
use headrace_store::{Message, StoreError};
use uuid::Uuid;

use crate::desk::{CUSTOMER, Desk, ids};

/// A consumer that is done with the stream's record `a`, and has this left to do.
async fn with_note(desk: &mut Desk, note: Unapplied) -> Stored<HttpConsumer> {
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let mut consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let messages = desk.next(&consumer).await;
    desk.ack(&consumer, &messages).await;
    consumer.value.unapplied = note;
    let saving = consumer.save(&*desk.store, consumer.updated_at);
    saving.await.unwrap();
    consumer
}

const RESTART: Unapplied = Unapplied {
    restart: Some(0),
    refilter: false,
};

#[tokio::test]
async fn a_restart_that_was_noted_comes_before_the_next_message() {
    let mut desk = Desk::new().await;
    let consumer = with_note(&mut desk, RESTART).await;
    assert_eq!(ids(&desk.next(&consumer).await), ["a"], "it began anew");
    assert!(desk.next(&consumer).await.is_empty(), "once");
    let id = consumer.id.to_string();
    let stored = desk.engine.consumer(desk.org, &id).await.unwrap();
    assert!(stored.value.unapplied.is_nothing());
}

/// It was noted before, and could not be made.
#[tokio::test]
async fn a_restart_that_was_noted_does_not_undo_a_later_reset() {
    let mut desk = Desk::new().await;
    let end = Unapplied {
        restart: Some(1),
        refilter: false,
    };
    let consumer = with_note(&mut desk, end).await;
    let resetting = desk.engine.reset_consumer(&consumer, DeliverPolicy::All);
    resetting.await.unwrap();
    assert_eq!(ids(&desk.next(&consumer).await), ["a"]);
}

/// A power cut and a restored backup raise it too.
#[tokio::test]
async fn a_restart_that_was_noted_is_made_whatever_the_generation() {
    let mut desk = Desk::new().await;
    let consumer = with_note(&mut desk, RESTART).await;
    let forget = &mut |state: &mut headrace_model::delivery::Consumer| {
        state.forget_deliveries(consumer.updated_at, 1_000);
    };
    let forgetting = desk.store.update(ConsumerId(consumer.id), forget);
    forgetting.await.unwrap();
    assert_eq!(ids(&desk.next(&consumer).await), ["a"]);
}

#[tokio::test]
async fn a_state_without_its_consumer_is_dropped_at_the_next_start() {
    let mut desk = Desk::new().await;
    let made = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let unmade = ConsumerId(Uuid::from_u128(77));
    let stating = desk.store.create_consumer(desk.stream, unmade, 0);
    stating.await.unwrap();
    desk.restart().await;
    let looked = desk.store.inspect(unmade, &mut |_| {}).await;
    assert!(matches!(looked, Err(StoreError::NoConsumer)));
    assert_eq!(desk.store.consumers().await.unwrap(), [ConsumerId(made.id)]);
}

#[tokio::test]
async fn a_redrive_by_id_is_bounded() {
    const COUNT: usize = 1_001;
    let mut desk = Desk::new().await;
    for n in 0..COUNT {
        desk.put(CUSTOMER, &n.to_string(), Some("{}")).await;
    }
    let consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let number = ConsumerId(consumer.id).number();
    let mut dead: Vec<RecordId> = Vec::new();
    while dead.len() < COUNT {
        let messages = desk.next(&consumer).await;
        let reject = |message: &Message| (message.leased.token(number), None);
        let settlement = Settlement {
            reject: messages.iter().map(reject).collect(),
            ..Settlement::default()
        };
        desk.engine.settle(&consumer, &settlement).await.unwrap();
        dead.extend(messages.iter().map(|message| message.row.record));
    }
    let redrive = async |records| desk.engine.redrive(&consumer, Some(records)).await;
    let too_many = redrive(&dead).await;
    assert!(matches!(too_many, Err(Error::Invalid(_))));
    let (last, first) = dead.split_last().unwrap();
    assert_eq!(redrive(first).await.unwrap(), first.len() as u64);
    let last = std::slice::from_ref(last);
    assert!(matches!(redrive(last).await, Err(Error::Conflict(_))));
    assert_eq!(desk.next(&consumer).await.len(), 100);
    assert_eq!(redrive(last).await.unwrap(), 1, "there is room again");
}
