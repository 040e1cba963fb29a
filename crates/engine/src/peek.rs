//! Looking at messages and dead letters without changing anything.

use std::fmt;

use headrace_model::config::HttpConsumer;
use headrace_model::delivery::{Consumer, DeadLetter, Outstanding, Phase};
use headrace_model::{ConsumerId, RecordId, Timestamp};
use headrace_store::{Range, Row};

use crate::entity::Stored;
use crate::records::Room;
use crate::selection::LaneBook;
use crate::{Engine, Error};

/// Which messages to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// What the next call would be given, now or when it is due.
    Available,
    /// What is with workers.
    Delivered,
}

/// Where a message is among those looked at: what waits for its next delivery by when it is due, what
/// is held, what lies beyond the position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeekPlace {
    stage: Stage,
    due: Timestamp,
    idx: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Outstanding = 0,
    Held = 1,
    Beyond = 2,
}

/// Messages that were looked at.
#[derive(Clone, Debug)]
pub struct PeekPage {
    /// The messages, in the order of delivery.
    pub messages: Vec<Peeked>,
    /// The lanes and syncs of their records.
    pub book: LaneBook,
    /// The last one's place, if there are more.
    pub next: Option<PeekPlace>,
}

/// A message that was looked at.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// The record's version.
    pub row: Row,
    /// Deliveries so far.
    pub attempts: u32,
    /// When its ack window ends, or it is due again.
    pub until: Option<Timestamp>,
    /// What the last worker said.
    pub last_error: Option<std::sync::Arc<str>>,
}

/// Dead letters, with the current entries of their records.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The letters.
    pub letters: Vec<(DeadLetter, Option<Row>)>,
    /// The lanes and syncs of their records.
    pub book: LaneBook,
    /// Whether there are more beyond the last one.
    pub more: bool,
}

/// What the consumer's state tells of a message.
struct Known {
    place: PeekPlace,
    record: RecordId,
    entry: Option<Outstanding>,
}

impl Engine {
    /// Looks at messages: what would come next, or what is with workers. At most `limit`, after a
    /// place, as far as an answer has room.
    pub async fn peek(
        &self,
        consumer: &Stored<HttpConsumer>,
        what: Peek,
        after: Option<PeekPlace>,
        limit: usize,
    ) -> Result<PeekPage, Error> {
        let stream = consumer.value.stream_id;
        let mut page = PeekPage {
            messages: Vec::new(),
            book: self.lane_book(consumer.org, stream).await?,
            next: None,
        };
        let (mut known, mut position) = (Vec::new(), 0);
        let look = &mut |state: &Consumer| {
            position = state.position();
            // One more than asked for tells whether there is more.
            let rest = of_state(state, what).filter(|known| Some(known.place) > after);
            known = rest.take(limit + 1).collect();
        };
        self.store.inspect(ConsumerId(consumer.id), look).await?;
        let cut = known.len() > limit;
        let (mut room, mut last) = (Room::of_answer(), after);
        for Known {
            place,
            record,
            entry,
        } in known
        {
            let row = self.store.record(stream, record).await?;
            if let Some(row) = row.filter(|row| row.idx == place.idx) {
                if page.messages.len() == limit || !room.takes(&row) {
                    page.next = last;
                    return Ok(page);
                }
                page.messages.push(Peeked::of(row, entry));
            }
            last = Some(place);
        }
        if cut {
            page.next = last;
        } else if what == Peek::Available {
            let beyond = after.filter(|after| after.stage == Stage::Beyond);
            let range = Range {
                after: beyond.map_or(position, |after| position.max(after.idx)),
                limit: (limit - page.messages.len()).max(1),
                max_bytes: room.left(),
                newest_first: false,
            };
            let selection = page.book.select(&consumer.value.filters);
            let rest = self.store.read(stream, &selection, range).await?;
            let mut more = rest.more;
            for row in rest.rows {
                let place = PeekPlace {
                    stage: Stage::Beyond,
                    due: Timestamp::default(),
                    idx: row.idx,
                };
                if page.messages.len() == limit || !room.takes(&row) {
                    more = true;
                    break;
                }
                page.messages.push(Peeked::of(row, None));
                last = Some(place);
            }
            page.next = last.filter(|_| more);
        }
        Ok(page)
    }

    /// Dead letters with the current bodies of their records, as far as an answer has room.
    pub async fn dead_letters(
        &self,
        consumer: &Stored<HttpConsumer>,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<DeadLetters, Error> {
        let stream = consumer.value.stream_id;
        let book = self.lane_book(consumer.org, stream).await?;
        let id = ConsumerId(consumer.id);
        // One more than asked for tells whether there is more.
        let found = self.store.dead_letters(id, after, limit + 1).await?;
        let (mut letters, mut more) = (Vec::with_capacity(found.len()), false);
        let mut room = Room::of_answer();
        for letter in found {
            let row = self.store.record(stream, letter.record).await?;
            let fits = row.as_ref().is_none_or(|row| room.takes(row));
            if letters.len() == limit || !fits {
                more = true;
                break;
            }
            letters.push((letter, row));
        }
        Ok(DeadLetters {
            letters,
            book,
            more,
        })
    }
}

fn of_state(state: &Consumer, what: Peek) -> Box<dyn Iterator<Item = Known> + '_> {
    match what {
        Peek::Available => Box::new(state.waiting().map(|(idx, record, entry)| {
            let due = entry.map(|entry| time_of(entry.phase));
            let stage = due.map_or(Stage::Held, |_| Stage::Outstanding);
            let due = due.unwrap_or_default();
            Known {
                place: PeekPlace { stage, due, idx },
                record,
                entry: entry.cloned(),
            }
        })),
        Peek::Delivered => {
            let leased = |entry: &Outstanding| matches!(entry.phase, Phase::Leased { .. });
            let delivered = state.outstanding().filter(move |(_, entry)| leased(entry));
            Box::new(delivered.map(|(idx, entry)| Known {
                place: PeekPlace {
                    stage: Stage::Outstanding,
                    due: Timestamp::default(),
                    idx,
                },
                record: entry.record,
                entry: Some(entry.clone()),
            }))
        }
    }
}

fn time_of(phase: Phase) -> Timestamp {
    match phase {
        Phase::Leased { until: at, .. } | Phase::Expired(at) | Phase::Nacked(at) => at,
    }
}

impl Peeked {
    fn of(row: Row, entry: Option<Outstanding>) -> Self {
        Self {
            row,
            attempts: entry.as_ref().map_or(0, |entry| entry.attempts),
            until: entry.as_ref().map(|entry| time_of(entry.phase)),
            last_error: entry.and_then(|entry| entry.last_error),
        }
    }
}

impl PeekPlace {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let stage = match parts.next()? {
            "0" => Stage::Outstanding,
            "1" => Stage::Held,
            "2" => Stage::Beyond,
            _ => return None,
        };
        let due = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let idx = parts.next()?.parse().ok()?;
        Some(Self { stage, due, idx })
    }
}

impl fmt::Display for PeekPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, due, idx } = self;
        write!(f, "{}.{}.{idx}", *stage as u8, due.as_micros())
    }
}
