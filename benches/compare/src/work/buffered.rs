//! A gibibyte without a sync: batches of 256 × 256 B into an empty store.
//!
//! Timed until the last call returns, and until a sync after it returned. Stores that cannot leave a
//! write unsynced have no figure.

use std::time::Instant;

use bytes::Bytes;
use hardlog_benches::{data::Dice, raw::RawFile, stats::median};

use super::{Contender, Growing, Plan};
use crate::{
    sheet::{Row, Sheet},
    store::{Kind, Result, Sync},
};

/// Entries in a batch.
const BATCH: usize = 256;

/// Seconds of the writes, and of the writes and a sync.
type Took = (f64, f64);

/// One sheet.
///
/// # Errors
/// What a library or the disk says.
pub fn run(plan: &Plan) -> Result<Vec<Sheet>> {
    let batches = plan.pick(16, 1024) * (1 << 20) / (BATCH * 256);
    let name = format!("{} MiB buffered", plan.pick(16, 1024));
    plan.note(&name);
    let payloads = Dice(7).payloads(BATCH, 256);
    let kinds: Vec<&Kind> = plan.kinds.iter().filter(|kind| kind.buffers).collect();
    let mut took: Vec<Vec<Took>> = vec![Vec::new(); kinds.len() + 2];
    for _ in 0..plan.rounds {
        took[0].push(raw(plan, &payloads, batches)?);
        took[1].push(growing(plan, &payloads, batches)?);
        for (kind, took) in kinds.iter().zip(&mut took[2..]) {
            took.push(store(plan, kind, &payloads, batches)?);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    let bytes = (batches * BATCH * 256) as f64;
    let names = ["raw", "raw, growing"].into_iter().chain(kinds.iter().map(|kind| kind.name));
    let rate = |took: &[Took], pick: fn(&Took) -> f64| {
        format!("{:.0}", bytes / 1e6 / median(took.iter().map(pick).collect()))
    };
    let rows = names.zip(&took).map(|(name, ours)| Row {
        name,
        cells: vec![rate(ours, |t| t.0), rate(ours, |t| t.1), {
            let quotients = ours.iter().zip(&took[1]).map(|(ours, raw)| raw.0 / ours.0);
            format!("{:.2}", median(quotients.collect()))
        }],
        ratios: ours.iter().zip(&took[0]).map(|(ours, raw)| raw.0 / ours.0).collect(),
    });
    Ok(vec![Sheet {
        name,
        heads: &["MB/s", "MB/s with the sync", "÷ raw, growing"],
        ratio: "MB/s ÷ raw",
        rows: rows.collect(),
    }])
}

fn raw(plan: &Plan, payloads: &[Bytes], batches: usize) -> Result<Took> {
    let scratch = plan.scratch()?;
    let joined = payloads.concat();
    let file = RawFile::create(&scratch.path().join("raw"), (batches * joined.len()) as u64)?;
    timed(file, batches, |file| Ok(file.append(&joined)?), |file| Ok(file.sync()?)).map(|t| t.0)
}

fn growing(plan: &Plan, payloads: &[Bytes], batches: usize) -> Result<Took> {
    let scratch = plan.scratch()?;
    let joined = payloads.concat();
    let file = Growing::create(&scratch.path().join("growing"))?;
    timed(file, batches, |file| Ok(file.append(&joined)?), |file| Ok(file.sync()?)).map(|t| t.0)
}

fn store(plan: &Plan, kind: &Kind, payloads: &[Bytes], batches: usize) -> Result<Took> {
    let scratch = plan.scratch()?;
    let store = Contender::create(kind, scratch.path())?;
    // The least that makes all of it durable: one more entry, synced.
    let sync = |store: &mut Contender| store.append(&payloads[..1], Sync::Yes);
    let (took, store) = timed(store, batches, |store| store.append(payloads, Sync::No), sync)?;
    store.close()?;
    Ok(took)
}

/// Times so many writes, and a sync behind them. Hands back what took them.
fn timed<T>(
    mut to: T,
    batches: usize,
    mut write: impl FnMut(&mut T) -> Result<()>,
    sync: impl FnOnce(&mut T) -> Result<()>,
) -> Result<(Took, T)> {
    let started = Instant::now();
    for _ in 0..batches {
        write(&mut to)?;
    }
    let written = started.elapsed();
    sync(&mut to)?;
    Ok(((written.as_secs_f64(), started.elapsed().as_secs_f64()), to))
}
