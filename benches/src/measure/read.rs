//! Reads of sealed segments: random `at`, mapped and by position, and a scan.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use hardlog::{Log, LogReader, Options, ReadMode};

use super::Plan;
use crate::{
    data::{Content, Dice, PAYLOAD, segments},
    stats::{Samples, median},
    table::{Figure, Target, time},
};

/// Reads between two looks at the clock.
const TURN: usize = 200;

/// Random `at` and scan of a closed log. Leaves it closed.
#[must_use]
pub fn reads(plan: &Plan, log: &Path, content: Content) -> Vec<Figure> {
    let mut all = Vec::new();
    for mode in [ReadMode::Mapped, ReadMode::Positioned] {
        let rate = if mode == ReadMode::Mapped { u64::MAX } else { 0 };
        let options = Options::new().read_mode(mode).scrub_rate(rate);
        let (engine, _) = Log::open(log, options).expect("a log that can be opened");
        if mode == ReadMode::Mapped {
            wait_until_mapped(log);
        }
        let reader = engine.reader();
        all.extend(at(plan, &reader, log, content, mode));
        all.push(scan(plan, &reader, log, content, mode));
        drop(reader);
        engine.close().expect("a healthy disk");
    }
    all
}

/// The scrubber maps a segment once it was read whole; all but the active one will be.
fn wait_until_mapped(log: &Path) {
    let sealed = segments(log).expect("a log").len() - 1;
    let (started, wanted) = (Instant::now(), format!("{}", log.display()));
    loop {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mapped = maps.lines().filter(|l| l.contains(&wanted) && l.contains(".wal")).count();
        if mapped >= sealed {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{mapped} of {sealed} are mapped");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Random indexes: of one sealed segment, and of the whole log.
fn at(
    plan: &Plan,
    reader: &LogReader,
    log: &Path,
    content: Content,
    mode: ReadMode,
) -> Vec<Figure> {
    let segment = segments(log).expect("a log")[0].clone();
    // What fits a segment of 64 MiB besides its reserve and the heads, a little less: the first one.
    let one = (60 << 20) / (PAYLOAD as u64 + 16 + 96 / content.batch as u64);
    let mut bare = Bare::new(&segment, mode);
    let label = if mode == ReadMode::Mapped { "mapped" } else { "positioned" };
    let mut figures = Vec::new();
    for (range, where_) in [(one, "a sealed segment"), (content.entries(), "the whole log")] {
        let mut rounds = Vec::new();
        for round in 0..=plan.rounds {
            let both = at_round(reader, &mut bare, (range, round as u64), plan.pick(200, 1000));
            if round > 0 {
                rounds.push(both);
            }
        }
        let ours = median(rounds.iter().map(|r| r.0).collect());
        let limit = median(rounds.iter().map(|r| r.1).collect());
        let of_segment = range == one;
        let (value, unit, target) = match mode {
            ReadMode::Mapped => (ours, "ns", Target::AtMost(300.0)),
            ReadMode::Positioned => (ours / limit, "×", Target::AtMost(1.3)),
        };
        figures.push(Figure {
            name: format!("random at 256 B of {where_}, {label}, batches of {}", content.batch),
            engine: time(ours),
            raw: time(limit),
            value,
            unit,
            target: if of_segment { target } else { Target::Shown },
        });
    }
    figures
}

/// What there is without an engine: a pread, or the checksum of as many bytes in memory.
enum Bare {
    File(fs::File, Box<[u8; PAYLOAD]>, u64),
    Memory(Vec<u8>),
}

impl Bare {
    fn new(segment: &Path, mode: ReadMode) -> Self {
        match mode {
            ReadMode::Mapped => Self::Memory(fs::read(segment).expect("a segment")),
            ReadMode::Positioned => {
                let file = fs::File::open(segment).expect("a segment");
                let len = file.metadata().expect("an open file").len();
                Self::File(file, Box::new([0; PAYLOAD]), len)
            }
        }
    }

    fn read(&mut self, place: u64) {
        let at = |len: u64| place % (len / PAYLOAD as u64) * PAYLOAD as u64;
        match self {
            Self::File(file, buf, len) => {
                let read = file.read_at(&mut buf[..], at(*len)).expect("a healthy disk");
                assert_eq!(read, PAYLOAD);
            }
            Self::Memory(bytes) => {
                let at = usize::try_from(at(bytes.len() as u64)).expect("within memory");
                std::hint::black_box(crc32fast::hash(&bytes[at..at + PAYLOAD]));
            }
        }
    }
}

/// Nanoseconds per read of the engine, and per bare read of as many bytes, in turns: the median turn,
/// since a turn in which something else got the processor says nothing about a read.
#[expect(clippy::cast_precision_loss, reason = "some hundred reads")]
fn at_round(
    reader: &LogReader,
    bare: &mut Bare,
    (range, seed): (u64, u64),
    turns: usize,
) -> (f64, f64) {
    let mut dice = Dice(seed);
    let mut took = (Samples::with_capacity(turns), Samples::with_capacity(turns));
    for _ in 0..turns {
        let places: Vec<u64> = (0..TURN).map(|_| dice.roll()).collect();
        took.0.time(|| {
            for place in &places {
                let entry = reader.at(1 + place % range).expect("a healthy log");
                assert_eq!(entry.payload.len(), PAYLOAD);
            }
        });
        took.1.time(|| {
            for place in &places {
                bare.read(*place);
            }
        });
    }
    (took.0.percentile(0.5) / TURN as f64, took.1.percentile(0.5) / TURN as f64)
}

/// Every entry, in order, payloads verified. The median of stretches of some thousand entries, for
/// the same reason.
#[expect(clippy::cast_precision_loss, reason = "some million entries")]
fn scan(plan: &Plan, reader: &LogReader, log: &Path, content: Content, mode: ReadMode) -> Figure {
    const STRETCH: usize = 1 << 11;
    let mut rounds = Vec::new();
    let mut sums = Samples::default();
    let bytes = fs::read(&segments(log).expect("a log")[0]).expect("a segment");
    for _ in 0..plan.rounds {
        let mut took = Samples::default();
        let mut entries = reader.entries(1..u64::MAX, u64::MAX);
        let mut count = 0;
        while count < content.entries() {
            let read = took.time(|| {
                let stretch = entries.by_ref().take(STRETCH);
                stretch.fold(0, |count, entry| {
                    assert_eq!(entry.expect("a healthy log").payload.len(), PAYLOAD);
                    count + 1
                })
            });
            assert!(read > 0, "the log ends after {count} entries");
            count += read;
        }
        assert_eq!(count, content.entries());
        for stretch in bytes.chunks_exact(STRETCH * PAYLOAD) {
            sums.time(|| {
                for payload in stretch.chunks_exact(PAYLOAD) {
                    std::hint::black_box(crc32fast::hash(payload));
                }
            });
        }
        rounds.push(STRETCH as f64 * 1e3 / took.percentile(0.5));
    }
    let (value, batch) = (median(rounds), content.batch);
    let (label, target) = match mode {
        ReadMode::Mapped if batch > 1 => ("mapped", Target::AtLeast(15.0)),
        ReadMode::Mapped => ("mapped", Target::Shown),
        ReadMode::Positioned => ("positioned", Target::Shown),
    };
    Figure {
        name: format!("scan, {label}, batches of {batch}"),
        engine: time(1e3 / value),
        raw: time(sums.percentile(0.5) / STRETCH as f64),
        value,
        unit: "M/s",
        target,
    }
}
