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
    stats::median,
    table::{Figure, Target, time},
};

/// Reads between two looks at the clock.
const TURN: usize = 500;

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
        all.push(scan(plan, &reader, content, mode));
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
    let file = fs::File::open(&segment).expect("a segment");
    let len = file.metadata().expect("an open file").len();
    let label = if mode == ReadMode::Mapped { "mapped" } else { "positioned" };
    let mut figures = Vec::new();
    for (range, where_) in [(one, "a sealed segment"), (content.entries(), "the whole log")] {
        let mut rounds = Vec::new();
        for round in 0..=plan.rounds {
            let both = at_round(reader, (&file, len), (range, round as u64), plan.pick(40, 200));
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

/// Nanoseconds per read of the engine, and per raw pread of as many bytes, in turns.
#[expect(clippy::cast_precision_loss, reason = "some thousand reads")]
fn at_round(
    reader: &LogReader,
    (file, len): (&fs::File, u64),
    (range, seed): (u64, u64),
    turns: usize,
) -> (f64, f64) {
    let mut dice = Dice(seed);
    let mut took = (Duration::ZERO, Duration::ZERO);
    let mut buf = [0; PAYLOAD];
    for _ in 0..turns {
        let places: Vec<u64> = (0..TURN).map(|_| dice.roll()).collect();
        let started = Instant::now();
        for place in &places {
            let entry = reader.at(1 + place % range).expect("a healthy log");
            assert_eq!(entry.payload.len(), PAYLOAD);
        }
        took.0 += started.elapsed();
        let started = Instant::now();
        for place in &places {
            let place = place % (len / PAYLOAD as u64) * PAYLOAD as u64;
            let read = file.read_at(&mut buf, place).expect("a healthy disk");
            assert_eq!(read, PAYLOAD);
        }
        took.1 += started.elapsed();
    }
    let count = (turns * TURN) as f64;
    (took.0.as_secs_f64() * 1e9 / count, took.1.as_secs_f64() * 1e9 / count)
}

/// Every entry, in order, payloads verified.
#[expect(clippy::cast_precision_loss, reason = "some million entries")]
fn scan(plan: &Plan, reader: &LogReader, content: Content, mode: ReadMode) -> Figure {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let (started, mut count) = (Instant::now(), 0u64);
        for entry in reader.entries(1..u64::MAX, u64::MAX) {
            assert_eq!(entry.expect("a healthy log").payload.len(), PAYLOAD);
            count += 1;
        }
        assert_eq!(count, content.entries());
        rounds.push(count as f64 / started.elapsed().as_secs_f64() / 1e6);
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
        raw: "–".into(),
        value,
        unit: "M/s",
        target,
    }
}
