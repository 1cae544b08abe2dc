//! A minute of a Raft's life: batches of 16 × 256 B, synced, the log trimmed to its last 100,000
//! entries; a contender at a time, since the disk's own counters are read.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hardlog_benches::{
    data::Dice,
    raw::RawFile,
    stats::{Samples, median, over_rounds},
    table::time,
};

use super::{Contender, Plan};
use crate::{
    disk,
    sheet::{Row, Sheet},
    store::{Kind, REUSING, Result, Sync},
};

/// Entries in a batch.
const BATCH: usize = 16;
/// Bytes of a payload.
const LEN: usize = 256;
/// Batches between two trims.
const TRIM_EACH: u64 = 256;

/// What one contender did in one round.
struct Turn {
    samples: Samples,
    per_second: f64,
    /// Bytes the device wrote for each byte of payload.
    device: Option<f64>,
    /// Bytes on disk at the end.
    used: f64,
}

/// Entries that are kept.
const fn kept(plan: &Plan) -> u64 {
    if plan.quick { 5_000 } else { 100_000 }
}

/// One sheet for the typical batch, one for the worst, one each for space and device.
///
/// # Errors
/// What a library or the disk says.
pub fn run(plan: &Plan) -> Result<Vec<Sheet>> {
    let span = plan.pick(Duration::from_millis(300), plan.steady) / count(plan);
    let mut all: Vec<(&'static str, Vec<Turn>)> = vec![("raw", Vec::new())];
    let scratch = plan.scratch()?;
    let mut file = RawFile::create(&scratch.path().join("raw"), 64 << 20)?;
    let mut stores = Vec::new();
    let mut kinds = plan.kinds.clone();
    if let Some(at) = kinds.iter().position(|kind| kind.name == "hardlog")
        && kinds.iter().all(|kind| kind.name != REUSING.name)
    {
        kinds.insert(at + 1, REUSING);
    }
    for kind in &kinds {
        plan.note(&format!("steady state, {} grows", kind.name));
        stores.push((filled(plan, kind, scratch.path())?, kind));
        all.push((kind.name, Vec::new()));
    }
    for round in 0..plan.rounds {
        plan.note(&format!("steady state, round {} of {}", round + 1, plan.rounds));
        all[0].1.push(raw(&mut file, scratch.path(), span)?);
        for ((store, kind), row) in stores.iter_mut().zip(&mut all[1..]) {
            let dir = scratch.path().join(kind.name);
            row.1.push(store_turn(plan, store, &dir, span)?);
        }
    }
    stores.into_iter().try_for_each(|(store, _)| store.close())?;
    Ok(sheets(plan, &all))
}

fn count(plan: &Plan) -> u32 {
    u32::try_from(plan.rounds).unwrap_or(u32::MAX).max(1)
}

/// A store that holds what is kept, and was trimmed before.
fn filled(plan: &Plan, kind: &Kind, dir: &Path) -> Result<Contender> {
    let mut store = Contender::create(kind, dir)?;
    let payloads = Dice(9).payloads(256, LEN);
    while store.next <= 2 * kept(plan) {
        let sync = if store.next % 4096 == 1 { Sync::Yes } else { Sync::No };
        store.append(&payloads, sync)?;
    }
    store.store().trim_prefix(store.next - kept(plan), Sync::Yes)?;
    Ok(store)
}

/// Runs `write` for as long as `span`, and asks the device before and after.
fn turn(dir: &Path, span: Duration, mut write: impl FnMut(u64) -> Result<()>) -> Result<Turn> {
    let (before, started, mut samples) =
        (disk::device_written(dir), Instant::now(), Samples::default());
    let mut batches = 0u64;
    while started.elapsed() < span {
        samples.time(|| write(batches))?;
        batches += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let written = disk::device_written(dir).zip(before).map(|(after, before)| after - before);
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    Ok(Turn {
        samples,
        per_second: batches as f64 / seconds,
        device: written.map(|bytes| bytes as f64 / (batches as f64 * (BATCH * LEN) as f64)),
        used: 0.0,
    })
}

fn raw(file: &mut RawFile, dir: &Path, span: Duration) -> Result<Turn> {
    let joined = Dice(7).bytes(BATCH * LEN);
    turn(dir, span, |_| Ok(file.append(&joined).and_then(|()| file.sync())?))
}

fn store_turn(plan: &Plan, store: &mut Contender, dir: &Path, span: Duration) -> Result<Turn> {
    let payloads = Dice(7).payloads(BATCH, LEN);
    let done = turn(dir, span, |batch| {
        // A trim counts into the batch in which it happens, as it would in a Raft, which needs it
        // no sooner durable than that.
        if batch % TRIM_EACH == TRIM_EACH - 1 {
            store.store().trim_prefix(store.next - kept(plan), Sync::No)?;
        }
        store.append(&payloads, Sync::Yes)
    })?;
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    Ok(Turn { used: disk::used(dir)? as f64, ..done })
}

fn sheets(plan: &Plan, all: &[(&'static str, Vec<Turn>)]) -> Vec<Sheet> {
    let raw = &all[0].1;
    let against = |part: f64| {
        move |(ours, raw): (&Turn, &Turn)| {
            ours.samples.percentile(part) / raw.samples.percentile(part)
        }
    };
    let quantile = |turns: &[Turn], part| {
        let samples: Vec<_> = turns.iter().map(|turn| turn.samples.clone()).collect();
        time(over_rounds(&samples, part))
    };
    let rows = |part: f64| {
        let row = |(name, turns): &(&'static str, Vec<Turn>)| Row {
            name,
            cells: vec![
                format!("{:.0}", median(turns.iter().map(|turn| turn.per_second).collect())),
                quantile(turns, 0.5),
                quantile(turns, 0.99),
                quantile(turns, 0.999),
                quantile(turns, 1.0),
            ],
            ratios: turns.iter().zip(raw).map(against(part)).collect(),
        };
        all.iter().map(row).collect::<Vec<_>>()
    };
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let live = (kept(plan) * LEN as u64) as f64;
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
    let space = all[1..].iter().map(|(name, turns)| Row {
        name,
        cells: vec![mib(median(turns.iter().map(|turn| turn.used).collect())), mib(live)],
        ratios: turns.iter().map(|turn| turn.used / live).collect(),
    });
    let device = all.iter().map(|(name, turns)| Row {
        name,
        cells: Vec::new(),
        ratios: turns.iter().filter_map(|turn| turn.device).collect(),
    });
    let heads: &[&str] = &["batches/s", "p50", "p99", "p99.9", "max"];
    vec![
        Sheet { name: "steady state".into(), heads, ratio: "p50 ÷ raw", rows: rows(0.5) },
        Sheet {
            name: "steady state, tail".into(), heads, ratio: "p99.9 ÷ raw", rows: rows(0.999)
        },
        Sheet {
            name: "steady state, space".into(),
            heads: &["on disk", "live"],
            ratio: "disk ÷ live",
            rows: space.collect(),
        },
        Sheet {
            name: "steady state, device".into(),
            heads: &[],
            ratio: "device bytes ÷ payload",
            rows: device.collect(),
        },
    ]
}
