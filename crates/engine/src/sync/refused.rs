//! Records that the provider refuses to read by their id. What is in doubt about them must hold nothing
//! else up and must not be forgotten: each is noted, told, and asked for again, more and more seldom. A
//! reading of everything begins without these notes, for it shows what they stand for.

use std::sync::Arc;
use std::time::Duration;

use headrace_model::quota::Priority;
use tokio::sync::{Mutex, Notify};

use super::context::{Context, Watched};
use super::failure::{Failure, Next};
use super::notes::Refused;

/// The longest pause between two turns, while nothing of what is refused can be read.
const LONGEST: Duration = Duration::from_secs(6 * 3_600);
/// Records that are asked for in one step, and in one turn: whoever refuses thousands is not asked for
/// all of them each time.
const STEP: usize = 50;
const TURN: usize = 1_000;

/// What those share who note what is refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Held while notes are written or removed.
    turn: Mutex<()>,
    /// Rings when others are refused than before.
    news: Notify,
}

/// Asks again, more and more seldom, until the sync stops.
pub(super) async fn run(context: Arc<Context>, reading: Vec<Watched>) {
    let mut reading: Vec<(Watched, Option<String>)> =
        reading.into_iter().map(|watched| (watched, None)).collect();
    let first = context.parts.settings.failed_pause;
    let mut rest = first;
    loop {
        let mut read = 0;
        for (watched, last) in &mut reading {
            match watched.ask_again(last).await {
                Ok(count) => read += count,
                Err(failure) if matches!(failure.next(), Next::Stop | Next::Yield) => return,
                Err(failure) => {
                    let (sync, collection) = (context.id, &watched.id);
                    tracing::debug!(%sync, %collection, "refused records were not read: {failure}");
                }
            }
        }
        rest = match read {
            0 => (rest * 2).min(LONGEST.max(first)),
            _ => first,
        };
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            () = context.refusals.news.notified() => {
                rest = first;
                if context.pause(first).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl Watched {
    /// Notes and tells that the provider refuses to read these.
    pub(super) async fn note_refused(&self, ids: Vec<String>) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let at = self.context.now();
        let mut notes = Vec::with_capacity(ids.len());
        for id in ids.iter().cloned() {
            notes.push(self.note_of_refused(&Refused { id, at })?);
        }
        let _turn = self.context.refusals.turn.lock().await;
        self.context
            .append(&self.id, Vec::new(), Vec::new(), notes)
            .await?;
        if self.tell_refused(ids) {
            self.context.refusals.news.notify_one();
        }
        Ok(())
    }

    /// Tells that the provider refuses to read these. Answers whether that is news.
    pub(super) fn tell_refused(&self, ids: Vec<String>) -> bool {
        let board = &self.context.board;
        board.set(&self.id, |live| live.refuse(ids))
    }

    /// Tells what is noted, and nothing else.
    pub(super) async fn tell_noted(&self) -> Result<(), Failure> {
        let ids = ids(&self.all_refused().await?);
        self.context.board.set(&self.id, |live| {
            live.refused.clear();
            live.refuse(ids);
        });
        Ok(())
    }

    /// Reads what is noted once more, as far as a turn goes, and answers how many could be read. `last`
    /// is where the turn before ended.
    async fn ask_again(&self, last: &mut Option<String>) -> Result<usize, Failure> {
        let mut noted = self.all_refused().await?;
        self.tell_refused(ids(&noted));
        let before = |noted: &Refused| Some(self.note_name(&noted.id)) <= *last;
        let done = noted.partition_point(before);
        noted.rotate_left(done);
        noted.truncate(TURN);
        let (mut count, mut failed) = (0, 0);
        for step in noted.chunks(STEP) {
            let mut read = Vec::with_capacity(step.len());
            for refused in step {
                match self.ask_for(&refused.id).await {
                    Ok(true) => read.push(refused.clone()),
                    Ok(false) => {}
                    Err(failure) if matches!(failure.next(), Next::Stop | Next::Yield) => {
                        return Err(failure);
                    }
                    // It stays noted, and others may be read.
                    Err(_) => failed += 1,
                }
            }
            count += read.len();
            self.forget_refused(read).await?;
            *last = step.last().map(|noted| self.note_name(&noted.id));
            if failed > STEP {
                break;
            }
        }
        Ok(count)
    }

    /// Reads one once more. Answers whether it could be read.
    async fn ask_for(&self, id: &str) -> Result<bool, Failure> {
        let (seen, refused) = self.look_each([id.to_owned()], Priority::Sweep).await?;
        self.store_known(seen).await?;
        Ok(refused.is_empty())
    }

    /// Removes the notes of what could be read, unless it was refused once more since.
    async fn forget_refused(&self, read: Vec<Refused>) -> Result<(), Failure> {
        if read.is_empty() {
            return Ok(());
        }
        let _turn = self.context.refusals.turn.lock().await;
        let mut over = self.all_refused().await?;
        over.retain(|noted| read.contains(noted));
        let mut notes = Vec::with_capacity(over.len());
        for noted in &over {
            notes.push(self.forgotten_refused(&noted.id));
        }
        // First: where the store says no, the next turn tells what is still noted.
        self.context.board.set(&self.id, |live| {
            for noted in &over {
                live.refused.remove(&noted.id);
            }
        });
        self.context
            .append(&self.id, Vec::new(), Vec::new(), notes)
            .await?;
        Ok(())
    }
}

fn ids(refused: &[Refused]) -> Vec<String> {
    refused.iter().map(|refused| refused.id.clone()).collect()
}
