//! Objects that were read lately: every call of a worker asks for its token and its consumer.
//!
//! What is kept is what is durable. The writer forgets what it has changed after the commit and before
//! anybody is answered, so whoever was answered finds no older object here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headrace_model::OrgId;
use uuid::Uuid;

use crate::{Kind, Object, Write};

/// So many objects, of a kilobyte or two. When they are more, all are forgotten.
const CAPACITY: usize = 8_192;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    objects: HashMap<(Kind, Uuid), Object>,
    names: HashMap<(Kind, OrgId, String), Uuid>,
    /// Grows with every change: what was read before one must not be kept after it.
    changes: u64,
}

/// When something was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadAt(u64);

impl Cache {
    /// The object, or since when what is read now may be kept.
    pub(super) fn get(&self, kind: Kind, id: Uuid) -> Result<Object, ReadAt> {
        let state = self.lock();
        let found = state.objects.get(&(kind, id)).cloned();
        found.ok_or(ReadAt(state.changes))
    }

    /// The same, by a name that it owns.
    pub(super) fn named(&self, kind: Kind, org: OrgId, name: &str) -> Result<Object, ReadAt> {
        let state = self.lock();
        let id = state.names.get(&(kind, org, name.to_owned()));
        let found = id.and_then(|id| state.objects.get(&(kind, *id)));
        // It may have been renamed since its name was kept.
        let found =
            found.filter(|object| object.org == org && object.names.iter().any(|n| n == name));
        found.cloned().ok_or(ReadAt(state.changes))
    }

    /// Keeps an object, unless something was changed after it was read.
    pub(super) fn keep(&self, object: &Object, read_at: ReadAt) {
        let mut state = self.lock();
        if state.changes != read_at.0 {
            return;
        }
        if state.objects.len() >= CAPACITY {
            state.objects.clear();
            state.names.clear();
        }
        for name in &object.names {
            let key = (object.kind, object.org, name.clone());
            state.names.insert(key, object.id);
        }
        state
            .objects
            .insert((object.kind, object.id), object.clone());
    }

    /// Forgets what these writes have changed.
    pub(super) fn forget<'w>(&self, writes: impl IntoIterator<Item = &'w (Kind, Uuid)>) {
        let mut state = self.lock();
        state.changes += 1;
        for written in writes {
            if let Some(old) = state.objects.remove(written) {
                for name in old.names {
                    state.names.remove(&(old.kind, old.org, name));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which object a write changes.
pub(super) fn written(write: &Write) -> (Kind, Uuid) {
    match write {
        Write::Put(object) => (object.kind, object.id),
        Write::Delete { kind, id, .. } => (*kind, *id),
    }
}
