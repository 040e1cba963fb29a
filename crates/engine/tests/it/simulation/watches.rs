//! Watching a stream or a consumer, in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use uuid::Uuid;

use super::world::lock;

/// Who watches what.
#[derive(Default)]
pub(super) struct Watches {
    watched: Arc<Mutex<HashMap<Uuid, Vec<watch::Sender<u64>>>>>,
}

impl Watches {
    /// Everybody who watches is told in the order in which they began: the channel itself tells its
    /// receivers in any order.
    pub(super) fn in_order(
        &self,
        id: Uuid,
        mut inner: watch::Receiver<u64>,
    ) -> watch::Receiver<u64> {
        let sender = watch::Sender::new(*inner.borrow_and_update());
        let receiver = sender.subscribe();
        let mut all = lock(&self.watched);
        match all.get_mut(&id) {
            Some(senders) => senders.push(sender),
            None => {
                all.insert(id, vec![sender]);
                let watched = Arc::clone(&self.watched);
                tokio::spawn(async move {
                    while inner.changed().await.is_ok() {
                        let now = *inner.borrow_and_update();
                        if let Some(senders) = lock(&watched).get_mut(&id) {
                            senders.retain(|sender| sender.send(now).is_ok());
                        }
                    }
                });
            }
        }
        receiver
    }
}
