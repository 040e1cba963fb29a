//! A small world to test in: one stream, observations with short ids, a clock that is turned by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headrace_model::delivery::{Policy, Settled, Token};
use headrace_model::record::{Content, Observation, Origin, Version};
use headrace_model::{ConsumerId, OrgId, RecordId, StreamId, SyncId, Timestamp};
use headrace_store::{
    Appended, Batch, Message, Next, Outcome, Range, Result, Row, Selection, Store,
};
use uuid::Uuid;

pub(crate) const COLLECTION: &str = "stripe:customer";

pub(crate) const STREAM: StreamId = StreamId(Uuid::from_u128(1));
pub(crate) const SYNC: SyncId = SyncId(Uuid::from_u128(2));
pub(crate) const CONSUMER: ConsumerId = ConsumerId(Uuid::from_u128(3));
pub(crate) const ORG: OrgId = OrgId(Uuid::from_u128(4));

pub(crate) const POLICY: Policy = Policy {
    ack_wait: Duration::from_secs(30),
    max_deliver: Some(3),
    max_ack_pending: 1_000,
};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn record(upstream_id: &str) -> RecordId {
    RecordId::of(SYNC, COLLECTION, upstream_id)
}

/// A record seen at this second; its hash is that of its text.
pub(crate) fn seen(upstream_id: &str, second: i64, data: &str) -> Observation {
    let hash = data.bytes().fold(1, |hash: u128, byte| {
        hash.wrapping_mul(257) + u128::from(byte)
    });
    observed(
        upstream_id,
        second,
        Content::Present {
            data: Bytes::from(data.to_owned()),
            hash,
        },
    )
}

/// A record seen to be gone at this second.
pub(crate) fn gone(upstream_id: &str, second: i64) -> Observation {
    observed(upstream_id, second, Content::Gone)
}

fn observed(upstream_id: &str, second: i64, content: Content) -> Observation {
    Observation {
        upstream_id: upstream_id.to_owned(),
        parent_id: None,
        content,
        version: Version::Seen(at(second)),
        origin: Origin::Read,
        created_at: None,
        updated_at: None,
    }
}

/// A batch of one collection, under no lease.
pub(crate) fn batch(seen: impl IntoIterator<Item = Observation>) -> Batch {
    batch_of(SYNC, COLLECTION, seen)
}

pub(crate) fn batch_of(
    sync: SyncId,
    collection: &str,
    seen: impl IntoIterator<Item = Observation>,
) -> Batch {
    let collection: Arc<str> = Arc::from(collection);
    let seen = seen.into_iter();
    Batch {
        sync,
        fence: None,
        seen: seen.map(|seen| (Arc::clone(&collection), seen)).collect(),
        purge: Vec::new(),
        cursors: Vec::new(),
    }
}

/// Appends one batch at this second.
pub(crate) async fn append(store: &dyn Store, second: i64, batch: Batch) -> Appended {
    let mut results = store.append(STREAM, at(second), vec![batch]).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0).unwrap()
}

/// Appends one observation at the second it was made.
pub(crate) async fn put(store: &dyn Store, upstream_id: &str, second: i64, data: &str) -> Outcome {
    let appended = append(store, second, batch([seen(upstream_id, second, data)])).await;
    appended.outcomes[0]
}

/// Takes a record out of the stream.
pub(crate) async fn purge(store: &dyn Store, upstream_id: &str) -> usize {
    let purge = Batch {
        purge: vec![record(upstream_id)],
        ..batch([])
    };
    append(store, 0, purge).await.purged
}

pub(crate) fn everything() -> Selection {
    Selection::default()
}

/// Everything after an index, in log order.
pub(crate) const fn all_after(after: u64) -> Range {
    Range {
        after,
        limit: 1_000,
        max_bytes: usize::MAX,
        newest_first: false,
    }
}

