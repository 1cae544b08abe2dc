//! `bench-disk`: how long a write and its fdatasync take here, as a log does them.
//!
//! It writes to one file of its own, which it removes again; in a log's directory the file lies in
//! `tmp/`, which every open empties. All through the engine's own file system, so it measures the very
//! calls that the engine makes.
//!
//! Above: `main`. Below: the engine's `Fs`, and `mount`, which says on what the directory lies.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use hardlog::fs::{Dir, File, Fs, disk::DiskFs};
use serde_json::json;

use crate::{
    exit::{self, CLEAN, Ended, Failure},
    interrupt::Unfinished,
    mount::Mount,
    number,
    out::{Out, Tone},
    table::{Side, Table, bar},
};

/// Bytes of one write: a small batch.
const WRITE: usize = 4096;
/// Bytes of the file, written over from its front when it is full, as no log does; it has to end.
const FILE: u64 = 16 << 20;
/// A sync that is faster than this did not wait for any disk.
const NO_SYNC: Duration = Duration::from_micros(10);
/// What Raft implementations ask of the slowest of a hundred.
const FIT: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(50);
/// Half a turn of the fastest disk that turns: no sync of such a disk is faster.
const TURN: Duration = Duration::from_millis(2);

/// What `bench-disk` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// A directory on the disk in question: it may be a log's, also one that is open.
    pub(crate) dir: PathBuf,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
}

/// What was measured, each list in rising order.
struct Measured {
    /// A write and its sync.
    both: Vec<Duration>,
    /// The sync alone.
    sync: Vec<Duration>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let fs = DiskFs::new(&args.dir);
    let failed = |e: io::Error| Failure::Io(format!("bench {}: {e}", args.dir.display()));
    let names = fs.list(Dir::Root).map_err(failed)?;
    let dir = if names.iter().any(|found| found.name == "tmp") { Dir::Tmp } else { Dir::Root };
    let name = format!("wal-tool-bench-{}", std::process::id());
    let file = fs.create(dir, &name).map_err(failed)?;
    let limit = Duration::from_secs_f64(args.seconds.clamp(0.05, 600.0));
    let place = Unfinished::new(&fs.root().join(dir.name()).join(&name));
    out.busy("measuring");
    let measured = measure(&*file, limit);
    out.still();
    fs.unlink(dir, &name).map_err(failed)?;
    drop(place);
    let measured = measured.map_err(failed)?;
    let times = Times::of(&measured);
    let mount = Mount::of(&args.dir);
    let verdict = Verdict::of(&times, &mount);
    if out.human() {
        human(&measured, (&times, &mount), &verdict, out)?;
    } else {
        let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        out.object(&json!({
            "schema": "wal-tool.bench-disk/1",
            "exit": CLEAN,
            "dir": args.dir.display().to_string(),
            "bytes": WRITE,
            "count": measured.both.len(),
            "p50_us": micros(times.p50),
            "p99_us": micros(times.p99),
            "max_us": micros(times.max),
            "sync_p50_us": micros(times.sync),
            "file_system": known(&mount.kind),
            "device": known(&mount.device),
            "rotating": mount.rotating,
            "verdict": verdict.word,
            "says": verdict.says,
            "election_timeout_ms": verdict.election.map(|time| micros(time) / 1000),
            "histogram": histogram(&measured.both)
                .into_iter()
                .map(|(below, count)| json!({ "below_us": below, "count": count }))
                .collect::<Vec<_>>(),
        }))?;
    }
    Ok(CLEAN)
}

/// The figures by which it is judged.
struct Times {
    p50: Duration,
    p99: Duration,
    max: Duration,
    /// The sync alone, the middle one.
    sync: Duration,
}

impl Times {
    fn of(measured: &Measured) -> Self {
        Self {
            p50: at(&measured.both, 50),
            p99: at(&measured.both, 99),
            max: measured.both.last().copied().unwrap_or_default(),
            sync: at(&measured.sync, 50),
        }
    }
}

