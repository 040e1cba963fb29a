//! Scripted misbehaviour: which requests go wrong, and how.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// One rule. The first rule in the queue that matches a request decides its fate.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Matches requests whose path starts with this, such as `/v1/customers`.
    pub path: String,
    /// Matches requests with this method only, such as `GET`; all when absent.
    pub method: Option<String>,
    /// Matching requests to let through first.
    pub skip: u32,
    /// Matching requests to spoil after those; the rule is gone afterwards.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a spoilt request.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// It is answered with this, and not carried out.
    Status {
        /// HTTP status.
        code: u16,
        /// Headers in addition to the usual ones.
        headers: Vec<(String, String)>,
        /// Body, sent as JSON.
        body: String,
    },
    /// The connection closes without an answer, and the request is not carried out.
    ResetConnection,
    /// The request is carried out, then the connection closes without an answer.
    LoseAnswer,
    /// The request is carried out, and the connection closes halfway through the answer's body.
    TruncateBody,
    /// The request is carried out after this time.
    Delay(Duration),
    /// It is answered 200 with these bytes as JSON, and not carried out.
    RawBody(Bytes),
}

impl Fault {
    /// Spoils the next request to a path that starts with `path`.
    pub fn once(path: &str, kind: FaultKind) -> Self {
        Self {
            path: path.to_owned(),
            method: None,
            skip: 0,
            times: 1,
            kind,
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        path.starts_with(&self.path) && self.method.as_deref().is_none_or(|own| own == method)
    }
}

/// The queue of a sandbox's faults, shared with its server.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Appends a rule; one with no times to act is dropped.
    pub fn push(&self, fault: Fault) {
        if fault.times > 0 {
            self.queue().push(fault);
        }
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.queue().clear();
    }

    /// Rules that have not yet spoilt all they should.
    pub fn pending(&self) -> usize {
        self.queue().len()
    }

    /// The fate of a request; `None` when nothing is to happen to it.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<FaultKind> {
        let mut queue = self.queue();
        let index = queue.iter().position(|fault| fault.matches(method, path))?;
        let fault = queue.get_mut(index)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let kind = fault.kind.clone();
        fault.times -= 1;
        if fault.times == 0 {
            queue.remove(index);
        }
        Some(kind)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, Faults};

    #[test]
    fn a_rule_skips_then_spoils_then_goes() {
        let faults = Faults::default();
        faults.push(Fault {
            path: "/v1/customers".into(),
            method: Some("GET".into()),
            skip: 1,
            times: 2,
            kind: FaultKind::ResetConnection,
        });
        let spoilt = |path, method| faults.take(method, path).is_some();
        assert!(!spoilt("/v1/events", "GET"));
        assert!(!spoilt("/v1/customers", "POST"));
        assert!(!spoilt("/v1/customers", "GET"));
        assert!(spoilt("/v1/customers/cus_1", "GET"));
        assert!(spoilt("/v1/customers", "GET"));
        assert!(!spoilt("/v1/customers", "GET"));
        assert_eq!(faults.pending(), 0);
    }
}
