//! How fast the tool reads a large log that the page cache holds, beside what the machine does with
//! the same bytes without it; and how much memory it takes for that.
//!
//! `cargo bench -p wal-tool --bench throughput -- [--mib N] [--rounds N] [--only COMMAND]
//! [--payload N] [DIR]`
//!
//! DIR is a directory with room for the logs; by default one beside the build's output. `--payload N`
//! leaves out all contents but those with payloads of that length. Each figure is bytes of the log's
//! files over the seconds that a child process took from start to end, the median of the rounds. The
//! raw limits: the same files read by `pread` on two threads, with and without a CRC over each 4 KiB;
//! `cat` of them into /dev/null.
//! The exit code is 0 whatever the figures are: a busy machine makes no test fail.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hardlog::{Entry, Log, Options};
use hardlog_benches::{
    data::{Dice, segments},
    stats::median,
    table::{Figure, HEADING, Target},
};

/// Bytes of a payload, entries in a batch, and whether the targets are for this content.
const CONTENTS: [(usize, usize, bool); 4] =
    [(256, 64, true), (4 << 10, 8, true), (256, 1, false), (64 << 10, 1, false)];
/// The small log, whose memory is compared with that of the large one.
const SMALL_MIB: u64 = 64;

struct Plan {
    dir: PathBuf,
    mib: u64,
    rounds: usize,
    only: Option<String>,
    payload: Option<usize>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let Some(plan) = parse(&args) else {
        eprintln!("usage: throughput [--mib N] [--rounds N] [--only COMMAND] [--payload N] [DIR]");
        return ExitCode::from(2);
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("throughput: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Option<Plan> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut plan = Plan { dir, mib: 2048, rounds: 5, only: None, payload: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--mib" => plan.mib = args.next()?.parse().ok().filter(|&mib| mib > 0)?,
            "--rounds" => plan.rounds = args.next()?.parse().ok().filter(|&n| n > 0)?,
            "--payload" => plan.payload = Some(args.next()?.parse().ok()?),
            "--only" => plan.only = Some(args.next()?.clone()),
            dir if !dir.starts_with('-') => plan.dir = PathBuf::from(dir),
            _ => return None,
        }
    }
    Some(plan)
}

fn run(plan: &Plan) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{HEADING}")?;
    let wanted = |content: &(usize, usize, bool)| plan.payload.is_none_or(|len| len == content.0);
    for (payload, batch, judged) in CONTENTS.into_iter().filter(wanted) {
        let scratch = tempfile::tempdir_in(&plan.dir)?;
        let (large, small) = (scratch.path().join("large"), scratch.path().join("small"));
        fill(&large, plan.mib << 20, (payload, batch)).map_err(io::Error::other)?;
        fill(&small, SMALL_MIB << 20, (payload, batch)).map_err(io::Error::other)?;
        let what = format!("{} MiB in batches of {batch} × {payload} B", plan.mib);
        let files = segments(&large)?;
        let bytes = length(&files)?;
        let rate = |took: Duration| rate(bytes, took);
        // The first reading puts what the cache lost back there.
        threads_read(&files, false)?;
        let raw = Raw::of(plan, &files, bytes)?;
        for (name, shell, target) in COMMANDS {
            if plan.only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let runs = (0..plan.rounds).map(|_| measured(shell, &large));
            let runs = runs.collect::<io::Result<Vec<Run>>>()?;
            let kib = |runs: &[Run]| runs.iter().map(|run| run.kib).max().unwrap_or(0);
            let took = median(runs.iter().map(|run| rate(run.took)).collect());
            let limit = if name == "verify" { raw.crc } else { raw.cat };
            let target = if judged { Target::AtLeast(target) } else { Target::Shown };
            let figure = Figure {
                name: format!("{name}, {what}"),
                engine: format!("{took:.2} GB/s"),
                raw: format!("{limit:.2} GB/s"),
                value: took,
                unit: "GB/s",
                target,
            };
            writeln!(out, "{figure}")?;
            let (many, few) = (kib(&runs), measured(shell, &small)?.kib);
            #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
            let mib = |kib: u64| kib as f64 / 1024.0;
            let figure = Figure {
                name: format!("{name}, memory beyond that for {SMALL_MIB} MiB"),
                engine: format!("{:.1} MiB", mib(many)),
                raw: format!("{:.1} MiB", mib(few)),
                value: mib(many) - mib(few),
                unit: "MiB",
                target: Target::AtMost(4.0),
            };
            writeln!(out, "{figure}")?;
        }
        writeln!(
            out,
            "| without the tool: {what} | – | pread on two threads {:.2} GB/s, with CRC {:.2}, cat {:.2} | – | – |  |",
            raw.read, raw.crc, raw.cat
        )?;
        out.flush()?;
    }
    Ok(())
}

