//! The power is cut at any instant, and nothing that was answered is lost.
//!
//! What `kill -9` cannot show: a process that ends leaves all it has written in the system's memory,
//! a power cut leaves what was synced and some of the rest. So everything that the server does to its
//! disk is recorded, with what clients were told by then ([`cuts`]), while the load of the crash test
//! runs and the server restarts now and then. Afterwards the disk is put together as it may look
//! after a cut at each of many instants ([`platter`]), and a server on it must hold to what was told.
//!
//! `HEADRACE_POWER_SEED` chooses what happens and what is left of it (not when: that is up to the
//! machine, so that every run is another one), `HEADRACE_POWER_CUTS` how many cuts are tried. A cut that fails leaves its data
//! directory and the record behind.

mod cuts;
mod platter;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headrace_sandbox::stripe::Stripe;
use rusqlite::Connection;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::crash::ledger::{ENDING, Ledger, SLOW};
use crate::crash::life::Life;
use crate::crash::process::Api;
use crate::crash::{Rng, account, checks, ending, from_environment, load, tell};
use crate::disk::{Change, Disk, Record};
use crate::harness::PATIENCE;
use cuts::{Cut, Cuts};
use platter::{Left, Platter, Syncs};

/// Cuts to be tried, unless the environment says otherwise.
const CUTS: u64 = 120;
/// After every so manyth cut the sync goes on until the stream equals the account.
const GOES_ON: usize = 10;
/// Servers that are checked at the same time.
const AT_ONCE: usize = 4;
/// What decides, unless the environment says otherwise.
const SEED: u64 = 20;
/// Processes, one after the other: so many at least, and more until there is enough to choose from.
const PROCESSES: usize = 10;
/// How long each works.
const WORK: Duration = Duration::from_millis(1_500);
/// A machine on which there is not enough by then has hung.
const LONGEST: Duration = Duration::from_secs(300);
/// The write-ahead log is checkpointed as soon as it is so long, in pages.
const CHECKPOINT_PAGES: &str = "300";
/// The consumers' journal goes on in its other file as soon as one is so long, in bytes.
const JOURNAL_BYTES: &str = "2048";
/// Objects of each kind in the account.
const OBJECTS: usize = 40;

/// A recorded life.
struct Story {
    life: Life,
    disk: Arc<Disk>,
    /// Changes that were made before anything was configured.
    begun: u64,
    cuts: Vec<Cut>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_answered_is_lost_when_the_power_is_cut() {
    let seed = from_environment("HEADRACE_POWER_SEED").unwrap_or(SEED);
    let wanted = from_environment("HEADRACE_POWER_CUTS").unwrap_or(CUTS) as usize;
    tell(&format!("power loss: seed {seed}"));
    let mut rng = Rng::new(seed);
    let recorded = timeout(LONGEST, record(seed, wanted / 4)).await;
    let story = recorded.expect("enough happens on the disk to cut the power at");
    let (rounds, collected) = (rounds_of(&story.disk, LOG), story.cuts.len());
    let turns = rounds_of(&story.disk, JOURNAL);
    tell(&format!(
        "{collected} instants in {} changes, {rounds} rounds of the log and {turns} of the journal; {}",
        story.disk.changes(),
        story.life.ledger.summary()
    ));
    let cuts = choose(wanted, collected, &mut rng);
    let mut trial = Trial::new(story);
    let lost = trial.honest(&cuts, &mut rng).await;
    if !lost.is_empty() {
        let record = trial.keep();
        panic!("seed {seed}, record in {record:?}:\n{}", lost.join("\n"));
    }
    // The test itself is tried: by disks whose syncs do nothing.
    for (syncs, changes) in [
        (Syncs::NotOfFiles, 300),
        (Syncs::NotOfDirectories, u64::MAX),
    ] {
        let found = trial.dishonest(syncs, changes, &mut rng).await;
        assert!(found > 0, "{syncs:?}: nothing was found");
    }
}

/// So many of the instants, in their order. Where there are too few, some come twice: what is left is
/// another time something else.
fn choose(wanted: usize, collected: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..wanted.max(collected)).map(|n| n % collected).collect();
    while chosen.len() > wanted {
        chosen.swap_remove(rng.below(chosen.len() as u64) as usize);
    }
    chosen.sort_unstable();
    chosen
}

