//! How each process is to end, drawn from a seed; and how they did end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use headrace_store::Breakpoint;

/// A small seeded generator (`SplitMix64`).
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Another generator, so that tasks do not depend on each other's pace.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// How a process is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// At the n-th passing of a breakpoint.
    Breakpoint(Breakpoint, u64),
    /// By `kill -9`, so long after it was started.
    KillAtStart(Duration),
    /// By `kill -9`, so long after its state was checked.
    KillAtWork(Duration),
}

impl Plan {
    /// Four of six at a breakpoint, one while it starts, one while it works.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 => Self::KillAtStart(Duration::from_millis(rng.below(150))),
            1 => Self::kill_at_work(rng),
            _ => {
                let count = Breakpoint::ALL.len() as u64;
                let at = Breakpoint::ALL[rng.below(count) as usize];
                Self::Breakpoint(at, 1 + rng.below(passings(at)))
            }
        }
    }

    pub(crate) fn kill_at_work(rng: &mut Rng) -> Self {
        Self::KillAtWork(Duration::from_millis(rng.below(400)))
    }

    /// The value of `HEADRACE_CRASH_AT`.
    pub(crate) fn crash_at(self) -> Option<String> {
        match self {
            Self::Breakpoint(at, n) => Some(format!("{}:{n}", at.name())),
            Self::KillAtStart(_) | Self::KillAtWork(_) => None,
        }
    }
}

/// About how often a breakpoint is passed in a few hundred milliseconds of work.
fn passings(at: Breakpoint) -> u64 {
    match at {
        Breakpoint::PageFetched => 4,
        Breakpoint::BeforeCommit | Breakpoint::AfterCommit | Breakpoint::AfterPublish => 50,
        Breakpoint::Leased | Breakpoint::Settled => 15,
        Breakpoint::Decided | Breakpoint::Unanswered => 1,
    }
}

/// How a process did end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum End {
    /// It aborted itself at a breakpoint.
    At(Breakpoint),
    /// It was killed before it served.
    Starting,
    /// It was killed while it worked.
    Working,
    /// It was killed while it worked, because its breakpoint did not come.
    NotReached,
}

impl End {
    fn name(self) -> String {
        match self {
            Self::At(at) => format!("at {}", at.name()),
            Self::Starting => "killed while it started".to_owned(),
            Self::Working => "killed while it worked".to_owned(),
            Self::NotReached => "killed, its breakpoint did not come".to_owned(),
        }
    }
}

/// How many ended how.
#[derive(Default, Debug)]
pub(crate) struct Histogram(BTreeMap<String, usize>);

impl Histogram {
    pub(crate) fn note(&mut self, end: End) {
        *self.0.entry(end.name()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    pub(crate) fn count(&self, end: End) -> usize {
        self.0.get(&end.name()).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.0 {
            writeln!(f, "{count:>5} {name}")?;
        }
        write!(f, "{:>5} in all", self.total())
    }
}
