//! `bench-disk`: how long a write and its fdatasync take here, as a log does them.
//!
//! It writes to one file of its own, which it removes again; in a log's directory the file lies in
//! `tmp/`, which every open empties. All through the engine's own file system, so it measures the very
//! calls that the engine makes.

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
    let (p50, p99) = (at(&measured.both, 50), at(&measured.both, 99));
    let max = measured.both.last().copied().unwrap_or_default();
    let verdict = Verdict::of(p99, at(&measured.sync, 50));
    if out.human() {
        human(&measured, (p50, p99, max), &verdict, out)?;
    } else {
        out.object(&json!({
            "schema": "wal-tool.bench-disk/1",
            "exit": CLEAN,
            "dir": args.dir.display().to_string(),
            "bytes": WRITE,
            "count": measured.both.len(),
            "p50_us": micros(p50),
            "p99_us": micros(p99),
            "max_us": micros(max),
            "sync_p50_us": micros(at(&measured.sync, 50)),
            "verdict": verdict.word,
            "histogram": histogram(&measured.both)
                .into_iter()
                .map(|(below, count)| json!({ "below_us": below, "count": count }))
                .collect::<Vec<_>>(),
        }))?;
    }
    Ok(CLEAN)
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
    says: &'static str,
}

impl Verdict {
    fn of(p99: Duration, sync: Duration) -> Self {
        let (word, tone, says) = if sync < NO_SYNC {
            (
                "no sync",
                Tone::Bad,
                "A sync returns before any disk could have answered: this is memory, or a disk, \
                 virtual machine or library that ignores syncs. Do not run Raft on it where a power \
                 cut may happen: votes and entries would be forgotten.",
            )
        } else if p99 < FIT {
            (
                "fit",
                Tone::Good,
                "Fit for Raft: 99 of 100 commits are durable in under 10 ms. That a sync is honest \
                 no measurement can prove; this one looks like a disk.",
            )
        } else if p99 < SLOW {
            (
                "slow",
                Tone::Warn,
                "Usable: give heartbeats and elections ten times the slowest sync, and keep other \
                 programs off this disk.",
            )
        } else {
            (
                "unfit",
                Tone::Bad,
                "Not fit for Raft as it is: with syncs this slow leaders lose their followers. Look \
                 for other programs on this disk, or take another one.",
            )
        };
        Self { word, tone, says }
    }
}

fn human(
    measured: &Measured,
    (p50, p99, max): (Duration, Duration, Duration),
    verdict: &Verdict,
    out: &mut Out,
) -> io::Result<()> {
    let rows = histogram(&measured.both);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut table =
        Table::new(&[("below", Side::Right), ("writes", Side::Right), ("", Side::Left)]);
    for (below, count) in rows {
        let below = format!("{} us", number::grouped(below));
        table.row(vec![below, number::grouped(count), bar(count, most, 40)]);
    }
    crate::ls::print(&table, out)?;
    let us = |time| number::grouped(micros(time));
    let count = number::count(measured.both.len() as u64, "write");
    out.line(&format!(
        "  {count} of 4 KiB with fdatasync: p50 {} us, p99 {} us, slowest {} us",
        us(p50),
        us(p99),
        us(max)
    ))?;
    let word = out.toned(verdict.tone, &verdict.word.to_uppercase());
    out.line(&format!("RESULT  {word}"))?;
    out.paragraph("  ", verdict.says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn the_verdict_follows_the_slowest_of_a_hundred_and_the_sync_alone() {
        assert_eq!(Verdict::of(us(20), us(3)).word, "no sync");
        assert_eq!(Verdict::of(us(900), us(300)).word, "fit");
        assert_eq!(Verdict::of(us(20_000), us(300)).word, "slow");
        assert_eq!(Verdict::of(us(90_000), us(300)).word, "unfit");
    }

    #[test]
    fn the_histogram_counts_each_once() {
        let times = [us(0), us(1), us(3), us(3), us(4), us(1000)];
        assert_eq!(histogram(&times), [(1, 1), (2, 1), (4, 2), (8, 1), (1024, 1)]);
        assert_eq!((at(&times, 50), at(&times, 99), at(&[], 50)), (us(3), us(1000), us(0)));
    }
}
