//! One data directory, from its first start to its last.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headrace_sandbox::stripe::{Collection, Stripe};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ledger::{ENDING, Ledger};
use super::plan::{End, Histogram, Plan, Rng};
use super::process::{ABORTED, Api, KILLED, Process};
use super::{ACK_WAIT, LONG, MAX_DELIVER, account, checks, ending, load, tell};
use crate::harness::{PATIENCE, Setup, sandbox_of, text};

/// A breakpoint that was not passed by then is not waited for any longer.
const LONGEST_CYCLE: Duration = Duration::from_secs(4);

/// What the server logs.
const LOGGED: &str = "warn,headrace=info";

/// A life.
pub(crate) struct Life {
    pub(crate) rng: Rng,
    seed: u64,
    scratch: Option<TempDir>,
    data: PathBuf,
    environment: Vec<(String, String)>,
    base: String,
    pub(crate) stripe: Stripe,
    api: Api,
    pub(crate) ledger: Arc<Ledger>,
    crashed: Histogram,
    /// What happened so far, for whoever has to find out why it went wrong.
    story: Vec<String>,
    /// Whether the last start was checked to the end. If not, the next one is.
    is_checked: bool,
    /// Starts that were checked to the end.
    checks: usize,
}

impl Life {
    /// Makes an account, a sync of some of it, and the consumers.
    pub(crate) async fn begin(seed: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        let mut life = Self::begin_on(seed, data, Vec::new(), 250).await;
        life.scratch = Some(scratch);
        life
    }

    /// The same in this directory, by processes with this environment, of so many objects of a kind.
    pub(crate) async fn begin_on(
        seed: u64,
        data: PathBuf,
        environment: Vec<(String, String)>,
        objects: usize,
    ) -> Self {
        let rng = Rng::new(seed);
        let (stripe, base) = sandbox_of(seed).await;
        stripe.seed_all(objects);
        stripe.seed(Collection::Customer, 2 * objects);
        let mut server = setup(&data, &base, &environment).start();
        let first = account::FOLLOWED.map(|(name, _)| name);
        let sync = server.sync_stripe(&first[..2]).await;
        let credentials = server.get("/v1/credentials").await;
        let credential = text(&credentials["data"][0]["id"]);
        // The limit of a test account would make each start a matter of seconds.
        let limit = json!({"rate_limit": {"allowed_requests": 5_000, "interval": 1.0}});
        server
            .patch(&format!("/v1/credentials/{credential}"), limit)
            .await
            .expect(200);
        let customers = json!({"collection_id": "stripe:customer"});
        for (slug, filters, wait, max_deliver) in [
            ("all", json!({}), ACK_WAIT, -1),
            ("customers", customers, ACK_WAIT, -1),
            ("strict", json!({}), ACK_WAIT, i64::from(MAX_DELIVER)),
            ("slow", json!({}), LONG, -1),
        ] {
            let wait = u64::try_from(wait.as_millis()).unwrap();
            let consumer = json!({
                "stream_id": "dev",
                "slug": slug,
                "filters": filters,
                "ack_wait_ms": wait,
                "max_deliver": max_deliver,
                "max_ack_pending": 20_000,
            });
            server
                .post("/v1/http-consumers", consumer)
                .await
                .expect(201);
        }
        assert!(server.terminate().success());
        let collections = first[..2].iter().map(|name| (*name).to_owned());
        Self {
            api: Api::new(&sync),
            ledger: Arc::new(Ledger::new(collections)),
            rng,
            seed,
            scratch: None,
            data,
            environment,
            base,
            stripe,
            crashed: Histogram::default(),
            story: Vec::new(),
            is_checked: true,
            checks: 0,
        }
    }
    /// Starts the server and has it end without warning, once.
    pub(crate) async fn crash_once(&mut self) {
        let plan = match self.is_checked {
            true => Plan::draw(&mut self.rng),
            false => Plan::kill_at_work(&mut self.rng),
        };
        self.story.push(format!("{plan:?}"));
        let end = self.run(plan).await;
        self.story
            .push(format!("{end:?}, checked: {}", self.is_checked));
        self.crashed.note(end);
        let log = self.log();
        assert!(!log.contains("panicked at"), "the server panicked");
        assert!(!log.contains(" ERROR "), "the server logged an error");
    }

