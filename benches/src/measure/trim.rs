//! trim_prefix of half a log: beyond the syncs and unlinks that it cannot do without.

use std::{fs, path::Path, time::Instant};

use hardlog::{Log, Options};

use super::Plan;
use crate::{
    data::{Content, link, segments},
    raw::RawFile,
    stats::median,
    table::{Figure, Target, time},
};

/// Trims half of copies of a closed log, and makes the files go.
#[must_use]
pub fn half(plan: &Plan, log: &Path, content: Content) -> Vec<Figure> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds.max(7) {
        rounds.push(once(plan, log, content));
    }
    let middle = |pick: fn(&[f64; 3]) -> f64| median(rounds.iter().map(pick).collect());
    let name = format!("trim_prefix of half of {} MiB", content.bytes >> 20);
    let figure = |name, engine: f64, raw: f64, value: f64, target| Figure {
        name,
        engine: time(engine),
        raw: if raw > 0.0 { time(raw) } else { "–".into() },
        value,
        unit: "ms",
        target,
    };
    vec![
        figure(
            format!("{name}, the call"),
            middle(|r| r[0]),
            0.0,
            middle(|r| r[0]) / 1e6,
            Target::Shown,
        ),
        figure(
            format!("{name} and reclaim, beyond syncs and unlinks"),
            middle(|r| r[1]),
            middle(|r| r[2]),
            middle(|r| r[1] - r[2]) / 1e6,
            Target::AtMost(2.0),
        ),
    ]
}

/// Nanoseconds of the call, of call and reclaim, and of the same syncs and unlinks without an engine.
fn once(plan: &Plan, log: &Path, content: Content) -> [f64; 3] {
    let scratch = plan.scratch();
    let (ours, bare) = (scratch.path().join("ours"), scratch.path().join("bare"));
    link(log, &ours).expect("links in one file system");
    // Without threads: everything happens in the calls that are timed.
    let options = Options::new().background(false).scrub_rate(0);
    let (mut engine, _) = Log::open(&ours, options).expect("a log that can be opened");
    engine.sync().expect("a healthy disk");
    let before = segments(&ours).expect("a log").len();
    let started = Instant::now();
    engine.trim_prefix(content.entries() / 2).expect("a healthy disk");
    let call = started.elapsed();
    engine.reclaim().expect("a healthy disk");
    let whole = started.elapsed();
    let gone = before - segments(&ours).expect("a log").len();
    assert!(gone > 0, "the trim removed no file");

    link(log, &bare).expect("links in one file system");
    let mut raw = RawFile::create(&bare.join("raw"), 1 << 20).expect("room");
    let found = segments(&bare).expect("a log");
    let started = Instant::now();
    // The trim, and the marker that states it durable.
    for _ in 0..2 {
        raw.append(&[1; 128]).and_then(|()| raw.sync()).expect("a healthy disk");
    }
    for path in &found[..gone] {
        fs::remove_file(path).expect("a link");
        let _ = fs::remove_file(path.with_extension("idx"));
    }
    let limit = started.elapsed();
    [call, whole, limit].map(|took| took.as_secs_f64() * 1e9)
}
