//! What outlives a process: the time, the account, what everybody outside has seen.

use std::fmt::Write as _;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headrace_engine::SteadyClock;
use headrace_engine::clock::Clock;
use headrace_model::Timestamp;
use headrace_sandbox::stripe::{Stripe, StripeOptions};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ledger::{Ledger, Ledgers};
use super::plan::Plan;
use super::rng::Rng;
use super::wire::Arrivals;

/// A step of this, in microseconds, is one that the server's clock follows, back at once.
const FAR: i64 = 2 * 3_600_000_000;

/// When every simulation begins.
const BEGINNING: i64 = 1_800_000_000_000_000;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) time: Arc<Time>,
    pub(super) stripe: Stripe,
    pub(super) ledgers: Mutex<Ledgers>,
    pub(super) arrivals: Mutex<Arrivals>,
    /// Nothing goes wrong any more.
    calm: AtomicBool,
    started_calm: AtomicBool,
    /// The process is at its end: nothing it does has an effect.
    down: AtomicBool,
    /// Rings when the process is to end, or the simulation.
    pub(super) ends: Notify,
    violation: Mutex<Option<String>>,
    chance: Mutex<Rng>,
    trace: Mutex<Trace>,
    pub(super) store_calls: AtomicU64,
    /// Whether nothing ran for a month already.
    pub(super) was_absent: AtomicBool,
    /// Syncs that were removed.
    pub(super) syncs: AtomicU64,
}

/// The time of the simulation, and of the clocks that show it.
pub(super) struct Time {
    /// Microseconds that passed before the process of now was started.
    before: AtomicI64,
    started: Mutex<Option<Instant>>,
    /// How far the machine's clock is ahead, and how often the process may have noticed that it was
    /// set.
    ahead: AtomicI64,
    steps: AtomicU64,
    /// Whether it was ever set back by days.
    far_back: AtomicBool,
    /// Steps of less than this are none for the process.
    noticed: i64,
    draws: Mutex<Rng>,
}

