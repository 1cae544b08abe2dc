//! Instructions of the engine's operations, counted under callgrind and held against limits.
//!
//! ```text
//!   this program ──▶ valgrind --tool=callgrind this program --case "scan, an entry" 3 DIR   ─▶ total
//!                ╰─▶ valgrind --tool=callgrind this program --case "scan, an entry" 6 DIR   ─▶ total
//!   (total of 6 − total of 3) ÷ 3 runs of the case ÷ operations of a run = instructions of one
//! ```
//!
//! Times move with the machine, instructions do not: what a change of the code adds to each append
//! or read shows here on any machine, however busy. Start-up, and what is prepared for a case, is the
//! same in both runs and cancels out. Work of the kernel is not counted: the system calls are, in
//! `tests/counted`.
//!
//! The limits stand in `instructions.txt` beside this package's manifest. More than [`MARGIN`] over
//! one is a failure. `--update` writes what was counted into that file.
//!
//! Not counted in one way everywhere: the C library copies memory as the processor allows, so it is
//! told to use what each x86-64 has. Elsewhere, and without valgrind, nothing is counted, and said so.

use std::{
    env,
    fmt::Write as _,
    fs, hint,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::{Log, LogReader, Options, ReadMode};
use hardlog_benches::data::{Dice, PAYLOAD, entries, link};

/// How much more than its limit an operation may take.
const MARGIN: f64 = 0.10;
/// Entries of the log that is read.
const READ: u64 = 4096;
/// Asks for one case, of so many runs, in a directory.
const CASE: &str = "--case";

/// What is counted.
struct Case {
    name: &'static str,
    /// Operations in a run.
    operations: u64,
    /// Runs of the shorter count.
    runs: u64,
    /// Prepares, then runs so often.
    run: fn(&Path, u64),
}

const CASES: [Case; 7] = [
    Case { name: "append of 256 B", operations: 1, runs: 1000, run: |dir, n| append(dir, 1, n) },
    Case { name: "append of 64 x 256 B", operations: 1, runs: 100, run: |d, n| append(d, 64, n) },
    Case { name: "append of 256 B and sync", operations: 1, runs: 200, run: append_and_sync },
    Case { name: "at, mapped", operations: READ, runs: 8, run: |dir, n| at(dir, n, true) },
    Case { name: "at, positioned", operations: READ, runs: 8, run: |dir, n| at(dir, n, false) },
    Case { name: "scan, an entry", operations: READ, runs: 3, run: scan },
    Case { name: "open of a small log", operations: 1, runs: 5, run: open },
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [CASE, name, runs, dir] => match (find(name), runs.parse()) {
            (Some(case), Ok(runs)) => {
                (case.run)(Path::new(dir), runs);
                Ok(true)
            }
            _ => Err(io::Error::other("no such case")),
        },
        [] => check(false),
        ["--update"] => check(true),
        _ => Err(io::Error::other("usage: instructions [--update]")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("instructions: {e}");
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

// ---- counting

/// Counts all cases. False where one is over its limit.
fn check(update: bool) -> io::Result<bool> {
    if let Some(why) = impossible() {
        eprintln!("instructions: SKIPPED, {why}");
        return Ok(env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_none());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let limits = limits(&fs::read_to_string(&file).unwrap_or_default())?;
    let counts = count_all()?;
    let mut out = io::stdout().lock();
    let mut over = Vec::new();
    for (case, count) in CASES.iter().zip(&counts) {
        let limit = limits.iter().find(|(name, _)| name == case.name).map(|(_, limit)| *limit);
        let verdict = verdict(*count, limit);
        let limit = limit.map_or("no".into(), |limit| limit.to_string());
        writeln!(out, "{:<26} {count:>9}   limit {limit:>9}   {}", case.name, verdict.text())?;
        if verdict == Verdict::Over {
            over.push(case.name);
        }
    }
    if update {
        fs::write(&file, text(&counts))?;
        writeln!(out, "written to {}", file.display())?;
    } else if !over.is_empty() {
        writeln!(
            out,
            "\nMore than {:.0} % over the limit: {}.\nIf that is worth it, say why and run\n    \
             cargo run --release -p hardlog-benches --bin instructions -- --update",
            MARGIN * 100.0,
            over.join("; ")
        )?;
    }
    Ok(update || over.is_empty())
}

/// Why nothing can be counted here.
fn impossible() -> Option<&'static str> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("the limits are those of x86-64 and Linux");
    }
    let found = Command::new("valgrind").arg("--version").output().is_ok();
    (!found).then_some("valgrind is not installed")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Less,
    Over,
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Fine => "",
            Self::Less => "less by now: --update keeps it so",
            Self::Over => "OVER",
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "some thousand instructions")]
fn verdict(count: u64, limit: Option<u64>) -> Verdict {
    match limit {
        Some(limit) if count as f64 > limit as f64 * (1.0 + MARGIN) => Verdict::Over,
        Some(limit) if (count as f64) < limit as f64 * (1.0 - MARGIN) => Verdict::Less,
        Some(_) => Verdict::Fine,
        None => Verdict::Over,
    }
}

/// The lines `NAME: COUNT` of the file of limits.
fn limits(text: &str) -> io::Result<Vec<(String, u64)>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let limit = line
                .rsplit_once(": ")
                .and_then(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)));
            limit.ok_or_else(|| io::Error::other(format!("no limit: {line:?}")))
        })
        .collect()
}

