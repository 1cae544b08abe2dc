//! Writes: append and sync by one writer, batches, appends without a sync, and the worst of them
//! while segments change.

use std::time::Duration;

use hardlog::{Log, Options};

use super::Plan;
use crate::{
    data::{Dice, PAYLOAD, entries},
    raw::RawFile,
    stats::{Samples, median, over_rounds},
    table::{Figure, Target, time},
};

/// Bytes of the raw file: as much as a segment.
const RAW_LEN: u64 = 64 << 20;

/// Batches of a round of buffered appends: all rounds fit one segment.
const BUFFERED: usize = 140;

/// What one writer does, again and again.
#[derive(Clone, Copy, Debug)]
struct Shape {
    count: usize,
    len: usize,
}

impl Shape {
    fn name(self) -> String {
        let len = if self.len < 1024 {
            format!("{} B", self.len)
        } else {
            format!("{} KiB", self.len / 1024)
        };
        if self.count == 1 { len } else { format!("{} × {len}", self.count) }
    }
}

/// A log and a raw file, side by side, that take the same payloads.
struct Pair {
    log: Log,
    raw: RawFile,
    shape: Shape,
    payload: bytes::Bytes,
    joined: Vec<u8>,
}

impl Pair {
    fn new(dir: &std::path::Path, shape: Shape) -> Self {
        let payload = Dice(7).bytes(shape.len);
        Self {
            log: Log::create(dir.join("log"), Options::new()).expect("an empty directory"),
            raw: RawFile::create(&dir.join("raw"), RAW_LEN).expect("room for the raw file"),
            shape,
            joined: payload.repeat(shape.count),
            payload,
        }
    }

    /// A pair whose log stands at the beginning of a segment that was prepared ahead, as all but the
    /// first are.
    fn in_a_spare(dir: &std::path::Path, shape: Shape) -> Self {
        let mut pair = Self::new(dir, shape);
        let payload = Dice(9).bytes(64 << 10);
        let first = pair.log.incarnation();
        for written in 0.. {
            if pair.log.incarnation() != first {
                break;
            }
            let batch = entries(pair.log.next_log_index(), 1, &payload);
            pair.log.append(&batch).expect("a healthy disk");
            if written % 200 == 199 {
                pair.log.sync().expect("a healthy disk");
            }
            if written == 900 {
                // While the writer pauses the spare is completed.
                std::thread::sleep(Duration::from_secs(2));
            }
        }
        pair.log.sync().expect("a healthy disk");
        pair
    }

    /// One durable write of the engine.
    fn engine(&mut self, samples: &mut Samples) {
        let batch = entries(self.log.next_log_index(), self.shape.count, &self.payload);
        samples.time(|| {
            self.log.append(&batch).and_then(|_| self.log.sync()).expect("a healthy disk");
        });
    }

    /// The same bytes through the disk alone.
    fn bare(&mut self, samples: &mut Samples) {
        samples.time(|| {
            self.raw.append(&self.joined).and_then(|()| self.raw.sync()).expect("a healthy disk");
        });
    }

    /// `count` of each, in turns; who goes first changes each time.
    fn round(&mut self, count: usize) -> (Samples, Samples) {
        let mut both = (Samples::with_capacity(count), Samples::with_capacity(count));
        for i in 0..count {
            if i % 2 == 0 {
                self.engine(&mut both.0);
                self.bare(&mut both.1);
            } else {
                self.bare(&mut both.1);
                self.engine(&mut both.0);
            }
        }
        both
    }
}

/// Append and sync, all sizes and batches of 64.
#[must_use]
pub fn synced(plan: &Plan) -> Vec<Figure> {
    let shapes = [(1, 128), (1, 1024), (1, 4096), (1, 65536), (64, PAYLOAD)];
    let shapes = shapes.map(|(count, len)| Shape { count, len });
    let mut figures = Vec::new();
    for shape in shapes {
        let dir = plan.scratch();
        let mut pair = Pair::in_a_spare(dir.path(), shape);
        let _warm = pair.round(10);
        let rounds = (0..plan.rounds).map(|_| pair.round(plan.pick(60, 150)));
        let (engine, raw): (Vec<_>, Vec<_>) = rounds.unzip();
        figures.extend(percentiles(&format!("append+sync {}", shape.name()), &engine, &raw));
    }
    figures
}