/// Runs and records: half of the processes are asked to stop, half are killed. Goes on until there are
/// so many instants, and until the log and the journal's second file were begun anew within processes
/// and not only by their starts.
async fn record(seed: u64, instants: usize) -> Story {
    let disk = Arc::new(Disk::recorded());
    let mut environment = disk.environment();
    for (name, value) in [
        ("HEADRACE_CHECKPOINT_PAGES", CHECKPOINT_PAGES),
        ("HEADRACE_JOURNAL_BYTES", JOURNAL_BYTES),
    ] {
        environment.push((name.to_owned(), value.to_owned()));
    }
    let mut life = Life::begin_on(seed, disk.data(), environment, OBJECTS).await;
    let begun = disk.changes();
    let cuts = Cuts::new(Arc::clone(&disk), Arc::clone(&life.ledger), life.rng.fork());
    let living = async {
        let mut number = 0;
        while number < PROCESSES
            || cuts.count() < instants
            || rounds_of(&disk, LOG) <= number
            || rounds_of(&disk, JOURNAL) < number
        {
            live(&mut life, &cuts, number % 2 == 0).await;
            number += 1;
        }
    };
    tokio::select! {
        () = living => {}
        () = cuts.collect() => {}
    }
    disk.pause_never();
    let cuts = cuts.all();
    Story {
        life,
        disk,
        begun,
        cuts,
    }
}

