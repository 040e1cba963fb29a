//! What this process is working on: begun once at a time, and over however it ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The work that is under way, by key, with what was told of it.
#[derive(Debug)]
pub(crate) struct UnderWay<K, V>(Arc<Mutex<HashMap<K, V>>>);

/// The work of this key is under way until this is dropped, after a panic too.
#[derive(Debug)]
pub struct Guard<K: Hash + Eq, V> {
    work: UnderWay<K, V>,
    key: K,
}

impl<K, V> Default for UnderWay<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> UnderWay<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> UnderWay<K, V> {
    /// Begins the work of a key; what was told of it, where somebody is at it.
    pub(crate) fn begin(&self, key: &K, told: V) -> Result<Guard<K, V>, V> {
        match self.lock().entry(key.clone()) {
            Entry::Occupied(by) => Err(by.get().clone()),
            Entry::Vacant(free) => {
                free.insert(told);
                Ok(Guard {
                    work: Self(Arc::clone(&self.0)),
                    key: key.clone(),
                })
            }
        }
    }

    /// Whether somebody is at it.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.lock().contains_key(key)
    }
}

impl<K: Hash + Eq, V> Drop for Guard<K, V> {
    fn drop(&mut self) {
        self.work.lock().remove(&self.key);
    }
}
