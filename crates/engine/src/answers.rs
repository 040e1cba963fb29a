//! Answers kept for idempotency keys: sealed, for a day.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_store::{Answer, AnswerKey, Claim};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::random;
use crate::{Engine, Error};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

impl Engine {
    /// Claims a key for a request with this hash, or tells what it was used for.
    pub async fn claim(&self, key: &AnswerKey, request: [u8; 32]) -> Result<Claim, Error> {
        let now = self.clock.now();
        Ok(self.store.claim(key, request, now, now - KEPT).await?)
    }

    /// The id of what a request makes that claimed a key at this time: the same at every attempt, so
    /// that what one made that did not live to answer is found and not made again.
    pub fn id_for(key: &AnswerKey, request: [u8; 32], since: Timestamp) -> Uuid {
        let mut hash = Sha256::new();
        hash.update(aad(key).as_bytes());
        hash.update(request);
        let mut random = [0; 10];
        for (byte, hashed) in random.iter_mut().zip(hash.finalize()) {
            *byte = hashed;
        }
        headrace_model::StreamId::new(since, random).0
    }

    /// Whether the work for a claimed key was done is not known: the same request may try again.
    pub async fn abandon(&self, key: &AnswerKey) -> Result<(), Error> {
        Ok(self.store.abandon(key).await?)
    }

    /// Keeps the answer for a claimed key; `None` gives the key free again.
    pub async fn keep_answer(
        &self,
        key: &AnswerKey,
        answer: Option<(u16, &[u8])>,
    ) -> Result<(), Error> {
        let answer = match answer {
            None => None,
            Some((status, body)) => {
                let sealed = self.sync.keyring.seal(aad(key).as_bytes(), random(), body);
                let sealed = sealed.map_err(|source| Error::Sealing {
                    action: "seal",
                    source: Box::new(source),
                })?;
                Some(Answer {
                    status,
                    body: sealed.into_bytes(),
                })
            }
        };
        Ok(self.store.answer(key, answer).await?)
    }

    /// Opens a kept answer's body.
    pub fn open_answer(&self, key: &AnswerKey, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let opened = self
            .sync
            .keyring
            .open(aad(key).as_bytes(), &String::from_utf8_lossy(sealed));
        opened.map_err(|source| Error::Sealing {
            action: "open",
            source: Box::new(source),
        })
    }
}

fn aad(key: &AnswerKey) -> String {
    format!("answer {} {} {}", key.org, key.endpoint, key.key)
}
