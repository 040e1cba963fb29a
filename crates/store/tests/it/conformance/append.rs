//! Appending: newer wins, indexes without holes, cursors and fences in the same transaction.

use headrace_store::Outcome;

use super::Backend;
use super::world::*;

pub(crate) async fn newer_wins_and_older_is_stale(backend: &impl Backend) {
    let store = backend.open().await;
    let new = |idx| Outcome::Appended { idx, new: true };
    let changed = |idx| Outcome::Appended { idx, new: false };
    assert_eq!(put(&*store, "a", 100, "1").await, new(1));
    assert_eq!(put(&*store, "b", 100, "1").await, new(2));
    assert_eq!(put(&*store, "a", 110, "2").await, changed(3));
    assert_eq!(put(&*store, "a", 105, "3").await, Outcome::Stale);
    assert_eq!(put(&*store, "a", 120, "2").await, Outcome::Unchanged);
    assert_eq!(put(&*store, "a", 111, "4").await, Outcome::Doubt { idx: 3 });
    assert_eq!(short(&log(&*store).await), ["2:b=1", "3:a=2"]);
    assert_eq!(store.last_idx(STREAM).await.unwrap(), 3);
}