/// Everything that happened, as a number; and in words, if somebody wants to read them.
struct Trace {
    hash: std::hash::DefaultHasher,
    words: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, in_words: bool) -> Arc<Self> {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let time = Arc::new(Time {
            before: AtomicI64::new(0),
            started: Mutex::default(),
            ahead: AtomicI64::new(plan.clock_ahead),
            steps: AtomicU64::new(0),
            far_back: AtomicBool::new(false),
            noticed: if plan.is_steady { FAR } else { 0 },
            draws: Mutex::new(rng.fork()),
        });
        let shown = Arc::clone(&time);
        let stripe = Stripe::new(StripeOptions {
            seed: rng.next(),
            rate: plan.provider_limits.then_some(plan.rate),
            clock: Arc::new(move || shown.now().as_seconds()),
            ..StripeOptions::default()
        });
        stripe.seed_all(plan.seeded);
        let trace = Trace {
            hash: std::hash::DefaultHasher::new(),
            words: in_words.then(String::new),
        };
        let world = Self {
            plan,
            time,
            stripe,
            ledgers: Mutex::default(),
            arrivals: Mutex::default(),
            calm: AtomicBool::new(false),
            started_calm: AtomicBool::new(false),
            down: AtomicBool::new(false),
            ends: Notify::new(),
            violation: Mutex::default(),
            chance: Mutex::new(rng.fork()),
            trace: Mutex::new(trace),
            store_calls: AtomicU64::new(0),
            was_absent: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
        };
        world.note(|| format!("{:?}", world.plan));
        Arc::new(world)
    }

    /// Draws.
    pub(super) fn chance(&self) -> MutexGuard<'_, Rng> {
        lock(&self.chance)
    }

    /// Whether this goes wrong, which it does once in so many times while there is trouble.
    pub(super) fn strikes(&self, once_in: u64) -> bool {
        !self.is_calm() && self.chance().once_in(once_in)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// Whether the process of now was started after the troubles.
    pub(super) fn was_calm_at_start(&self) -> bool {
        self.started_calm.load(Ordering::SeqCst)
    }

    /// The troubles are over.
    pub(super) fn calm_down(&self) {
        if self.calm.swap(true, Ordering::SeqCst) {
            return;
        }
        self.note(|| "calm".to_owned());
        self.time.step(0);
    }

    /// Sets the machine's clock.
    pub(super) fn step_clock(&self, ahead: i64) {
        self.note(|| format!("clock {ahead}"));
        self.time.step(ahead);
    }

    /// The process ends here: nothing is written, said or heard any more.
    pub(super) fn crash(&self, why: &str) {
        if !self.down.swap(true, Ordering::SeqCst) {
            self.note(|| format!("crash: {why}"));
            self.ends.notify_one();
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    /// A process begins.
    pub(super) fn start(&self) {
        self.down.store(false, Ordering::SeqCst);
        *lock(&self.time.started) = Some(Instant::now());
        let is_set = self.plan.clock_every.is_some() || self.plan.clock_ahead != 0;
        if self.plan.is_steady && is_set {
            // It begins with the machine's clock as it is.
            self.time.steps.fetch_add(1, Ordering::SeqCst);
        }
        lock(&self.arrivals).forget();
        let mut ledgers = lock(&self.ledgers);
        ledgers.consumers.values_mut().for_each(Ledger::restarted);
        drop(ledgers);
        self.started_calm.store(self.is_calm(), Ordering::SeqCst);
        self.note(|| "start".to_owned());
    }

    /// The process has ended; so much time passes until the next one.
    pub(super) fn ended(&self, pause: Duration) {
        let passed = self.time.elapsed() + i64::try_from(pause.as_micros()).unwrap();
        self.time.before.store(passed, Ordering::SeqCst);
        *lock(&self.time.started) = None;
    }

    /// Something that only a reader of the words wants to know.
    pub(super) fn tell(&self, words: impl FnOnce() -> String) {
        if lock(&self.trace).words.is_some() {
            self.note(words);
        }
    }

    /// Something happened.
    pub(super) fn note(&self, words: impl FnOnce() -> String) {
        let at = self.time.elapsed();
        let words = words();
        let mut trace = lock(&self.trace);
        trace.hash.write_i64(at);
        trace.hash.write(words.as_bytes());
        if let Some(text) = &mut trace.words {
            writeln!(text, "{:>12.6} {words}", at as f64 / 1e6).unwrap();
        }
    }

    pub(super) fn trace(&self) -> (u64, Option<String>) {
        let trace = lock(&self.trace);
        (trace.hash.finish(), trace.words.clone())
    }

    /// The contract is broken.
    pub(super) fn violated(&self, words: String) {
        self.note(|| format!("VIOLATED: {words}"));
        lock(&self.violation).get_or_insert(words);
        self.ends.notify_one();
    }

    pub(super) fn violation(&self) -> Option<String> {
        lock(&self.violation).clone()
    }
}

impl Time {
    /// Microseconds since the beginning.
    pub(super) fn elapsed(&self) -> i64 {
        let here = lock(&self.started).map_or(0, |started| started.elapsed().as_micros());
        self.before.load(Ordering::SeqCst) + i64::try_from(here).unwrap()
    }

    /// The true time.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(BEGINNING + self.elapsed())
    }

    fn step(&self, ahead: i64) {
        let before = self.ahead.swap(ahead, Ordering::SeqCst);
        if (ahead - before).abs() >= self.noticed {
            self.steps.fetch_add(1, Ordering::SeqCst);
        }
        if before - ahead > FAR {
            self.far_back.store(true, Ordering::SeqCst);
        }
    }

    /// Whether the machine's clock was ever set back by days.
    pub(super) fn went_far_back(&self) -> bool {
        self.far_back.load(Ordering::SeqCst)
    }

    /// How often the process may have noticed a step of the machine's clock.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }
}

/// The machine's clock.
pub(super) struct MachineClock(pub(super) Arc<Time>);

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let ahead = self.0.ahead.load(Ordering::SeqCst);
        Timestamp::from_micros(self.0.now().as_micros() + ahead)
    }

    fn draw(&self, bytes: &mut [u8]) {
        lock(&self.0.draws).fill(bytes);
    }
}

/// The machine's clock as the server follows it.
pub(super) struct ServersClock {
    steady: SteadyClock,
    machine: Arc<MachineClock>,
}

impl ServersClock {
    pub(super) fn following(machine: MachineClock) -> Self {
        let machine = Arc::new(machine);
        let steady = SteadyClock::following(Arc::clone(&machine) as _);
        Self { steady, machine }
    }
}

impl Clock for ServersClock {
    fn now(&self) -> Timestamp {
        self.steady.now()
    }

    fn machine(&self) -> Timestamp {
        self.steady.machine()
    }

    fn draw(&self, bytes: &mut [u8]) {
        self.machine.draw(bytes);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
