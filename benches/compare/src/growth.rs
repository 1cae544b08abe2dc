//! How the cost of one log grows: with its size, with its entries, with its segments.
//!
//! A point is made by child processes: one fills a log and is killed, another opens it and measures.
//! What should not grow is drawn beside what may.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use hardlog::{Entry, Log, Options};
use hardlog_benches::{
    data::{Dice, child, kill, link, say_and_wait},
    process::memory,
    raw::RawFile,
    stats::{Samples, median},
};

use crate::store::Result;

/// First argument of the child that fills a log.
pub const FILL: &str = "--growth-fill";
/// First argument of the child that opens one and measures.
pub const LOOK: &str = "--growth-look";

/// A log to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of all payloads.
    pub size: u64,
    /// Bytes of a payload.
    pub entry: u64,
    /// Bytes of a segment.
    pub segment: u64,
}

/// What a log of some shape costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Open after a kill, in milliseconds.
    pub open_ms: f64,
    /// The same without reading the last segment's file, as long as that takes.
    pub beyond_ms: f64,
    /// How far an open raised the peak of resident memory, in MiB.
    pub open_mib: f64,
    /// Random read of any entry, checked, by position, in nanoseconds.
    pub at_ns: f64,
    /// Append of one entry and its sync, in microseconds.
    pub append_us: f64,
    /// The same bytes written and synced without the engine, into a file written before.
    pub raw_us: f64,
    /// Trim of half, without what is done in the background, in milliseconds.
    pub trim_ms: f64,
}

impl Shape {
    fn options(self) -> Options {
        let options = Options::new().segment_size(self.segment).scrub_rate(0);
        let bounded = options.batch_max((self.segment / 2).min(32 << 20));
        bounded.write_window((self.segment / 2).clamp(1 << 20, 32 << 20))
    }

    fn entries(self) -> u64 {
        (self.size / self.entry.max(1)).max(1)
    }

    /// Entries of a batch of at most 256 KiB.
    fn batch(self) -> u64 {
        ((256 << 10) / self.entry.max(256)).clamp(1, 1024)
    }

    fn words(self) -> [String; 3] {
        [self.size, self.entry, self.segment].map(|number| number.to_string())
    }

    /// From the words of a child's command line.
    ///
    /// # Errors
    /// Where they are no numbers.
    pub fn parse(words: &[&str; 3]) -> Result<Self> {
        let [size, entry, segment] = words.map(str::parse::<u64>);
        Ok(Self { size: size?, entry: entry?, segment: segment? })
    }
}

/// The child's side: fills, says so, waits to be killed.
///
/// # Errors
/// What the engine says.
pub fn fill_child(shape: Shape, dir: &Path) -> Result<()> {
    let mut log = Log::create(dir, shape.options())?;
    let payload = Dice(1).bytes(usize::try_from(shape.entry)?);
    let mut unsynced = 0;
    while log.next_log_index() <= shape.entries() {
        let count = shape.batch().min(shape.entries() + 1 - log.next_log_index());
        log.append(&batch(log.next_log_index(), count, &payload))?;
        unsynced += count * (shape.entry + 64);
        if unsynced > 4 << 20 {
            log.sync()?;
            unsynced = 0;
        }
    }
    log.sync()?;
    say_and_wait("filled");
    Ok(())
}

fn batch(first: u64, count: u64, payload: &Bytes) -> Vec<Entry> {
    (first..first + count).map(|index| Entry::new(index, 1, payload.clone())).collect()
}

/// The child's side: opens, reads, appends, trims, says what each took.
///
/// # Errors
/// What the engine or the disk says.
pub fn look_child(shape: Shape, dir: &Path) -> Result<()> {
    let last = last_segment(dir)?;
    let before = memory("VmRSS:");
    let started = Instant::now();
    let (mut log, _) = Log::open(dir, shape.options())?;
    let open = millis(started);
    let grown = memory("VmHWM:").saturating_sub(before);
    let read = median((0..3).map(|_| read_whole(&last)).collect::<Result<_>>()?);
    let at = reads(&log, shape)?;
    let (append, raw) = appends(&mut log, shape, dir)?;
    let started = Instant::now();
    log.trim_prefix(shape.entries() / 2 + 1)?;
    log.sync()?;
    let trim = millis(started);
    say_and_wait(&format!("{open} {} {grown} {at} {append} {raw} {trim}", open - read));
    Ok(())
}

