//! Which seeds a test runs, and what is left of one that fails.
//!
//! A test runs its seeds one after the other. `HARDLOG_SUITES_SEEDS=A..B` asks for others, B not
//! included. A seed that fails is run once more, which fails the same way, and leaves its trace,
//! its timeline and the files of each node in `HARDLOG_SUITES_OUT`, or where cargo keeps what tests leave.
//!
//! Above: the suites. Below: the simulator.

use std::{
    env, fs,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    thread,
};

use hardlog_raft::{
    sim::{
        lab::{Lab, Seed},
        remains,
    },
    trace::{Header, Tracer, What},
};

/// The seeds to run instead of those that a test names.
const SEEDS: &str = "HARDLOG_SUITES_SEEDS";
/// Where failed runs go.
const OUT: &str = "HARDLOG_SUITES_OUT";

/// What a test plays with.
pub(crate) trait Simulated {
    fn lab(&self) -> &Lab;
}

impl Simulated for Lab {
    fn lab(&self) -> &Lab {
        self
    }
}

/// The seeds that were asked for, if any were.
fn asked() -> Option<Range<u64>> {
    let text = env::var(SEEDS).ok()?;
    Some(range(&text).unwrap_or_else(|| panic!("{SEEDS}={text} is no range A..B")))
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Whether a test runs the seeds that it names: only then does it know how often something that is
/// left to chance has to happen.
pub(crate) fn are_as_named() -> bool {
    asked().is_none()
}

/// Runs a body for seeds from 0 on, each in a cluster of its own. How many were run.
pub(crate) fn each_seed<T: Simulated>(
    count: u64,
    make: impl Fn(Seed) -> T,
    body: impl Fn(&mut T),
) -> u64 {
    let seeds = asked().unwrap_or(0..count);
    for seed in seeds.clone() {
        eprintln!("seed {seed}");
        let mut cluster = make(seed.into());
        let run = catch_unwind(AssertUnwindSafe(|| body(&mut cluster)));
        if let Err(panic) = run {
            let nodes = (1..=cluster.lab().size() as u64).collect();
            tell_failure(&Header::of_run("suite", seed, nodes), &make, &body);
            resume_unwind(panic);
        }
    }
    seeds.end.saturating_sub(seeds.start)
}

/// The name of the test that runs. Its thread has it, unless there is only one thread; then it was
/// asked for by that name.
fn test_name() -> String {
    let thread = thread::current();
    let name = thread.name().filter(|name| name.contains("::")).map(str::to_owned);
    let name = name.or_else(|| env::args().skip(1).find(|arg| arg.contains("::")));
    name.unwrap_or_else(|| "suite".to_owned())
}

/// Where what is left of a failed run goes.
pub(crate) fn out_of(test: &str, seed: u64) -> PathBuf {
    let out = env::var_os(OUT).map(PathBuf::from);
    let out = out.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites"));
    out.join(format!("{}-{seed}", test.replace("::", "-")))
}

/// Runs a seed that failed once more, keeps what is left of it, and says how to replay it.
fn tell_failure<T: Simulated>(header: &Header, make: &impl Fn(Seed) -> T, body: &impl Fn(&mut T)) {
    let number = header.seed.expect("a run has a seed");
    let test = test_name();
    let (tracer, recording) = Tracer::to_memory(header);
    tracer.note(0, || What::mark("test", test.clone()));
    let mut cluster = make(Seed { number, tracer: tracer.clone() });
    let failed = catch_unwind(AssertUnwindSafe(|| body(&mut cluster))).is_err();
    tracer.note(0, || What::mark(if failed { "fail" } else { "pass" }, test.clone()));
    let dir = out_of(&test, number);
    match remains::write(&dir, &recording.bytes(), &cluster.lab().disks()) {
        Ok(said) => eprint!("{said}"),
        Err(error) => eprintln!("not all of it is in {}: {error}", dir.display()),
    }
    let seeds = format!("{number}..{}", number + 1);
    eprintln!(
        "replay: {SEEDS}={seeds} cargo test -p hardlog-raft --test cluster -- --exact {test}"
    );
}

#[test]
fn seeds_are_a_range() {
    assert_eq!(range("3..17"), Some(3..17));
    for wrong in ["", "3", "3..", "..4", "a..b", "3...4"] {
        assert_eq!(range(wrong), None, "{wrong:?}");
    }
}

/// A test that fails on seed 2 leaves that seed's trace and every node's log.
#[test]
fn a_seed_that_fails_leaves_its_trace_and_directories() {
    use super::{
        harness::{command, one},
        simulated::mit,
    };
    let ran = std::cell::Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        mit(3, 4, |c| {
            one(c, 7, 3, true);
            ran.set(ran.get() + 1);
            // The third seed, and once more when it is replayed.
            assert!(ran.get() < 3, "it fails");
            assert_eq!(c.applied(0, 1).as_deref(), Some(&command(7)[..]));
        });
    }));
    assert!(result.is_err() && ran.get() == 4, "{}", ran.get());
    let test = "suites::seeds::a_seed_that_fails_leaves_its_trace_and_directories";
    let dir = out_of(test, 2);
    assert!(dir.ends_with(format!("{}-2", test.replace("::", "-"))), "{}", dir.display());
    let trace = fs::read_to_string(dir.join("trace.ndjson")).expect("the trace");
    assert!(trace.contains("\"seed\":2") && trace.contains("\"what\":\"fail\""), "{trace}");
    let page = fs::read_to_string(dir.join("timeline.html")).expect("its timeline");
    assert!(page.ends_with("</html>\n") && page.contains("a_seed_that_fails_leaves"), "{page}");
    for node in 1..=3 {
        let files = fs::read_dir(dir.join(format!("node-{node}"))).expect("its directory");
        assert!(files.count() >= 2, "files of node {node}");
    }
    fs::remove_dir_all(dir).expect("what a test wrote");
}
