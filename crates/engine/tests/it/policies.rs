//! Where a consumer begins.

use headrace_engine::clock::Clock;
use headrace_engine::only;
use headrace_model::config::DeliverPolicy;
use headrace_model::filter::Filter;

use crate::desk::{CHARGE, CUSTOMER, Desk, ids};

fn of(collection: &str) -> Filter {
    Filter {
        collection_id: only(collection),
        ..Filter::default()
    }
}

#[tokio::test]
async fn last_begins_with_the_newest_entry_that_the_filter_takes() {
    let mut desk = Desk::new().await;
    let none_yet = desk.consumer(DeliverPolicy::Last, of(CHARGE)).await;
    for (collection, id) in [
        (CHARGE, "ch_1"),
        (CHARGE, "ch_2"),
        (CUSTOMER, "cus_1"),
        (CUSTOMER, "cus_2"),
    ] {
        desk.put(collection, id, Some("{}")).await;
    }
    let charges = desk.consumer(DeliverPolicy::Last, of(CHARGE)).await;
    let refunds = desk
        .consumer(DeliverPolicy::Last, of("stripe:refund"))
        .await;
    desk.put(CHARGE, "ch_3", Some("{}")).await;
    desk.put("stripe:refund", "re_1", Some("{}")).await;
    assert_eq!(ids(&desk.next(&charges).await), ["ch_2", "ch_3"]);
    assert_eq!(ids(&desk.next(&refunds).await), ["re_1"]);
    assert_eq!(ids(&desk.next(&none_yet).await), ["ch_1", "ch_2", "ch_3"]);
}

#[tokio::test]
async fn a_time_begins_with_the_first_entry_that_is_not_earlier() {
    let mut desk = Desk::new().await;
    desk.put(CUSTOMER, "before", Some("{}")).await;
    desk.clock.leap(100);
    let time = desk.clock.now();
    desk.put(CUSTOMER, "after", Some("{}")).await;
    desk.clock.leap(100);
    desk.put(CUSTOMER, "later", Some("{}")).await;
    let at = async |time| {
        let consumer = desk.consumer(DeliverPolicy::FromTime(time), Filter::default());
        desk.next(&consumer.await).await
    };
    assert_eq!(ids(&at(time).await), ["after", "later"]);
    let all = ids(&at(Default::default()).await).len();
    assert_eq!(all, 3);
    assert!(at(desk.clock.now()).await.is_empty());
    let window = desk.consumer(DeliverPolicy::Window(150_000), Filter::default());
    assert_eq!(ids(&desk.next(&window.await).await), ["after", "later"]);
}
