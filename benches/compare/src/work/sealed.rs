//! A log that was written before: open after an abort and after a close, with memory; random reads,
//! scan; trim of half, and of the tail with an append.
//!
//! A child process fills the log and is killed; each open is another child's, of a copy. Random
//! reads are of the oldest tenth, over and over, and judged against a pread of as many bytes.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use hardlog_benches::{
    data::{Dice, child, kill, say_and_wait},
    process::memory,
    raw::RawFile,
    stats::{Samples, median},
    table::time,
};

use super::{Contender, Plan};
use crate::{
    disk,
    sheet::{Row, Sheet},
    store::{Kind, Result, Sync, named},
};

/// First argument of the child that fills a log: then name, mebibytes, directory.
pub const FILL: &str = "--child-fill";
/// First argument of the child that opens one: then name, directory.
pub const OPEN: &str = "--child-open";

/// Bytes of a payload.
const LEN: usize = 256;
/// Entries in a batch.
const BATCH: usize = 64;
/// Entries of a mebibyte.
const PER_MIB: u64 = (1 << 20) / LEN as u64;
/// Reads between two looks at the clock.
const READS: usize = 100;

/// What was measured of one store, one value of each round.
#[derive(Default)]
struct Figures {
    abort: Vec<f64>,
    abort_mib: Vec<f64>,
    close: Vec<f64>,
    close_mib: Vec<f64>,
    read: Vec<f64>,
    pread: Vec<f64>,
    scan: Vec<f64>,
    prefix: Vec<f64>,
    prefix_freed: Vec<f64>,
    tail: Vec<f64>,
    mib: f64,
}

/// The child's side: fills, says so, waits to be killed.
///
/// # Errors
/// What the library says.
pub fn fill_child(name: &str, mib: u64, dir: &Path) -> Result<()> {
    let mut store = Contender::create(&kind(name)?, dir)?;
    let payloads = Dice(1).payloads(BATCH, LEN);
    while store.next <= mib * PER_MIB {
        let sync =
            if store.next % PER_MIB == PER_MIB - BATCH as u64 + 1 { Sync::Yes } else { Sync::No };
        store.append(&payloads, sync)?;
    }
    say_and_wait("filled");
    Ok(())
}

/// The child's side: opens, says how long that took and how far its memory grew, waits to be killed.
///
/// # Errors
/// What the library says.
pub fn open_child(name: &str, mib: u64, dir: &Path) -> Result<()> {
    let before = memory("VmRSS:");
    let started = Instant::now();
    let store = (kind(name)?.open)(dir)?;
    let took = started.elapsed();
    let grown = memory("VmHWM:").saturating_sub(before);
    store.read(mib * PER_MIB)?;
    say_and_wait(&format!("{} {grown}", took.as_nanos()));
    Ok(())
}

fn kind(name: &str) -> Result<Kind> {
    named(name).ok_or_else(|| "no such store".into())
}

/// Sheets of everything above.
///
/// # Errors
/// What a library or the disk says.
pub fn run(plan: &Plan) -> Result<Vec<Sheet>> {
    let mib = plan.pick(8, 1024);
    let mut all = Vec::new();
    for kind in &plan.kinds {
        plan.note(&format!("{mib} MiB in {}", kind.name));
        all.push((kind.name, one(plan, kind, mib)?));
    }
    Ok(sheets(mib, &all))
}

fn one(plan: &Plan, kind: &Kind, mib: u64) -> Result<Figures> {
    let scratch = plan.scratch()?;
    let mut figures = Figures::default();
    let (filler, _) = child(&[FILL, kind.name, &mib.to_string()], scratch.path())?;
    kill(filler)?;
    let dir = scratch.path().join(kind.name);
    let copy = scratch.path().join("copy");
    for _ in 0..plan.rounds {
        let (nanos, kib) = opened(kind, mib, &dir, &copy)?;
        figures.abort.push(nanos);
        figures.abort_mib.push(kib / 1024.0);
    }
    (kind.open)(&dir)?.close()?;
    for _ in 0..plan.rounds {
        let (nanos, kib) = opened(kind, mib, &dir, &copy)?;
        figures.close.push(nanos);
        figures.close_mib.push(kib / 1024.0);
    }
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    let used = disk::used(&dir)? as f64;
    figures.mib = used / f64::from(1 << 20);
    reads(plan, kind, mib, &dir, &mut figures)?;
    for _ in 0..plan.rounds {
        trims(kind, mib, &dir, &copy, &mut figures)?;
    }
    Ok(figures)
}

/// Nanoseconds and kibibytes of an open of a copy, in a process of its own.
fn opened(kind: &Kind, mib: u64, dir: &Path, copy: &Path) -> Result<(f64, f64)> {
    disk::copy(dir, copy)?;
    let (process, line) = child(&[OPEN, kind.name, &mib.to_string()], copy)?;
    kill(process)?;
    fs::remove_dir_all(copy)?;
    let mut words = line.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(nanos)), Some(Ok(kib))) => Ok((nanos, kib)),
        _ => Err(format!("a child said {line:?}").into()),
    }
}