fn text(counts: &[u64]) -> String {
    let mut text = String::from(
        "# Instructions of one operation, counted by callgrind in a release build on x86-64.\n\
         # Written by: cargo run --release -p hardlog-benches --bin instructions -- --update\n",
    );
    for (case, count) in CASES.iter().zip(counts) {
        let _ = writeln!(text, "{}: {count}", case.name);
    }
    text
}

/// Instructions of one operation of each case. Two runs at a time: each is one thread.
fn count_all() -> io::Result<Vec<u64>> {
    CASES
        .iter()
        .map(|case| {
            let (once, twice) = std::thread::scope(|scope| {
                let twice = scope.spawn(|| total(case, case.runs * 2));
                (total(case, case.runs), twice.join().expect("counting does not panic"))
            });
            Ok((twice? - once?) / case.runs / case.operations)
        })
        .collect()
}

/// Instructions of a process that runs `case` so often.
fn total(case: &Case, runs: u64) -> io::Result<u64> {
    let dir = tempfile::tempdir_in(env::temp_dir())?;
    let out = dir.path().join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "-q"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args([CASE, case.name, &runs.to_string()])
        .arg(dir.path())
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-AVX512F,-AVX512VL")
        .status()?;
    let wrong = |what: &str| io::Error::other(format!("{}: {what}", case.name));
    if !status.success() {
        return Err(wrong(&format!("valgrind ended with {status}")));
    }
    let counted = fs::read_to_string(&out)?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|n| n.trim().parse().ok()).ok_or_else(|| wrong("callgrind gave no total"))
}

// ---- what is counted

/// Nothing runs beside: what is counted is what the caller's thread does.
fn options() -> Options {
    Options::new().background(false)
}

fn append(dir: &Path, count: usize, runs: u64) {
    let log = &mut Log::create(dir.join("log"), options()).expect("an empty directory");
    appends(log, count, runs, |_| ());
}

fn append_and_sync(dir: &Path, runs: u64) {
    let log = &mut Log::create(dir.join("log"), options()).expect("an empty directory");
    appends(log, 1, runs, |log| log.sync().expect("a healthy disk"));
}

fn appends(log: &mut Log, count: usize, runs: u64, after: impl Fn(&Log)) {
    let payload = Dice(1).bytes(PAYLOAD);
    for _ in 0..runs {
        let batch = entries(log.next_log_index(), count, &payload);
        log.append(&batch).expect("a healthy disk");
        after(log);
    }
}

/// A log whose entries stand in one sealed segment.
fn sealed(dir: &Path) -> PathBuf {
    let path = dir.join("log");
    let mut log = Log::create(&path, options()).expect("an empty directory");
    appends(&mut log, 64, READ / 64, |_| ());
    log.close().expect("a healthy disk");
    path
}

fn at(dir: &Path, runs: u64, mapped: bool) {
    let path = sealed(dir);
    let mode = if mapped { ReadMode::Mapped } else { ReadMode::Positioned };
    // Only its scrubber maps a segment. It has nothing to do afterwards.
    let options = options().read_mode(mode).background(mapped).scrub_rate(u64::MAX);
    let (log, _) = Log::open(&path, options).expect("a log");
    if mapped {
        wait_until_mapped(&path);
    }
    let reader = log.reader();
    // The first time over, each entry's place is looked up and noted.
    let mut dice = Dice(2);
    (1..=READ).for_each(|index| read(&reader, index));
    for _ in 0..runs * READ {
        read(&reader, 1 + dice.roll() % READ);
    }
}

fn read(reader: &LogReader, index: u64) {
    let payload: Bytes = reader.at(index).expect("a healthy log").payload;
    assert_eq!(hint::black_box(payload).len(), PAYLOAD);
}

fn wait_until_mapped(log: &Path) {
    let (started, wanted) = (Instant::now(), format!("{}", log.display()));
    let mapped = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().any(|line| line.contains(&wanted) && line.contains(".wal"))
    };
    loop {
        // Long enough that one look nearly always does: looking is counted too.
        std::thread::sleep(Duration::from_millis(500));
        if mapped() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is mapped");
    }
}

fn scan(dir: &Path, runs: u64) {
    let (log, _) = Log::open(sealed(dir), options()).expect("a log");
    for _ in 0..runs {
        let count = log.entries(1..u64::MAX, u64::MAX).fold(0, |count, entry| {
            assert_eq!(hint::black_box(entry.expect("a healthy log").payload).len(), PAYLOAD);
            count + 1
        });
        assert_eq!(count, READ);
    }
}

/// Four sealed segments of 256 KiB with their index files, and a last one of the same length that
/// nobody closed.
fn open(dir: &Path, runs: u64) {
    let options = options().segment_size(256 << 10);
    let mut log = Log::create(dir.join("log"), options.clone()).expect("an empty directory");
    appends(&mut log, 4, 800, |_| ());
    log.sync().expect("a healthy disk");
    drop(log);
    for run in 0..runs {
        let again = dir.join(format!("again-{run}"));
        link(&dir.join("log"), &again).expect("links in one file system");
        let (log, report) = Log::open(&again, options.clone()).expect("a log");
        assert!(report.scanned.is_empty() && report.window.1 == 3201, "{report:?}");
        drop(log);
    }
}
