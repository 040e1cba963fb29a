//! Ack windows end by themselves.

use std::time::Duration;

use headrace_model::config::DeliverPolicy;
use headrace_model::delivery::Phase;
use headrace_model::filter::Filter;
use headrace_model::{ConsumerId, Timestamp};
use headrace_store::{Kind, Object, Write};
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
    let mut wake = desk.store.watch_consumer(id).await.unwrap();
    desk.restart().await;
    let woken = tokio::time::timeout(Duration::from_secs(60), wake.changed());
    woken.await.expect("the window ends").unwrap();
    let mut expired = 0;
    let mut look = |state: &headrace_model::delivery::Consumer| {
        let ended = state.outstanding();
        expired = ended
            .filter(|(_, entry)| matches!(entry.phase, Phase::Expired(_)))
            .count();
    };
    desk.store.inspect(id, &mut look).await.unwrap();
    assert_eq!(expired, 1);
}