/// Name, what a shell runs where `$0` is the tool and `$1` the log, and gigabytes of log a second.
const COMMANDS: [(&str, &str, f64); 5] = [
    ("verify", "exec \"$0\" verify \"$1\" >/dev/null", 2.0),
    ("dump", "exec \"$0\" dump \"$1\" >/dev/null", 0.3),
    ("dump into a pipe", "\"$0\" dump \"$1\" | cat >/dev/null", 0.3),
    ("export", "exec \"$0\" export \"$1\" >/dev/null", 0.3),
    ("export into a pipe", "\"$0\" export \"$1\" | cat >/dev/null", 0.3),
];

/// Writes a closed log of so many payload bytes.
fn fill(dir: &Path, bytes: u64, (payload, batch): (usize, usize)) -> hardlog::Result<()> {
    let mut log = Log::create(dir, Options::new())?;
    let body = Dice(7).bytes(payload);
    let count = bytes / payload as u64;
    let mut next = 1;
    while next <= count {
        let entries: Vec<Entry> =
            (next..).take(batch).map(|index| Entry::new(index, 1, body.clone())).collect();
        log.append(&entries)?;
        next += batch as u64;
    }
    log.close()
}

fn length(files: &[PathBuf]) -> io::Result<u64> {
    files.iter().map(|file| fs::metadata(file).map(|meta| meta.len())).sum()
}

/// Gigabytes (10⁹) a second.
#[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e9
}

/// What the machine does without the tool, in gigabytes a second.
struct Raw {
    read: f64,
    crc: f64,
    cat: f64,
}

impl Raw {
    fn of(plan: &Plan, files: &[PathBuf], bytes: u64) -> io::Result<Self> {
        let middle = |work: &dyn Fn() -> io::Result<()>| {
            let times = (0..plan.rounds).map(|_| {
                let started = Instant::now();
                work().map(|()| rate(bytes, started.elapsed()))
            });
            times.collect::<io::Result<Vec<f64>>>().map(median)
        };
        let cat = || {
            let status = Command::new("cat").args(files).stdout(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other("cat failed")) }
        };
        Ok(Self {
            read: middle(&|| threads_read(files, false))?,
            crc: middle(&|| threads_read(files, true))?,
            cat: middle(&cat)?,
        })
    }
}

/// Reads all files on two threads, and sums up each page of them if asked to.
fn threads_read(files: &[PathBuf], crc: bool) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<u32> {
        let (mut buf, mut sum) = (vec![0; 256 << 10], 0);
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (file, mut at) = (File::open(path)?, 0);
            loop {
                let read = file.read_at(&mut buf, at)?;
                if read == 0 {
                    break;
                }
                at += read as u64;
                for page in buf[..read].chunks(4096).filter(|_| crc) {
                    sum ^= crc32fast::hash(page);
                }
            }
        }
        Ok(std::hint::black_box(sum))
    };
    thread::scope(|scope| {
        let both = [scope.spawn(work), scope.spawn(work)];
        both.into_iter().try_for_each(|thread| match thread.join() {
            Ok(read) => read.map(drop),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// One run of a command.
struct Run {
    took: Duration,
    /// The most memory that the tool was seen to hold.
    kib: u64,
}

fn measured(shell: &str, dir: &Path) -> io::Result<Run> {
    let tool = env!("CARGO_BIN_EXE_wal-tool");
    let started = Instant::now();
    let mut child = Command::new("sh").args(["-c", shell, tool]).arg(dir).spawn()?;
    let (mut kib, mut sleep) = (0, Duration::from_micros(200));
    let status = loop {
        kib = kib.max(memory(&child));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(sleep);
        sleep = (sleep * 2).min(Duration::from_millis(5));
    };
    let took = started.elapsed();
    // 1: the index file of the last sealed segment was not there yet when the log was closed.
    match status.code() {
        Some(0 | 1) => Ok(Run { took, kib }),
        _ => Err(io::Error::other(format!("{shell}: {status}"))),
    }
}

/// Kibibytes that a process, or the first child of the shell that it still is, has held at most.
fn memory(child: &Child) -> u64 {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let first = children.unwrap_or_default();
    let first = first.split_whitespace().next().and_then(|pid| pid.parse().ok());
    of(first.unwrap_or(pid))
}
