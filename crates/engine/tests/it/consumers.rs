//! What a crash or a failure leaves of a change of a consumer, and what a redrive may ask for.

use headrace_engine::{Error, Settlement, Stored};
use headrace_model::config::{DeliverPolicy, HttpConsumer, Unapplied};
use headrace_model::filter::Filter;
use headrace_model::{ConsumerId, RecordId};
use headrace_store::{Message, StoreError};
use uuid::Uuid;

use crate::desk::{CUSTOMER, Desk, ids};

async fn generation(desk: &Desk, consumer: &Stored<HttpConsumer>) -> u32 {
    let mut generation = 0;
    let look = &mut |state: &headrace_model::delivery::Consumer| generation = state.generation();
    let looking = desk.store.inspect(ConsumerId(consumer.id), look);
    looking.await.unwrap();
    generation
}

/// A consumer that is done with the stream's record `a`, and has this left to do.
async fn with_note(desk: &mut Desk, note: impl FnOnce(u32) -> Unapplied) -> Stored<HttpConsumer> {
    desk.put(CUSTOMER, "a", Some("{}")).await;
    let mut consumer = desk.consumer(DeliverPolicy::All, Filter::default()).await;
    let messages = desk.next(&consumer).await;
    desk.ack(&consumer, &messages).await;
    consumer.value.unapplied = note(generation(desk, &consumer).await);
    let saving = consumer.save(&*desk.store, consumer.updated_at);
    saving.await.unwrap();
    consumer
}

#[tokio::test]
async fn a_restart_that_was_noted_comes_before_the_next_message() {
    let mut desk = Desk::new().await;
    let consumer = with_note(&mut desk, |generation| Unapplied {
        restart: Some(0),
        generation,
        refilter: false,
    });
    let consumer = consumer.await;
    assert_eq!(ids(&desk.next(&consumer).await), ["a"], "it began anew");
    assert!(desk.next(&consumer).await.is_empty(), "once");
}

#[tokio::test]
async fn a_restart_that_was_done_is_not_done_again() {
    let mut desk = Desk::new().await;
    let consumer = with_note(&mut desk, |generation| Unapplied {
        restart: Some(0),
        generation: generation.wrapping_sub(1),
        refilter: false,
    });
    let consumer = consumer.await;
    let named = HttpConsumer {
        name: Some("n".to_owned()),
        ..consumer.value.clone()
    };
    let patching = desk.engine.update_consumer(consumer, named);
    let (view, restarted) = patching.await.unwrap();
    assert!(!restarted);
    assert_eq!(view.counts.pending, 0, "a was delivered");
    assert!(view.consumer.value.unapplied.is_nothing());
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
