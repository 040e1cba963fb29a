//! The server crashes hundreds of times, and nothing that it had answered is lost.
//!
//! A *life* is one data directory and one account. The account keeps changing, workers take and
//! settle messages, and again and again the process ends without warning: at a breakpoint of the
//! code, or by `kill -9` at any instant. After each crash it starts on the same directory, and what
//! it shows is compared with the [`Ledger`]: everything that anybody was ever shown or promised.
//! At the end the stream must equal the account, and every consumer must have had all of it.
//!
//! `HEADRACE_CRASH_SEED` chooses what happens (not when: that is up to the machine), and
//! `HEADRACE_CRASHES` how often each life crashes.

pub(crate) mod account;
pub(crate) mod checks;
mod deliveries;
pub(crate) mod ending;
pub(crate) mod ledger;
pub(crate) mod life;
pub(crate) mod load;
mod plan;
pub(crate) mod process;
mod settings;

use std::io::Write as _;
use std::time::Duration;

use headrace_store::Breakpoint;
use tokio::task::JoinSet;

use life::Life;
use plan::{End, Histogram};

pub(crate) use plan::Rng;

/// Data directories that live through crashes, side by side.
const LIVES: u64 = 4;
/// Crashes of each, unless the environment says otherwise.
const CRASHES: usize = 52;
/// The ack window of the consumers: longer than a restart takes, so that deliveries outlive crashes.
const ACK_WAIT: Duration = Duration::from_millis(1_500);
/// The ack window of the consumer whose messages take long, and for how long it gives them back: more
/// than any test.
const LONG: Duration = Duration::from_secs(3_600);
/// Deliveries of a version to the consumer that gives up.
const MAX_DELIVER: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_answered_is_lost_in_hundreds_of_crashes() {
    let seed =
        from_environment("HEADRACE_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let crashes = from_environment("HEADRACE_CRASHES").map_or(CRASHES, |count| count as usize);
    let mut lives = JoinSet::new();
    for number in 0..LIVES {
        lives.spawn(async move {
            let mut life = Life::begin(seed + number).await;
            for _ in 0..crashes {
                life.crash_once().await;
            }
            life.end_well().await
        });
    }
    let mut crashed = Histogram::default();
    while let Some(life) = lives.join_next().await {
        crashed.add(&life.unwrap());
    }
    tell(&format!("seed {seed}:\n{crashed}"));
    assert_eq!(crashed.total(), LIVES as usize * crashes);
    for breakpoint in Breakpoint::ALL {
        assert!(
            crashed.count(End::At(breakpoint)) > 0,
            "no crash at {}",
            breakpoint.name()
        );
    }
}

pub(crate) fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Past the capture of the test runner: what was hit is part of what a good run shows.
pub(crate) fn tell(words: &str) {
    let line = format!("{words}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
