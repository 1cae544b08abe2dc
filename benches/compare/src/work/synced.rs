//! append+sync by one writer: 128 B to 64 KiB, and batches.

use std::time::Duration;

use bytes::Bytes;
use hardlog_benches::{
    data::Dice,
    raw::RawFile,
    stats::{Samples, over_rounds},
    table::time,
};

use super::{Contender, Growing, Plan};
use crate::{
    sheet::{Row, Sheet},
    store::{Result, Sync},
};

/// Operations of one contender before the next has its turn.
const TURN: usize = 10;

/// Entries in an append, bytes of each, and what that is called.
pub const SHAPES: [(usize, usize, &str); 5] = [
    (1, 128, "append+sync 128 B"),
    (1, 1 << 10, "append+sync 1 KiB"),
    (1, 4 << 10, "append+sync 4 KiB"),
    (1, 64 << 10, "append+sync 64 KiB"),
    (64, 256, "append+sync 64 × 256 B"),
];

/// Who writes: a store, or the bare disk.
enum Writer {
    Store(Contender),
    Written(RawFile),
    Growing(Growing),
}

impl Writer {
    const fn name(&self) -> &'static str {
        match self {
            Self::Store(store) => store.name,
            Self::Written(_) => "raw",
            Self::Growing(_) => "raw, growing",
        }
    }

    fn write(&mut self, payloads: &[Bytes], joined: &[u8]) -> Result<()> {
        match self {
            Self::Store(store) => store.append(payloads, Sync::Yes)?,
            Self::Written(file) => file.append(joined).and_then(|()| file.sync())?,
            Self::Growing(file) => file.append(joined).and_then(|()| file.sync())?,
        }
        Ok(())
    }
}

/// One sheet of each shape.
///
/// # Errors
/// What a library or the disk says.
pub fn run(plan: &Plan) -> Result<Vec<Sheet>> {
    SHAPES.iter().map(|shape| one(plan, *shape)).collect()
}

fn one(plan: &Plan, (count, len, name): (usize, usize, &str)) -> Result<Sheet> {
    plan.note(name);
    let scratch = plan.scratch()?;
    let payloads = Dice(7).payloads(count, len);
    let joined = payloads.concat();
    let mut writers = vec![
        Writer::Written(RawFile::create(&scratch.path().join("raw"), 64 << 20)?),
        Writer::Growing(Growing::create(&scratch.path().join("growing"))?),
    ];
    for kind in &plan.kinds {
        let mut store = Contender::create(kind, scratch.path())?;
        warm(plan, &mut store)?;
        writers.push(Writer::Store(store));
    }
    // What the stores do behind a writer's back after that much.
    std::thread::sleep(plan.pick(Duration::ZERO, Duration::from_secs(3)));
    let mut rounds: Vec<Vec<Samples>> = vec![Vec::new(); writers.len()];
    let (mut order, mut dice): (Vec<usize>, _) = ((0..writers.len()).collect(), Dice(11));
    for _ in 0..plan.rounds {
        for samples in &mut rounds {
            samples.push(Samples::default());
        }
        for _ in 0..plan.pick(3, 20) {
            // Else one would always meet what the same other left to the disk.
            order.sort_by_cached_key(|_| dice.roll());
            for &who in &order {
                let samples = rounds[who].last_mut().ok_or("a round has begun")?;
                for _ in 0..TURN {
                    samples.time(|| writers[who].write(&payloads, &joined))?;
                }
            }
        }
    }
    let rows =
        writers.iter().zip(&rounds).map(|(writer, ours)| row(writer.name(), ours, &rounds[0]));
    let rows = rows.collect();
    for writer in writers {
        if let Writer::Store(store) = writer {
            store.close()?;
        }
    }
    Ok(Sheet { name: name.to_owned(), heads: &["p50", "p99"], ratio: "p50 ÷ raw", rows })
}

/// Writes as much as makes a store leave its first file: what comes after is its usual life.
fn warm(plan: &Plan, store: &mut Contender) -> Result<()> {
    let payloads = Dice(9).payloads(4, 16 << 10);
    for batch in 0..plan.pick(16, 72 * 16) {
        let sync = if batch % 16 == 15 { Sync::Yes } else { Sync::No };
        store.append(&payloads, sync)?;
    }
    Ok(())
}

fn row(name: &'static str, ours: &[Samples], raw: &[Samples]) -> Row {
    let quotient = |(a, b): (&Samples, &Samples)| a.percentile(0.5) / b.percentile(0.5);
    Row {
        name,
        cells: vec![time(over_rounds(ours, 0.5)), time(over_rounds(ours, 0.99))],
        ratios: ours.iter().zip(raw).map(quotient).collect(),
    }
}
