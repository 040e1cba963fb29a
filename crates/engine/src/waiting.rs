//! How many long polls a consumer has at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use headrace_model::ConsumerId;

use crate::Error;

/// The long polls under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<HashMap<ConsumerId, u32>>>);

/// One long poll's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Waiting,
    consumer: ConsumerId,
}

impl Waiting {
    /// Takes a place, if there are fewer than `limit`.
    pub(crate) fn enter(&self, consumer: ConsumerId, limit: u32) -> Result<Place, Error> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.entry(consumer).or_insert(0);
        if *taken >= limit {
            return Err(Error::TooMany(format!(
                "{limit} calls are waiting for this consumer already: wait for one to end, or raise max_waiting"
            )));
        }
        *taken += 1;
        Ok(Place {
            waiting: self.clone(),
            consumer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self
            .waiting
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = places.get_mut(&self.consumer) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&self.consumer);
            }
        }
    }
}
