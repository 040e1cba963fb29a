//! Backups: one copy of everything, of all organisations, while others go on.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{Caller, Engine, Error};

/// One backup is made at a time: each reads all there is.
#[derive(Debug, Default)]
pub(crate) struct Backups(Arc<Mutex<()>>);

/// The turn of one backup: the next one can be made when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct BackupTurn(#[expect(dead_code, reason = "held, never read")] OwnedMutexGuard<()>);

impl Engine {
    /// Whether the caller may have everything. A backup holds all organisations: where there are several,
    /// only the operator may, whose token is the environment's.
    pub async fn may_back_up(&self, caller: &Caller) -> Result<bool, Error> {
        let is_bound = caller.consumer_ids.is_some() || caller.stream_ids.is_some();
        let is_operator = caller.token.is_nil();
        Ok(!is_bound && (is_operator || self.orgs().await?.len() == 1))
    }

    /// Writes a backup into this new file. No other one is made while the turn that is answered is held.
    pub async fn back_up(&self, to: &Path) -> Result<BackupTurn, Error> {
        let Ok(turn) = Arc::clone(&self.backups.0).try_lock_owned() else {
            return Err(Error::Conflict(
                "a backup is being made or downloaded already, or the room of the last one is being given back: wait until that is done".to_owned(),
            ));
        };
        // Restoring asks the machine's clock how long ago this was: rather too long than too short.
        let made_at = self.clock.now().min(self.clock.machine());
        self.store.back_up(to, made_at).await?;
        Ok(BackupTurn(turn))
    }
}
