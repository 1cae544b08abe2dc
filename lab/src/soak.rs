//! `raft-lab soak`: the same tests again and again, until something breaks.
//!
//! ```text
//!   target (what is run: suites, the simulator, a command) ─▶ build (cargo)
//!      └─▶ pool (all cores) ─▶ job (one process: timeout, output, kill)
//!              └─▶ tally ─▶ board (live table) · keep (what a failure leaves) · report
//!              └─▶ journal (a line for each run: what --resume goes on from)
//!              └─▶ guard (a process: ends what is under way if this one is killed)
//! ```
//! Every run is a process of its own with a seed of its own, so whatever breaks breaks alone.
//! A run that was begun and not finished counts nowhere: not in the table, not in the journal.
//!
//! What it does not do: it knows nothing of Raft. A run passed when its process said so.

mod board;
mod build;
pub(crate) mod guard;
mod job;
mod journal;
mod keep;
mod pool;
mod report;
mod tally;
mod target;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fs,
    num::NonZero,
    ops::Range,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGINT, SIGTERM};

use self::{
    board::Board,
    guard::Guard,
    journal::Journal,
    pool::{Limits, Pool},
    tally::Tally,
    target::Target,
    words::{duration, seeds},
};
use crate::Failure;

/// What is run, how often, and what is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
raft-lab soak suites                      every test of the suites, seeds 0 to 99
raft-lab soak suites Figure8 -n 1000      those whose name contains it, as MIT spells it or not
raft-lab soak real Backup Figure8 -n 20   in real time: processes, sockets, files
raft-lab soak sim --seeds 0..100000       the simulator
raft-lab soak -n 200 --test 3A --test 3B -- go test -race -run {test}
raft-lab soak -- ./mine --seed {seed} --out {out}")]
pub(crate) struct Args {
    /// `suites`, `real` or `sim`, and names of tests; or nothing, and a command after `--`.
    what: Vec<String>,
    /// A command; `{seed}`, `{test}` and `{out}` (a directory that is kept if it fails) are
    /// replaced. It also finds them in RAFT_LAB_SEED, RAFT_LAB_TEST and RAFT_LAB_OUT.
    #[arg(last = true)]
    command: Vec<String>,
    /// Tests of a command, for `{test}`.
    #[arg(long = "test", value_name = "NAME", requires = "command")]
    tests: Vec<String>,
    /// Runs of each test: seeds 0 to N-1.
    #[arg(short = 'n', long, default_value_t = 100)]
    runs: u64,
    /// The seeds of each test, B not included, instead of --runs.
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "runs")]
    seeds: Option<Range<u64>>,
    /// Runs at a time; as many as there are cores otherwise.
    #[arg(short, long)]
    jobs: Option<NonZero<usize>>,
    /// Begin nothing more once a run has failed.
    #[arg(long)]
    until_fail: bool,
    /// Begin nothing more after this: 90s, 10m, 2h.
    #[arg(long, value_parser = duration)]
    max_time: Option<Duration>,
    /// A run that takes longer is killed, and has failed.
    #[arg(long, value_parser = duration, default_value = "10m")]
    timeout: Duration,
    /// Where the journal and what failures leave go.
    #[arg(short, long, default_value = "soak")]
    out: PathBuf,
    /// Go on with the soak that is in --out: its runs are not run again.
    #[arg(long)]
    resume: bool,
    /// The binary of the suites or of the simulator; otherwise cargo builds it, in the checkout of
    /// hardlog around the current directory, or the one that this program was built in.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Write the result for tools that read JUnit.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why a soak ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Everything was run.
    Done,
    /// A run failed, and that was enough.
    Failed,
    /// The time was up.
    Time,
    /// Somebody pressed Ctrl-C.
    Stopped,
}

impl End {
    const fn words(self) -> &'static str {
        match self {
            Self::Done => "all runs are done",
            Self::Failed => "stopped at a failure",
            Self::Time => "the time is up",
            Self::Stopped => "stopped by a signal",
        }
    }
}

/// Runs everything that was asked for.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::of(args)?;
    let seeds = args.seeds.clone().unwrap_or(0..args.runs);
    if seeds.is_empty() {
        return Err(Failure::Wrong("no seeds".to_owned()));
    }
    fs::create_dir_all(&args.out)?;
    let out = fs::canonicalize(&args.out)?;
    let (journal, before) = Journal::open(&out, &target, args.resume)?;
    let mut tally = Tally::new(&target.names());
    before.iter().for_each(|run| tally.add(run));
    let stop = Arc::<AtomicBool>::default();
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the program at once; the first asks it to.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let limits = Limits {
        jobs: args.jobs.map_or(cores, NonZero::get),
        timeout: args.timeout,
        until: args.max_time.map(|time| Instant::now() + time),
        until_fail: args.until_fail,
    };
    let began = Instant::now();
    let done = before.into_iter().map(|run| (run.test, run.seed)).collect();
    let board = Board::new();
    let guard = Guard::start()?;
    let pool = Pool { target: &target, out: &out, limits, seeds, done, stop: &stop, guard: &guard };
    let (tally, end) = pool.run(journal, tally, board)?;
    let result = report::Result { target: &target, tally: &tally, end, seconds: began.elapsed() };
    print(&result.summary())?;
    if let Some(path) = &args.junit {
        fs::write(path, result.junit())?;
    }
    if let Some(path) = &args.json {
        fs::write(path, result.json())?;
    }
    match (tally.failed(), end) {
        (_, End::Stopped) => Err(Failure::Stopped),
        (0, _) if tally.total() == 0 => Err(Failure::Nothing("nothing was run".to_owned())),
        (0, _) => Ok(()),
        (failed, _) => Err(Failure::Nothing(format!("{failed} of {} runs failed", tally.total()))),
    }
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::io::stdout().lock().write_all(text.as_bytes())
}