fn last_segment(dir: &Path) -> Result<PathBuf> {
    let mut found = hardlog_benches::data::segments(dir)?;
    found.pop().ok_or_else(|| "no segment".into())
}

/// Milliseconds that reading the file takes.
fn read_whole(path: &Path) -> Result<f64> {
    let (file, mut buf, mut at) = (fs::File::open(path)?, vec![0; 256 << 10], 0);
    let started = Instant::now();
    while let n @ 1.. = file.read_at(&mut buf, at)? {
        at += n as u64;
    }
    Ok(millis(started))
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The median turn of some random reads, per read.
fn reads(log: &Log, shape: Shape) -> Result<f64> {
    let (mut dice, reader) = (Dice(3), log.reader());
    let each = if shape.entry > 64 << 10 { 5 } else { 50 };
    let mut took = Samples::default();
    for _ in 0..100 {
        let places: Vec<u64> = (0..each).map(|_| 1 + dice.roll() % shape.entries()).collect();
        took.time(|| places.iter().try_for_each(|index| reader.at(*index).map(drop)))?;
    }
    Ok(took.percentile(0.5) / f64::from(each))
}

/// Microseconds of an append with its sync, and of the same bytes without the engine, in turns.
fn appends(log: &mut Log, shape: Shape, dir: &Path) -> Result<(f64, f64)> {
    let payload = Dice(5).bytes(usize::try_from(shape.entry)?);
    let path = dir.with_extension("raw");
    let mut raw = RawFile::create(&path, 64 << 20)?;
    // Nothing to write is nothing to sync: an empty entry is held against one byte.
    let bytes = if payload.is_empty() { &b"\0"[..] } else { &payload };
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    let count = if shape.entry > 1 << 20 { 15 } else { 60 };
    for turn in 0..count {
        let entry = [Entry::new(log.next_log_index(), 1, payload.clone())];
        ours.time(|| log.append(&entry).and_then(|_| log.sync()))?;
        bare.time(|| raw.append(bytes).and_then(|()| raw.sync()))?;
        if turn == 4 {
            // The first few met a segment that was not prepared yet.
            (ours, bare) = (Samples::default(), Samples::default());
        }
    }
    fs::remove_file(path)?;
    Ok((ours.percentile(0.5) / 1e3, bare.percentile(0.5) / 1e3))
}

/// Medians over `rounds` of what a log of this shape costs, below `dir`.
///
/// # Errors
/// What the engine or the disk says.
pub fn cost(dir: &Path, shape: Shape, rounds: usize) -> Result<Cost> {
    let scratch = tempfile::tempdir_in(dir)?;
    let (log, copy) = (scratch.path().join("log"), scratch.path().join("copy"));
    let [size, entry, segment] = shape.words();
    kill(child(&[FILL, &size, &entry, &segment], &log)?.0)?;
    let mut all = vec![Vec::new(); 7];
    for _ in 0..rounds {
        link(&log, &copy)?;
        let (process, line) = child(&[LOOK, &size, &entry, &segment], &copy)?;
        kill(process)?;
        fs::remove_dir_all(&copy)?;
        let words = line.split_whitespace().map(str::parse::<f64>);
        let found = words.collect::<Result<Vec<f64>, _>>()?;
        if found.len() != all.len() {
            return Err(format!("a child said {line:?}").into());
        }
        all.iter_mut().zip(found).for_each(|(values, value)| values.push(value));
    }
    let mut middle = all.into_iter().map(median);
    let mut next = || middle.next().unwrap_or(f64::NAN);
    Ok(Cost {
        open_ms: next(),
        beyond_ms: next(),
        open_mib: next() / 1024.0,
        at_ns: next(),
        append_us: next(),
        raw_us: next(),
        trim_ms: next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_the_command_line_and_never_has_an_empty_batch() {
        for entry in [0, 1, 256, 64 << 10, 16 << 20] {
            let shape = Shape { size: 1 << 20, entry, segment: 64 << 20 };
            let words = shape.words();
            let [size, len, segment] = &words;
            let parsed = Shape::parse(&[size, len, segment]).unwrap();
            assert_eq!((parsed.size, parsed.entry, parsed.segment), (1 << 20, entry, 64 << 20));
            assert!(shape.batch() >= 1 && shape.entries() >= 1);
        }
        assert!(Shape::parse(&["1", "x", "3"]).is_err());
    }
}