/// The end of a file's name, and where it is written whenever it is begun anew.
type Round = (&'static str, u64);
/// The write-ahead log: after each checkpoint.
const LOG: Round = ("-wal", 0);
/// The second file of the journal, behind its header: whenever the first one was full.
const JOURNAL: Round = ("-b.journal", 24);

/// How often a file was begun anew.
fn rounds_of(disk: &Disk, (name, begins_at): Round) -> usize {
    let mut files = HashSet::new();
    let mut rounds = 0;
    for entry in disk.record() {
        match entry.change {
            Change::Create if entry.name.ends_with(name) => drop(files.insert(entry.inode)),
            Change::Create => drop(files.remove(&entry.inode)),
            Change::Write if entry.offset == begins_at => {
                rounds += usize::from(files.contains(&entry.inode));
            }
            _ => {}
        }
    }
    rounds
}

/// One process: it is checked, works, and ends.
async fn live(life: &mut Life, cuts: &Cuts, is_killed: bool) {
    let (mut process, api) = life.start().await;
    let (ledger, mut rng) = (Arc::clone(&life.ledger), life.rng.fork());
    let load = Box::pin(async {
        checks::check(&api, &ledger).await.unwrap();
        load::until_cut_off(&api, &ledger, &life.stripe, &mut rng).await;
    });
    if is_killed {
        let kill = async {
            sleep(WORK).await;
            cuts.kill(&mut process).await;
        };
        timeout(PATIENCE, async { tokio::join!(load, kill) })
            .await
            .expect("the server hangs");
    } else {
        assert!(timeout(WORK, load).await.is_err(), "it serves no more");
        timeout(PATIENCE, process.stop())
            .await
            .expect("the server does not stop");
    }
}

/// Tries what is left after cuts.
struct Trial {
    story: Arc<Story>,
    folder: tempfile::TempDir,
}

impl Trial {
    fn new(story: Story) -> Self {
        Self {
            story: Arc::new(story),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Cuts the power at each instant. Answers what was lost.
    async fn honest(&self, cuts: &[usize], rng: &mut Rng) -> Vec<String> {
        let mut disk = Following::new(&self.story.disk);
        for number in 0..CUTS / 8 {
            let at = (number + 1) * self.story.begun / (CUTS / 8);
            disk.follow(at, Syncs::Honest);
            let data = self.cut(&disk.platter, Left::Chance, rng, &format!("begin-{number}"));
            assert!(starts(&self.story.life, &data).await, "{data:?}: no start");
            std::fs::remove_dir_all(data.parent().unwrap()).unwrap();
        }
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut trying = JoinSet::new();
        for (number, which) in cuts.iter().copied().enumerate() {
            let permit = Arc::clone(&gate).acquire_owned().await.unwrap();
            disk.follow(self.story.cuts[which].changes, Syncs::Honest);
            let data = self.cut(&disk.platter, Left::Chance, rng, &format!("cut-{number}"));
            let story = Arc::clone(&self.story);
            trying.spawn(async move {
                let cut = &story.cuts[which];
                let tried = attempt(&story, cut, &data, number % GOES_ON == 0).await;
                drop(permit);
                if tried.is_ok() {
                    std::fs::remove_dir_all(data.parent().unwrap()).unwrap();
                    return None;
                }
                Some(format!("after {} changes: {data:?}", cut.changes))
            });
        }
        trying.join_all().await.into_iter().flatten().collect()
    }

    /// Cuts the power of a disk that broke its word for so many changes. Answers how often that was
    /// found out.
    async fn dishonest(&self, syncs: Syncs, changes: u64, rng: &mut Rng) -> usize {
        let mut found = 0;
        let count = self.story.cuts.len();
        for number in [count / 4, count / 2, count - 1] {
            let mut disk = Following::new(&self.story.disk);
            let cut = &self.story.cuts[number];
            disk.follow(cut.changes.saturating_sub(changes), Syncs::Honest);
            disk.follow(cut.changes, syncs);
            let data = self.cut(
                &disk.platter,
                Left::Nothing,
                rng,
                &format!("{syncs:?}-{number}"),
            );
            found += usize::from(attempt(&self.story, cut, &data, false).await.is_err());
        }
        found
    }

    /// Leaves the directories that failed, and the record.
    fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.story.disk.keep()
    }

    fn cut(&self, platter: &Platter, left: Left, rng: &mut Rng, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        platter.cut(left, rng, &folder);
        folder.join("data")
    }
}

/// A disk, as far as its record was followed.
struct Following {
    platter: Platter,
    record: Record,
    at: u64,
}

impl Following {
    fn new(disk: &Disk) -> Self {
        Self {
            platter: Platter::new(&disk.root()),
            record: disk.record(),
            at: 0,
        }
    }

    /// Follows until so many changes were made.
    fn follow(&mut self, changes: u64, syncs: Syncs) {
        while self.at < changes {
            let entry = self.record.next().unwrap();
            self.platter.follow(entry, syncs);
            self.at += 1;
        }
    }
}

/// Nobody was told anything yet: it must only start.
async fn starts(life: &Life, data: &Path) -> bool {
    match life.start_on(data).await {
        Some((mut process, _)) => {
            process.kill().await;
            is_sound(data);
            true
        }
        None => false,
    }
}

/// Checks on a task of its own, so that what it finds does not end the test.
async fn attempt(
    story: &Arc<Story>,
    cut: &Cut,
    data: &Path,
    goes_on: bool,
) -> Result<(), JoinError> {
    let (story, data) = (Arc::clone(story), data.to_owned());
    let ledger = cut.ledger.copy();
    ledger.power_was_cut();
    let task = tokio::spawn(async move {
        let (mut process, api) = story.life.start_on(&data).await.expect("it starts");
        checks::check(&api, &ledger).await.unwrap();
        see_messages(&api, &ledger, SLOW).await;
        if goes_on {
            go_on(&api, &ledger, &story.life.stripe).await;
        } else {
            for consumer in ENDING {
                see_messages(&api, &ledger, consumer).await;
            }
        }
        process.kill().await;
        is_sound(&data);
    });
    task.await
}

/// What was acked is not delivered again, and what was put off not yet. It would be among the first
/// messages: what is outstanding goes first, then what follows the position.
async fn see_messages(api: &Api, ledger: &Ledger, consumer: usize) {
    load::next(api, ledger, consumer, 1_000, 0).await.unwrap();
}

/// The sync goes on until the stream equals the account, and consumers get all of it.
async fn go_on(api: &Api, ledger: &Ledger, stripe: &Stripe) {
    let all = account::FOLLOWED.map(|(name, _)| format!("stripe:{name}"));
    load::patch_sync(api, ledger, json!({"collection_ids": all}))
        .await
        .unwrap();
    ending::until_equal(api, ledger, stripe).await;
    for consumer in ENDING {
        ending::drain(api, ledger, consumer).await;
        ending::had_all(api, ledger, consumer).await;
    }
}

/// No database in the directory is damaged.
fn is_sound(data: &Path) {
    for file in std::fs::read_dir(data).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            let database = Connection::open(&path).unwrap();
            let verdict: String = database
                .query_row("pragma integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(verdict, "ok", "{path:?}");
        }
    }
}