    /// After the last crash: waits until the stream equals the account and the consumers have had
    /// all of it, crashes once more, and finds everything done. Answers how it crashed before.
    pub(crate) async fn end_well(mut self) -> Histogram {
        self.story.push("the end".to_owned());
        let (mut process, api) = self.start().await;
        checks::check(&api, &self.ledger).await.unwrap();
        let all = account::FOLLOWED.map(|(name, _)| format!("stripe:{name}"));
        load::patch_sync(&api, &self.ledger, json!({"collection_ids": all}))
            .await
            .unwrap();
        ending::until_equal(&api, &self.ledger, &self.stripe).await;
        for consumer in ENDING {
            ending::drain(&api, &self.ledger, consumer).await;
        }
        process.kill().await;
        let (_process, api) = self.start().await;
        checks::check(&api, &self.ledger).await.unwrap();
        for consumer in ENDING {
            let messages = load::next(&api, &self.ledger, consumer, 1, 0).await;
            assert_eq!(messages.unwrap().len(), 0, "what was done came again");
            ending::had_all(&api, &self.ledger, consumer).await;
        }
        tell(&format!(
            "seed {}: {}, {} starts checked",
            self.seed,
            self.ledger.summary(),
            self.checks
        ));
        std::mem::take(&mut self.crashed)
    }

    async fn run(&mut self, plan: Plan) -> End {
        let mut process = self.spawn(plan.crash_at());
        let serving = match plan {
            Plan::KillAtStart(after) => {
                // Whether it serves by then is up to the machine.
                drop(timeout(after, process.serving()).await);
                assert_eq!(process.kill().await, KILLED);
                return End::Starting;
            }
            _ => timeout(PATIENCE, process.serving()).await.unwrap(),
        };
        self.is_checked = false;
        let signal = match serving {
            None => process.ended().await,
            Some(url) => {
                let work = self.work(plan, self.api.at(url), &mut process);
                timeout(2 * PATIENCE, work).await.expect("the server hangs")
            }
        };
        match (plan, signal) {
            (Plan::Breakpoint(at, _), ABORTED) => End::At(at),
            (Plan::Breakpoint(..), KILLED) => End::NotReached,
            (_, KILLED) => End::Working,
            _ => panic!("ended by signal {signal}"),
        }
    }

    /// Checks and works until the process ends as planned. Answers by which signal.
    async fn work(&mut self, plan: Plan, api: Api, process: &mut Process) -> i32 {
        let (checked, is_checked) = oneshot::channel();
        let (ledger, stripe, rng) = (&self.ledger, &self.stripe, &mut self.rng);
        let load = async {
            let whole = checks::check(&api, ledger).await.is_some();
            if whole {
                checked.send(()).ok();
                load::until_cut_off(&api, ledger, stripe, rng).await;
            }
            whole
        };
        let crash = async {
            let longest = match plan {
                Plan::KillAtWork(after) => {
                    is_checked.await.expect("it serves until it is killed");
                    after
                }
                _ => LONGEST_CYCLE,
            };
            if let Ok(signal) = timeout(longest, process.ended()).await {
                return signal;
            }
            assert_eq!(api.cut(), 0, "requests were cut off by a living server");
            process.kill().await
        };
        let (whole, signal) = tokio::join!(load, crash);
        self.is_checked = whole;
        self.checks += usize::from(whole);
        signal
    }

    fn spawn(&self, crash_at: Option<String>) -> Process {
        let mut setup = setup(&self.data, &self.base, &self.environment);
        if let Some(at) = crash_at {
            setup = setup.env("HEADRACE_CRASH_AT", &at);
        }
        Process::spawn(&setup, &self.data.with_extension("log"))
    }

    /// Starts without a plan.
    pub(crate) async fn start(&self) -> (Process, Api) {
        let mut process = self.spawn(None);
        let serving = timeout(PATIENCE, process.serving()).await.unwrap();
        let api = self.api.at(serving.expect("it serves"));
        (process, api)
    }

    /// Starts a process on a copy of the data directory. `None` when it refuses.
    pub(crate) async fn start_on(&self, data: &Path) -> Option<(Process, Api)> {
        let setup = setup(data, &self.base, &[]);
        let mut process = Process::spawn(&setup, &data.with_extension("log"));
        let serving = timeout(PATIENCE, process.serving()).await.unwrap()?;
        Some((process, self.api.at(serving)))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap()
    }
}

fn setup(data: &Path, base: &str, environment: &[(String, String)]) -> Setup {
    let setup = Setup::on(data).env("RUST_LOG", LOGGED).stripe(base);
    let with = |setup: Setup, (name, value): &(String, String)| setup.env(name, value);
    environment.iter().fold(setup, with)
}

impl Drop for Life {
    /// Says what is needed to look into a failure, and leaves the data where it is.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kept = self.scratch.take().map(TempDir::keep);
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(40)..].join("\n");
        let story = self.story.join("\n");
        tell(&format!(
            "seed {} failed; its data is in {kept:?}\n{}\n{story}\n{log}",
            self.seed, self.crashed
        ));
    }
}