/// What the log holds.
pub(crate) async fn log(store: &dyn Store) -> Vec<Row> {
    let page = store
        .read(STREAM, &everything(), all_after(0))
        .await
        .unwrap();
    assert!(!page.more);
    page.rows
}

/// `idx:upstream id=data` of rows, with a `-` for tombstones.
pub(crate) fn short<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    let short = |row: &Row| {
        let sign = if row.deleted { "-" } else { "" };
        let data = String::from_utf8_lossy(&row.data);
        format!("{}:{sign}{}={data}", row.idx, row.upstream_id)
    };
    rows.into_iter().map(short).collect()
}

/// A worker of one consumer.
#[derive(Clone, Copy)]
pub(crate) struct Worker<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) consumer: ConsumerId,
    pub(crate) policy: Policy,
}

impl<'a> Worker<'a> {
    /// A worker of a consumer that was just made and gets everything.
    pub(crate) async fn new(store: &'a dyn Store) -> Self {
        store.create_consumer(STREAM, CONSUMER, 0).await.unwrap();
        Self::of(store)
    }

    /// A worker of the consumer as it is.
    pub(crate) fn of(store: &'a dyn Store) -> Self {
        Self {
            store,
            consumer: CONSUMER,
            policy: POLICY,
        }
    }

    pub(crate) async fn next(&self, second: i64, batch: usize) -> Vec<Message> {
        self.next_of(second, batch, &everything()).await
    }

    pub(crate) async fn next_of(
        &self,
        second: i64,
        batch: usize,
        selection: &Selection,
    ) -> Vec<Message> {
        self.try_next(second, batch, selection).await.unwrap()
    }

    pub(crate) async fn try_next(
        &self,
        second: i64,
        batch: usize,
        selection: &Selection,
    ) -> Result<Vec<Message>> {
        let upto = self.store.last_idx(STREAM).await?;
        let next = Next {
            now: at(second),
            policy: &self.policy,
            selection,
            upto,
            batch,
            max_bytes: usize::MAX,
        };
        self.store.next(self.consumer, next).await
    }

    pub(crate) async fn ack(&self, message: &Message) -> Settled {
        self.ack_token(message.leased.token(message.consumer)).await
    }

    pub(crate) async fn ack_token(&self, token: Token) -> Settled {
        let mut settled = Settled::Stale;
        self.store
            .update(self.consumer, &mut |consumer| {
                settled = consumer.ack(&token)
            })
            .await
            .unwrap();
        settled
    }

    pub(crate) async fn nack(&self, message: &Message, second: i64, delay: u64) -> Settled {
        let token = message.leased.token(message.consumer);
        let delay = Duration::from_secs(delay);
        let mut settled = Settled::Stale;
        self.store
            .update(self.consumer, &mut |consumer| {
                let error = Some("no".into());
                settled = consumer.nack(&token, at(second), delay, error, &self.policy);
            })
            .await
            .unwrap();
        settled
    }

    pub(crate) async fn reject(&self, message: &Message, second: i64) -> Settled {
        let token = message.leased.token(message.consumer);
        let mut settled = Settled::Stale;
        self.store
            .update(self.consumer, &mut |consumer| {
                settled = consumer.reject(&token, at(second), Some("bad".into()));
            })
            .await
            .unwrap();
        settled
    }

    /// `(pending, ack_pending, dead)`.
    pub(crate) async fn counts(&self) -> (u64, u64, u64) {
        let counts = self
            .store
            .counts(self.consumer, &everything())
            .await
            .unwrap();
        (counts.pending, counts.ack_pending, counts.dead)
    }
}

/// `upstream id=data×attempts` of messages.
pub(crate) fn brief(messages: &[Message]) -> Vec<String> {
    let brief = |message: &Message| {
        let data = String::from_utf8_lossy(&message.row.data);
        format!(
            "{}={data}×{}",
            message.row.upstream_id, message.leased.attempts
        )
    };
    messages.iter().map(brief).collect()
}