fn percentiles(name: &str, engine: &[Samples], raw: &[Samples]) -> Vec<Figure> {
    let p50 = ratio(&format!("{name} p50"), engine, raw, 0.5, Target::AtMost(1.1));
    let p99 = ratio(&format!("{name} p99"), engine, raw, 0.99, Target::Shown);
    // Shown beside the figure that is judged: on a disk that is now fast and now slow the two medians
    // may stem from different weather, and each operation and its neighbour do not.
    let pairs = engine.iter().zip(raw).map(|(ours, limit)| ours.over(limit).percentile(0.5));
    let pairs = Figure {
        name: format!("{name}, p50 of each over its neighbour"),
        value: median(pairs.collect()),
        target: Target::Shown,
        ..p50.clone()
    };
    vec![p50, pairs, p99]
}

/// The quotient of the same percentile of both.
fn ratio(name: &str, engine: &[Samples], raw: &[Samples], part: f64, target: Target) -> Figure {
    let (ours, limit) = (over_rounds(engine, part), over_rounds(raw, part));
    Figure {
        name: name.to_owned(),
        engine: time(ours),
        raw: time(limit),
        value: ours / limit,
        unit: "×",
        target,
    }
}

/// Batches of 256 entries without a sync, against pwrite alone: as a part of its throughput.
#[must_use]
pub fn buffered(plan: &Plan) -> Vec<Figure> {
    let dir = plan.scratch();
    let mut pair = Pair::in_a_spare(dir.path(), Shape { count: 256, len: PAYLOAD });
    let mut all = (Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let mut both = (Samples::with_capacity(BUFFERED), Samples::with_capacity(BUFFERED));
        for i in 0..BUFFERED {
            let batch = entries(pair.log.next_log_index(), 256, &pair.payload);
            both.0.time(|| pair.log.append(&batch).map(drop)).expect("a healthy disk");
            both.1.time(|| pair.raw.append(&pair.joined)).expect("a healthy disk");
            // Outside the clock, and before the window of the log is full: what waits for the disk
            // is measured elsewhere.
            if i % 70 == 69 {
                pair.log.sync().expect("a healthy disk");
                pair.raw.sync().expect("a healthy disk");
            }
        }
        if round > 0 {
            all.0.push(both.0);
            all.1.push(both.1);
        }
    }
    let (ours, limit) = (over_rounds(&all.0, 0.5), over_rounds(&all.1, 0.5));
    vec![Figure {
        name: "buffered append 256 × 256 B".into(),
        engine: time(ours),
        raw: time(limit),
        value: limit / ours,
        unit: "×",
        target: Target::AtLeast(0.45),
    }]
}

/// The tail of append+sync while segments change: 64 KiB at a time, a rotation each thousand.
#[must_use]
pub fn rotation(plan: &Plan) -> Vec<Figure> {
    let mut all = (Vec::new(), Vec::new());
    let dir = plan.scratch();
    let mut pair = Pair::new(dir.path(), Shape { count: 1, len: 65536 });
    let mut rotations = pair.log.incarnation();
    for _ in 0..plan.rounds {
        let (engine, raw) = pair.round(plan.pick(400, 2100));
        all.0.push(engine);
        all.1.push(raw);
    }
    rotations = pair.log.incarnation() - rotations;
    let name = format!("append+sync 64 KiB over {rotations} rotations");
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
        .map(|(label, part)| {
            let judged = label == "p99.9" && !plan.quick;
            let target = if judged { Target::AtMost(1.5) } else { Target::Shown };
            ratio(&format!("{name} {label}"), &all.0, &all.1, part, target)
        })
        .into()
}
