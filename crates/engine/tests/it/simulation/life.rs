//! The course of one simulation: processes come and go, then there is peace.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_store::simulation::simulate;
use tokio::runtime::Builder;

use super::account::{change_account, consumer_id};
use super::machine::{Hardware, Process};
use super::operator::Operator;
use super::plan::STEPS;
use super::workers::Worker;
use super::world::World;

/// No simulation has so many processes.
const LIVES: usize = 300;

/// How a simulation ended.
pub(super) struct Course {
    pub(super) hash: u64,
    pub(super) words: Option<String>,
    pub(super) violation: Option<String>,
}

/// How a process ended.
enum End {
    /// Another one is to be started.
    Down,
    /// All is well, or there is a violation.
    Over,
}

/// Runs the simulation of a seed.
pub(super) fn run(seed: u64, in_words: bool) -> Course {
    let world = World::new(seed, in_words);
    let shm = Path::new("/dev/shm");
    let directory = match shm.is_dir() {
        true => tempfile::tempdir_in(shm),
        false => tempfile::tempdir(),
    };
    let directory = directory.unwrap();
    let _simulated = simulate(Rc::new(Hardware(Arc::clone(&world))));
    let mut lives = 0;
    loop {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let end = runtime.block_on(live(&world, directory.path()));
        // Everything of the process is gone at once.
        drop(runtime);
        lives += 1;
        if lives == LIVES {
            world.violated("it crashes for ever".to_owned());
        }
        if world.violation().is_some() || matches!(end, End::Over) {
            break;
        }
    }
    let (hash, words) = world.trace();
    Course {
        hash,
        words,
        violation: world.violation(),
    }
}

/// One process, from its start to its end.
async fn live(world: &Arc<World>, directory: &Path) -> End {
    world.start();
    let end = tokio::select! {
        biased;
        () = world.ends.notified() => End::Down,
        end = go_on(world, directory) => end,
    };
    world.ended(absence(world));
    end
}

async fn go_on(world: &Arc<World>, directory: &Path) -> End {
    let Some(process) = Process::start(world, directory).await else {
        return End::Down;
    };
    let process = Arc::new(process);
    tokio::spawn(change_account(Arc::clone(world)));
    let rest = rest_of_troubles(world);
    let calming = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(rest).await;
        calming.calm_down();
    });
    process.set_up().await;
    for number in 0..world.plan.consumers {
        for _ in 0..world.plan.workers {
            let worker = Worker {
                process: Arc::clone(&process),
                consumer: consumer_id(number),
                rng: world.chance().fork(),
            };
            tokio::spawn(worker.run());
        }
    }
    tokio::spawn(set_the_clock(Arc::clone(world)));
    let audited = Arc::clone(&process);
    tokio::spawn(async move { audited.audit_forever().await });
    let operator = Operator {
        process: Arc::clone(&process),
        rng: world.chance().fork(),
    };
    tokio::select! {
        biased;
        end = until_stopped(&process) => end,
        never = operator.run() => match never {},
    }
}

/// Lets the process run until it is stopped, or all is well.
async fn until_stopped(process: &Process) -> End {
    let world = &process.world;
    let rest = rest_of_troubles(world);
    let stop = world.plan.stop_every.map(|every| {
        let most = u64::try_from(every.as_millis()).unwrap();
        world.chance().millis(0, most)
    });
    if let Some(stop) = stop.filter(|stop| *stop < rest) {
        tokio::time::sleep(stop).await;
        world.note(|| "stop".to_owned());
        process.stop().await;
        return End::Down;
    }
    // A tick later, it is calm.
    tokio::time::sleep(rest + Duration::from_millis(2)).await;
    let was_removed = world.syncs.load(Ordering::SeqCst) > 0;
    if was_removed && !world.was_calm_at_start() {
        // What a removal has left is cleared away by the next process.
        process.stop().await;
        return End::Down;
    }
    process.set_up().await;
    process.put_right().await;
    if let Err(words) = process.comes_right().await {
        world.violated(words);
    }
    process.stop().await;
    End::Over
}

fn rest_of_troubles(world: &World) -> Duration {
    let elapsed = Duration::from_micros(world.time.elapsed().unsigned_abs());
    world.plan.troubles.saturating_sub(elapsed)
}

/// The machine's clock goes wrong, by up to days.
async fn set_the_clock(world: Arc<World>) {
    let Some(every) = world.plan.clock_every else {
        return;
    };
    loop {
        tokio::time::sleep(every).await;
        if world.is_calm() {
            return;
        }
        let ahead = *world.chance().pick(&STEPS);
        world.step_clock(ahead);
    }
}

/// How long it takes until the next process. Where that is long, the account changes meanwhile.
fn absence(world: &World) -> Duration {
    const MONTH: Duration = Duration::from_secs(31 * 86_400);
    if world.plan.absent && !world.is_calm() && !world.was_absent.swap(true, Ordering::SeqCst) {
        // No more than may be gone without somebody's word.
        world.stripe.mutate_randomly(5);
        return MONTH;
    }
    world.chance().millis(10, 5_000)
}
