//! Answers kept for idempotency keys: sealed, for a day.

use std::time::Duration;

use headrace_model::Timestamp;
use headrace_store::{Answer, AnswerKey, Claim};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::random;
use crate::under_way::{Guard, UnderWay};
use crate::{Engine, Error};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// The keys whose requests are being worked on, with the requests' hashes. No other process works on
/// any: a claim without an answer that is not among them was abandoned.
pub(crate) type Running = UnderWay<AnswerKey, [u8; 32]>;

/// The request of a key is being worked on until this is dropped, however that comes.
pub type KeyInUse = Guard<AnswerKey, [u8; 32]>;

/// Begins the work of a request; what the key is used for now, where it is.
fn begin(running: &Running, key: &AnswerKey, request: [u8; 32]) -> Result<KeyInUse, Claim> {
    running
        .begin(key, request)
        .map_err(|by| match by == request {
            true => Claim::Running,
            false => Claim::OtherRequest,
        })
}

impl Engine {
    /// Claims a key for a request with this hash, or tells what it was used for. Whoever works on the
    /// request keeps the guard until the answer is kept.
    pub async fn claim(
        &self,
        key: &AnswerKey,
        request: [u8; 32],
    ) -> Result<(Claim, Option<KeyInUse>), Error> {
        let in_use = match begin(&self.running, key, request) {
            Ok(in_use) => in_use,
            Err(claim) => return Ok((claim, None)),
        };
        let now = self.clock.now();
        let claim = self.store.claim(key, request, now, now - KEPT).await?;
        Ok((claim, Some(in_use)))
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

#[cfg(test)]
mod tests {
    use headrace_model::OrgId;

    use super::*;

    #[test]
    fn a_key_is_free_again_once_nobody_works_on_its_request() {
        let key = AnswerKey {
            org: OrgId(Uuid::nil()),
            endpoint: "POST /v1/streams".to_owned(),
            key: "k".to_owned(),
        };
        let running = Running::default();
        let in_use = begin(&running, &key, [1; 32]).unwrap();
        assert_eq!(begin(&running, &key, [1; 32]).unwrap_err(), Claim::Running);
        assert_eq!(
            begin(&running, &key, [2; 32]).unwrap_err(),
            Claim::OtherRequest
        );
        drop(in_use);
        assert!(begin(&running, &key, [2; 32]).is_ok());
    }
}
