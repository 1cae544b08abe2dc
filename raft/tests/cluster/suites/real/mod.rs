//! The suites in real time: real nodes in processes of their own, real sockets and files, SIGKILL.
//!
//! ```text
//!   test body ─▶ Processes ─▶ process: Node over a directory   (server)
//!                    ├─▶ Net: every connection between them    (net)
//!                    └─▶ what is left of a test that failed    (keep)
//! ```
//! The bodies are those of virtual time. They run side by side, since most of their time is
//! waiting, and each [`SCALE`] times as fast as the original: all durations, election timeouts
//! among them, are divided by it. `HARDLOG_SUITES_SCALE=1` gives the original durations and
//! `HARDLOG_SUITES_ONLY=Figure8` one test. `HARDLOG_SUITES_SIDE_BY_SIDE=1` runs them one by one,
//! `HARDLOG_SUITES_SEED=7` draws what is left to chance anew.
//!
//! A clock proves nothing on a machine that stands still: while a test runs, the longest stall of
//! a thread and of a sync is measured. A test that failed while the machine stalled for longer
//! than servers wait for a heartbeat is run again, twice at most, and the stall is printed.

mod keep;
mod net;
mod processes;
mod server;
mod service;

use std::{
    any::Any,
    collections::VecDeque,
    env,
    fs::File,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hardlog_raft::{Config, sim::lab::Compaction};

use self::processes::Processes;
use super::{
    membership, mit_2a, mit_2b, mit_2c, mit_2d,
    seeds::out_of,
    simulated::{NO_SNAPSHOTS, TEN_COMMANDS, quick_config},
};

/// By how much time is shortened, unless something else is asked for.
const SCALE: u32 = 3;
/// Tests at a time.
const SIDE_BY_SIDE: usize = 6;
/// How often a test is run if the machine stalls each time.
const ATTEMPTS: u32 = 3;

type Body = fn(&mut Processes);

/// A test of a suite.
#[derive(Clone, Copy)]
struct Test {
    name: &'static str,
    size: usize,
    compaction: Compaction,
    /// The timing of raft-consensus, whose elections are too short to be shortened.
    quick: bool,
    body: Body,
}

const fn mit(name: &'static str, size: usize, body: Body) -> Test {
    Test { name, size, compaction: NO_SNAPSHOTS, quick: false, body }
}

/// The longest first, so that none of them is left for the end.
const TESTS: [Test; 16] = [
    Test { compaction: TEN_COMMANDS, ..mit("SnapshotInstall", 3, mit_2d::snapshot_install) },
    Test {
        compaction: TEN_COMMANDS,
        ..mit("SnapshotInstallUnCrash", 3, mit_2d::snapshot_install_un_crash)
    },
    mit("Figure8Unreliable", 5, mit_2c::figure_8_unreliable),
    mit("Figure8", 5, mit_2c::figure_8),
    mit("Backup", 5, mit_2b::backup),
    mit("Persist2", 5, mit_2c::persist_2),
    mit("ReliableChurn", 5, mit_2c::reliable_churn),
    mit("UnreliableAgree", 5, mit_2c::unreliable_agree),
    mit("ReElection", 3, mit_2a::re_election),
    mit("FailAgree", 3, mit_2b::fail_agree),
    mit("Persist1", 3, mit_2c::persist_1),
    Test { quick: true, ..mit("AddNewServer", 5, membership::add_new_server) },
    Test { quick: true, ..mit("RemoveLeader", 5, membership::remove_leader) },
    mit("InitialElection", 3, mit_2a::initial_election),
    mit("Persist3", 3, mit_2c::persist_3),
    mit("BasicAgree", 3, mit_2b::basic_agree),
];

/// The names of the tests that run in real time.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|test| test.name)
}

/// How a test ended.
struct Outcome {
    name: &'static str,
    elapsed: Duration,
    stall: Duration,
    /// Why it failed, and whether the machine stood still too long for that to mean anything.
    failed: Option<(String, bool)>,
}

impl Test {
    fn run(&self, scale: u32, attempt: u32) -> Outcome {
        let (config, scale) = match self.quick {
            true => (quick_config(), 1),
            false => (Config::classic(), scale),
        };
        let patience = config.tick * config.election_ticks_min / scale / 2;
        let began = Instant::now();
        let mut stall = Duration::ZERO;
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let settings = (config, self.compaction);
            let seed = asked("HARDLOG_SUITES_SEED").unwrap_or(0) + u64::from(attempt);
            let started = Processes::start(self.size, settings, scale, seed);
            let mut servers = started.expect("the servers start");
            let watch = Watch::start(servers.dir());
            let result = catch_unwind(AssertUnwindSafe(|| (self.body)(&mut servers)));
            stall = watch.longest_stall();
            result.map_err(|panic| {
                let to = out_of(&format!("suites::real::{}", self.name), seed);
                match servers.fail(self.name, &to) {
                    Ok(said) => eprint!("{said}"),
                    Err(error) => eprintln!("not all of it is in {}: {error}", to.display()),
                }
                text(&*panic)
            })
        }));
        let failed = failed.unwrap_or_else(|panic| Err(text(&*panic))).err();
        let failed = failed.map(|why| (why, stall > patience));
        Outcome { name: self.name, elapsed: began.elapsed(), stall, failed }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).unwrap_or_default()
}

/// Measures how long a thread or a sync is held up.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start(dir: &Path) -> Self {
        let mut file = File::create(dir.join("watch")).expect("a file in an own directory");
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            let mut round = 0;
            while !stopped.load(Ordering::Relaxed) {
                let (pause, began) = (Duration::from_millis(5), Instant::now());
                thread::sleep(pause);
                longest = longest.max(began.elapsed().saturating_sub(pause));
                round += 1;
                if round % 10 == 0 {
                    let began = Instant::now();
                    let synced = file.write_all(b".").and_then(|()| file.sync_data());
                    synced.expect("a disk that works");
                    longest = longest.max(began.elapsed());
                }
            }
            longest
        });
        Self { stop, thread }
    }

    fn longest_stall(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

fn asked<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn the_suites_pass_in_real_time() {
    let scale = asked("HARDLOG_SUITES_SCALE").unwrap_or(SCALE);
    let side_by_side = asked("HARDLOG_SUITES_SIDE_BY_SIDE").unwrap_or(SIDE_BY_SIDE);
    let only: Option<String> = asked("HARDLOG_SUITES_ONLY");
    let asked_for = |test: &&Test| only.as_ref().is_none_or(|only| only == test.name);
    let waiting: VecDeque<Test> = TESTS.iter().filter(asked_for).copied().collect();
    assert!(!waiting.is_empty(), "no test has that name");
    let waiting = Mutex::new(waiting);
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some(test) = next() {
            if let Some(why) = run_until_it_means_something(&test, scale) {
                let line = format!("{}: {why}", test.name);
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Why the test failed, if it did.
fn run_until_it_means_something(test: &Test, scale: u32) -> Option<String> {
    let mut attempt = 1;
    loop {
        let Outcome { name, elapsed, stall, failed } = test.run(scale, attempt);
        let time =
            format!("{:.1} s, longest stall {} ms", elapsed.as_secs_f64(), stall.as_millis());
        let Some((why, stalled)) = failed else {
            eprintln!("{name}: passes in {time}");
            return None;
        };
        eprintln!("{name}: fails after {time}: {why}");
        if !stalled || attempt == ATTEMPTS {
            return Some(why);
        }
        attempt += 1;
    }
}