fn reads(plan: &Plan, kind: &Kind, mib: u64, dir: &Path, figures: &mut Figures) -> Result<()> {
    let store = (kind.open)(dir)?;
    store.settle()?;
    let bare = Bare::create(&dir.with_extension("bare"))?;
    let (range, last) = ((mib * PER_MIB / 10).max(1), mib * PER_MIB);
    let mut dice = Dice(5);
    for _ in 0..plan.rounds {
        let mut took = (Samples::default(), Samples::default());
        for _ in 0..plan.pick(20, 200) {
            let places: Vec<u64> = (0..READS).map(|_| dice.roll()).collect();
            took.0.time(|| places.iter().try_for_each(|p| store.read(1 + p % range).map(drop)))?;
            took.1.time(|| places.iter().try_for_each(|p| bare.read(*p)))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let each = READS as f64;
        figures.read.push(took.0.percentile(0.5) / each);
        figures.pread.push(took.1.percentile(0.5) / each);
        let started = Instant::now();
        let sum = store.scan(1, last)?;
        if sum != last * LEN as u64 {
            return Err(format!("a scan of {} gave {sum} bytes", kind.name).into());
        }
        #[expect(clippy::cast_precision_loss, reason = "some million entries")]
        figures.scan.push(last as f64 / started.elapsed().as_secs_f64());
    }
    store.close()
}

/// A file in the page cache, and reads of a payload's length from it.
struct Bare(fs::File);

impl Bare {
    /// Bytes of the file.
    const SIZE: u64 = 64 << 20;

    fn create(path: &PathBuf) -> Result<Self> {
        drop(RawFile::create(path, Self::SIZE)?);
        Ok(Self(fs::File::open(path)?))
    }

    fn read(&self, place: u64) -> Result<()> {
        let mut buf = [0; LEN];
        let at = place % (Self::SIZE / LEN as u64) * LEN as u64;
        self.0.read_exact_at(&mut buf, at)?;
        std::hint::black_box(buf);
        Ok(())
    }
}

fn trims(kind: &Kind, mib: u64, dir: &Path, copy: &Path, figures: &mut Figures) -> Result<()> {
    disk::copy(dir, copy)?;
    let store = (kind.open)(copy)?;
    let (last, payloads) = (mib * PER_MIB, Dice(3).payloads(16, LEN));
    let payloads: &[Bytes] = &payloads;
    store.append(last + 1, &payloads[..1], Sync::Yes)?;
    let from = last - 1000;
    let started = Instant::now();
    store.trim_tail(from)?;
    store.append(from, payloads, Sync::Yes)?;
    figures.tail.push(nanos(started));
    let before = disk::used(copy)?;
    let started = Instant::now();
    store.trim_prefix(last / 2, Sync::Yes)?;
    figures.prefix.push(nanos(started));
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    figures.prefix_freed.push(1.0 - disk::used(copy)? as f64 / before as f64);
    // The first entry that is left, and the new last one.
    store.read(last / 2)?;
    store.read(from + 15)?;
    store.close()?;
    Ok(fs::remove_dir_all(copy)?)
}

fn nanos(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9
}

/// Cells and figures of one store in one sheet.
type Pick<'a> = &'a dyn Fn(&Figures) -> (Vec<String>, Vec<f64>);

/// Each sheet's figure is absolute but for the reads': of an open or a trim there is no raw limit
/// that would be the same for all.
fn sheets(mib: u64, all: &[(&'static str, Figures)]) -> Vec<Sheet> {
    let middle = |values: &[f64]| median(values.to_vec());
    let sheet = |name: String, heads, ratio, row: Pick<'_>| {
        let rows = all.iter().map(|(name, figures)| {
            let (cells, ratios) = row(figures);
            Row { name, cells, ratios }
        });
        Sheet { name, heads, ratio, rows: rows.collect() }
    };
    let ms = |values: &[f64]| values.iter().map(|nanos| nanos / 1e6).collect::<Vec<_>>();
    let memory = |values: &[f64]| vec![format!("{:.1} MiB", middle(values))];
    vec![
        sheet(format!("open {mib} MiB after an abort"), &["memory"], "ms", &|f| {
            (memory(&f.abort_mib), ms(&f.abort))
        }),
        sheet(format!("open {mib} MiB after a close"), &["memory"], "ms", &|f| {
            (memory(&f.close_mib), ms(&f.close))
        }),
        sheet("random read 256 B".into(), &["each"], "÷ raw pread", &|f| {
            let quotients = f.read.iter().zip(&f.pread).map(|(ours, raw)| ours / raw);
            (vec![time(middle(&f.read))], quotients.collect())
        }),
        sheet("scan".into(), &[], "million entries/s", &|f| {
            (Vec::new(), f.scan.iter().map(|rate| rate / 1e6).collect())
        }),
        sheet(
            format!("trim_prefix of half of {mib} MiB"),
            &["on disk", "given back"],
            "ms",
            &|f| {
                let freed = format!("{:.0} %", 100.0 * middle(&f.prefix_freed));
                (vec![format!("{:.0} MiB", f.mib), freed], ms(&f.prefix))
            },
        ),
        sheet("trim_tail of 1000, append 16, sync".into(), &[], "ms", &|f| {
            (Vec::new(), ms(&f.tail))
        }),
    ]
}
