//! Breakpoints: the instants at which a crash would be the most telling.
//!
//! A crash test starts a server with `HEADRACE_CRASH_AT=name:n`; the process then ends at the n-th
//! passing of that breakpoint, as abruptly as by `kill -9`. Only debug builds look.

/// Where a process can be made to crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breakpoint {
    /// A page came from the provider; nothing of it is stored.
    PageFetched,
    /// A group of writes is in the open transaction.
    BeforeCommit,
    /// The group is durable; nobody has been told.
    AfterCommit,
    /// Readers see the group; its callers have not been told.
    AfterPublish,
    /// Messages are leased durably; the worker has not got them.
    Leased,
    /// An ack is durable; the worker has not been told.
    Settled,
    /// A change of the configuration is durable; what follows from it is not done.
    Decided,
    /// What was asked under an idempotency key is done; its answer is not kept.
    Unanswered,
}

impl Breakpoint {
    /// Those that are passed all the time.
    pub const ALL: [Self; 6] = [
        Self::PageFetched,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::AfterPublish,
        Self::Leased,
        Self::Settled,
    ];

    /// Its name in `HEADRACE_CRASH_AT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageFetched => "page-fetched",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::AfterPublish => "after-publish",
            Self::Leased => "leased",
            Self::Settled => "settled",
            Self::Decided => "decided",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Passes a breakpoint.
#[cfg(debug_assertions)]
pub fn breakpoint(at: Breakpoint) {
    #[cfg(feature = "simulation")]
    if let Some(machine) = crate::simulation::machine() {
        return machine.passes(at);
    }
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("HEADRACE_CRASH_AT").ok()?;
        let (name, nth) = plan.split_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    if let Some((name, nth)) = plan
        && name == at.name()
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        // No destructor runs and nothing is flushed: what `kill -9` leaves behind.
        std::process::abort();
    }
}

/// Passes a breakpoint.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn breakpoint(_: Breakpoint) {}
