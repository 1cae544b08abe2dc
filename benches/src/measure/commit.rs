//! Group commit: many writers, each waiting for its own entry.

use std::time::Duration;

use hardlog::{Log, Options};

use super::Plan;
use crate::{
    data::{Dice, PAYLOAD},
    group::{LogGroup, RawGroup, rate},
    raw::RawFile,
    stats::median,
    table::{Figure, Target},
};

/// Commits per second with 1, 8 and 64 threads, against the same group commit over a bare file.
#[must_use]
pub fn group(plan: &Plan) -> Vec<Figure> {
    [1, 8, 64].map(|threads| figure(plan, threads)).into()
}

fn figure(plan: &Plan, threads: usize) -> Figure {
    let dir = plan.scratch();
    let payload = Dice(3).bytes(PAYLOAD);
    let log = Log::create(dir.path().join("log"), Options::new()).expect("an empty directory");
    let log = LogGroup::new(log, payload.clone());
    let raw = RawFile::create(&dir.path().join("raw"), 64 << 20).expect("room for the raw file");
    let raw = RawGroup::new(raw).expect("a second handle");
    let span = Duration::from_millis(plan.pick(100, 250));
    let mut rounds = Vec::new();
    for round in 0..=plan.rounds {
        // Short turns: what else the machine does falls on both.
        let (mut ours, mut limit) = (0.0, 0.0);
        for _ in 0..plan.pick(3, 6) {
            ours += rate(threads, span, &|| log.commit());
            limit += rate(threads, span, &|| raw.commit(&payload));
        }
        if round > 0 {
            rounds.push((ours / limit, ours, limit));
        }
    }
    let turns = f64::from(plan.pick(3u8, 6));
    let middle = |pick: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    Figure {
        name: format!("group commit 256 B, {threads} threads"),
        engine: format!("{:.0}/s", middle(|r| r.1) / turns),
        raw: format!("{:.0}/s", middle(|r| r.2) / turns),
        value: middle(|r| r.0),
        unit: "×",
        target: if threads == 64 { Target::AtLeast(0.95) } else { Target::Shown },
    }
}