fn measure(file: &dyn File, limit: Duration) -> io::Result<Measured> {
    let mut bytes = vec![0; WRITE];
    // Blocks that were written before, as in a segment that was prepared.
    for offset in (0..FILE).step_by(WRITE) {
        file.write_at(&bytes, offset)?;
    }
    // DURABILITY: nothing of value; so that what is measured below is one write and no more.
    file.sync()?;
    let (mut both, mut sync) = (Vec::new(), Vec::new());
    let (begun, mut offset) = (Instant::now(), 0);
    while begun.elapsed() < limit {
        bytes.fill(u8::try_from(both.len() % 251).unwrap_or(0));
        let at = Instant::now();
        file.write_at(&bytes, offset)?;
        let written = Instant::now();
        // DURABILITY: this is what is measured.
        file.sync()?;
        sync.push(written.elapsed());
        both.push(at.elapsed());
        offset = (offset + WRITE as u64) % FILE;
    }
    both.sort_unstable();
    sync.sort_unstable();
    Ok(Measured { both, sync })
}

/// The value below which so many of a hundred lie.
fn at(rising: &[Duration], percent: usize) -> Duration {
    let place = (rising.len() * percent).div_ceil(100).saturating_sub(1);
    rising.get(place).copied().unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Powers of two in microseconds, and how many lie below each and not below the one before.
fn histogram(rising: &[Duration]) -> Vec<(u64, u64)> {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for time in rising {
        let below = (micros(*time) + 1).next_power_of_two();
        match rows.last_mut() {
            Some((last, count)) if *last == below => *count += 1,
            _ => rows.push((below, 1)),
        }
    }
    rows
}

/// What to make of the numbers.
struct Verdict {
    word: &'static str,
    tone: Tone,
    says: String,
    /// What to give elections at least.
    election: Option<Duration>,
}

impl Verdict {
    fn of(times: &Times, mount: &Mount) -> Self {
        let sync = said(times.sync);
        if mount.is_memory() || times.sync < NO_SYNC {
            let why = match mount.is_memory() {
                true => format!("This is {}: memory, which a power cut empties.", mount.kind),
                false => format!(
                    "A sync returns after {sync}, before any disk could have answered: this is \
                     memory, or a disk, virtual machine or library that ignores syncs."
                ),
            };
            let says = format!(
                "{why} Do not run Raft on it where a power cut may happen: votes and entries would \
                 be forgotten."
            );
            return Self { word: "no sync", tone: Tone::Bad, says, election: None };
        }
        let election = election(times.p99);
        let (word, tone, mut says) = if times.p99 < FIT {
            let says = format!(
                "Fit for Raft: 99 of 100 commits are durable in under {}. Give elections at least \
                 {}. That a sync is honest no measurement can prove; this one looks like a disk.",
                said(times.p99),
                said(election)
            );
            ("fit", Tone::Good, says)
        } else if times.p99 < SLOW {
            let says = format!(
                "Usable: give elections at least {}, and keep other programs off this disk.",
                said(election)
            );
            ("slow", Tone::Warn, says)
        } else {
            let says = "Not fit for Raft as it is: with syncs this slow leaders lose their \
                        followers. Look for other programs on this disk, or take another one.";
            ("unfit", Tone::Bad, says.to_owned())
        };
        if mount.rotating == Some(true) && times.sync < TURN {
            says.push_str(&format!(
                " The kernel takes this for a disk that turns, which cannot sync in {sync}: in a \
                 virtual machine that means nothing; a real one answers from its cache, which a \
                 power cut empties unless it has power of its own (hdparm -W 0 turns it off)."
            ));
        }
        if mount.is_remote() {
            says.push_str(&format!(
                " On {} a sync is worth what the other side makes of it.",
                mount.kind
            ));
        }
        let election = Some(election).filter(|_| word != "unfit");
        Self { word, tone, says, election }
    }
}

/// Ten times what 99 of 100 commits take, and no less than a tenth of a second, in steps of 50 ms.
fn election(p99: Duration) -> Duration {
    let ms = (p99 * 10).as_millis().max(100).next_multiple_of(50);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// A duration as people say it.
fn said(time: Duration) -> String {
    let us = micros(time);
    match us {
        0..1000 => format!("{us} us"),
        1000..100_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        100_000..10_000_000 => format!("{} ms", number::grouped(us / 1000)),
        _ => format!("{} s", number::grouped(us / 1_000_000)),
    }
}

fn human(
    measured: &Measured,
    (times, mount): (&Times, &Mount),
    verdict: &Verdict,
    out: &mut Out,
) -> io::Result<()> {
    let rows = histogram(&measured.both);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut table =
        Table::new(&[("below", Side::Right), ("writes", Side::Right), ("", Side::Left)]);
    let mut next = rows.first().map_or(1, |(below, _)| *below);
    for (below, count) in rows {
        // A gap is a gap, also where nobody counts the rows.
        while next < below {
            table.row(vec![said(Duration::from_micros(next)), "0".to_owned(), String::new()]);
            next *= 2;
        }
        let row = said(Duration::from_micros(below));
        table.row(vec![row, number::grouped(count), bar(count, most, 40)]);
        next = below.saturating_mul(2);
    }
    crate::ls::print(&table, out)?;
    let count = number::count(measured.both.len() as u64, "write");
    let Times { p50, p99, max, sync } = times;
    out.line(&format!(
        "  {count} of 4 KiB with fdatasync: p50 {}, p99 {}, slowest {}",
        said(*p50),
        said(*p99),
        said(*max)
    ))?;
    let on = match mount.kind.is_empty() {
        true => String::new(),
        false => format!("; {} on {}", mount.kind, mount.device),
    };
    out.paragraph("  ", &format!("the sync alone: p50 {}{on}", said(*sync)))?;
    let word = out.toned(verdict.tone, &verdict.word.to_uppercase());
    out.line(&format!("RESULT  {word}"))?;
    out.paragraph("  ", &verdict.says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn times(p99: u64, sync: u64) -> Times {
        Times { p50: us(p99 / 2), p99: us(p99), max: us(p99 * 2), sync: us(sync) }
    }

    fn on(kind: &str, rotating: bool) -> Mount {
        Mount { kind: kind.to_owned(), device: "x".to_owned(), rotating: Some(rotating) }
    }

    #[test]
    fn the_verdict_follows_the_slowest_of_a_hundred_and_the_sync_alone() {
        let disk = on("ext4", false);
        let of = |p99, sync| {
            let verdict = Verdict::of(&times(p99, sync), &disk);
            (verdict.word, verdict.election)
        };
        assert_eq!(of(20, 3), ("no sync", None));
        assert_eq!(of(900, 300), ("fit", Some(us(100_000))));
        assert_eq!(of(20_100, 300), ("slow", Some(us(250_000))));
        assert_eq!(of(90_000, 300), ("unfit", None));
    }

    #[test]
    fn memory_is_no_disk_however_slow_and_a_turning_disk_is_not_that_fast() {
        let memory = Verdict::of(&times(20_000, 3000), &on("tmpfs", false));
        assert_eq!((memory.word, memory.says.contains("tmpfs: memory")), ("no sync", true));
        let says = |sync, rotating| {
            let verdict = Verdict::of(&times(9000, sync), &on("ext4", rotating));
            verdict.says.contains("a disk that turns")
        };
        assert_eq!([says(300, true), says(8000, true), says(300, false)], [true, false, false]);
        assert!(Verdict::of(&times(9000, 300), &on("nfs4", false)).says.contains("other side"));
    }

    #[test]
    fn durations_are_said_with_the_unit_that_fits() {
        let all = [0, 999, 1000, 12_345, 250_000, 12_000_000].map(|time| said(us(time)));
        assert_eq!(all, ["0 us", "999 us", "1.0 ms", "12.3 ms", "250 ms", "12 s"]);
    }

    #[test]
    fn the_histogram_counts_each_once() {
        let times = [us(0), us(1), us(3), us(3), us(4), us(1000)];
        assert_eq!(histogram(&times), [(1, 1), (2, 1), (4, 2), (8, 1), (1024, 1)]);
        assert_eq!((at(&times, 50), at(&times, 99), at(&[], 50)), (us(3), us(1000), us(0)));
    }
}
