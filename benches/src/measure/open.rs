//! Open of a large log, after a kill and after a close: time beyond reading the last segment, and
//! memory, both of a child process that does nothing else.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use hardlog::{Log, Options};

use super::Plan;
use crate::{
    data::{self, Content, child, kill, link, say_and_wait, segments},
    process::memory,
    raw::RawFile,
    stats::median,
    table::{Figure, Target, time},
};

/// What the child is asked for; the directory is its last argument.
pub const OPEN: &str = "--child-open";
/// Fills the directory, says so, and waits to be killed.
pub const FILL: &str = "--child-fill";

/// The child's side of [`FILL`].
///
/// # Panics
/// Where the log cannot be filled.
pub fn fill_child(bytes: u64, batch: usize, dir: &Path) {
    let log = data::fill(dir, Content { bytes, batch }).expect("an empty directory with room");
    say_and_wait("filled");
    drop(log);
}

/// The child's side of [`OPEN`]: opens, and says what that took.
///
/// # Panics
/// Where the log cannot be opened.
pub fn open_child(dir: &Path) {
    let last = segments(dir).ok().and_then(|mut found| found.pop()).expect("a log");
    let before = memory("VmRSS:");
    let (started, waited) = (Instant::now(), waited_for_a_processor());
    let (log, report) = Log::open(dir, Options::new()).expect("a log that can be opened");
    let took = started.elapsed().saturating_sub(waited_for_a_processor().saturating_sub(waited));
    let grown = memory("VmHWM:").saturating_sub(before);
    let mut reads: Vec<f64> = (0..3).map(|_| read_whole(&last).as_secs_f64() * 1e9).collect();
    reads.sort_unstable_by(f64::total_cmp);
    let window = report.window.1 - report.window.0;
    let syncs = bare_syncs(dir).as_secs_f64() * 1e9;
    say_and_wait(&format!("{} {} {grown} {window} {syncs}", took.as_nanos(), reads[1]));
    drop(log);
}

/// How long this thread was ready to run and did not, since others did: no part of any figure.
fn waited_for_a_processor() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn read_whole(path: &Path) -> Duration {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(path).expect("a segment that was just opened");
    let mut buf = vec![0; 256 << 10];
    let (started, mut at) = (Instant::now(), 0);
    while let Ok(n @ 1..) = file.read_at(&mut buf, at) {
        at += n as u64;
    }
    started.elapsed()
}

/// The syncs that an open cannot do without: of the directory, whose names it found; of the new
/// segment, a mebibyte; of the directory again.
fn bare_syncs(dir: &Path) -> Duration {
    let root = fs::File::open(dir).expect("the log's directory");
    let (started, waited) = (Instant::now(), waited_for_a_processor());
    root.sync_all().expect("a healthy disk");
    let made = RawFile::create(&dir.join("tmp/bare"), 1 << 20).expect("room");
    fs::rename(dir.join("tmp/bare"), dir.join("bare")).expect("one file system");
    root.sync_all().expect("a healthy disk");
    let took = started.elapsed();
    drop(made);
    took.saturating_sub(waited_for_a_processor().saturating_sub(waited))
}

/// What a child said of one open.
struct Opening {
    nanos: f64,
    read: f64,
    kib: f64,
    syncs: f64,
}

fn open_once(log: &Path, scratch: &Path, content: Content) -> Opening {
    let copy = scratch.join("copy");
    link(log, &copy).expect("links in one file system");
    let (process, line) = child(&[OPEN], &copy).expect("the child opens the log");
    kill(process).expect("the child dies");
    fs::remove_dir_all(&copy).expect("the copy can be removed");
    let words: Vec<f64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let &[nanos, read, kib, window, syncs] = words.as_slice() else {
        panic!("a child said {line:?}")
    };
    #[expect(clippy::cast_precision_loss, reason = "some million entries")]
    let expected = content.entries() as f64;
    assert!((window - expected).abs() < 0.5, "{window} of {expected} entries were found");
    Opening { nanos, read, kib, syncs }
}

fn figures(what: &str, rounds: &[Opening], targets: (Target, Target)) -> Vec<Figure> {
    let middle = |pick: fn(&Opening) -> f64| median(rounds.iter().map(pick).collect());
    let beyond = middle(|o| o.nanos - o.read) / 1e6;
    let mib = middle(|o| o.kib) / 1024.0;
    vec![
        Figure {
            name: format!("{what}, beyond reading the last segment"),
            engine: time(middle(|o| o.nanos)),
            raw: time(middle(|o| o.read)),
            value: beyond,
            unit: "ms",
            target: targets.0,
        },
        Figure {
            name: format!("{what}, beyond that and its syncs"),
            engine: time(middle(|o| o.nanos)),
            raw: time(middle(|o| o.read + o.syncs)),
            value: middle(|o| o.nanos - o.read - o.syncs) / 1e6,
            unit: "ms",
            target: Target::Shown,
        },
        Figure {
            name: format!("{what}, memory"),
            engine: format!("{mib:.1} MiB"),
            raw: "–".into(),
            value: mib,
            unit: "MiB",
            target: targets.1,
        },
    ]
}

/// Open of `content` in `log`, which a killed process left, then again after a close. Leaves the log
/// closed.
#[must_use]
pub fn opened(plan: &Plan, log: &Path, content: Content) -> Vec<Figure> {
    let scratch = plan.scratch();
    let name = format!("{} MiB in batches of {}", content.bytes >> 20, content.batch);
    let rounds = || (0..plan.rounds.max(5)).map(|_| open_once(log, scratch.path(), content));
    let killed: Vec<Opening> = rounds().collect();
    let targets = (Target::AtMost(20.0), Target::AtMost(16.0));
    let mut all = figures(&format!("open after kill, {name}"), &killed, targets);
    let (engine, _) = Log::open(log, Options::new()).expect("a log that can be opened");
    engine.close().expect("a healthy disk");
    let closed: Vec<Opening> = rounds().collect();
    let targets = (Target::Shown, Target::Shown);
    all.extend(figures(&format!("open after close, {name}"), &closed, targets));
    all
}

/// Lets a child fill `dir` and kills it.
///
/// # Panics
/// Where it cannot.
pub fn filled_and_killed(dir: &Path, content: Content) {
    let (bytes, batch) = (content.bytes.to_string(), content.batch.to_string());
    let (process, _) = child(&[FILL, &bytes, &batch], dir).expect("the child fills the log");
    kill(process).expect("the child dies");
}
