//! Many threads, each of which waits until its own 256 bytes are durable.

use std::time::Duration;

use hardlog_benches::{
    data::Dice,
    group::{RawGroup, rate},
    raw::RawFile,
    stats::median,
};

use super::{Contender, Plan};
use crate::{
    sheet::{Row, Sheet},
    store::Result,
};

/// One sheet of each number of threads.
///
/// # Errors
/// What a library or the disk says.
pub fn run(plan: &Plan) -> Result<Vec<Sheet>> {
    [1, 8, 64].map(|threads| one(plan, threads)).into_iter().collect()
}

fn one(plan: &Plan, threads: usize) -> Result<Sheet> {
    let name = format!("{threads} threads, 256 B each");
    plan.note(&name);
    let scratch = plan.scratch()?;
    let payload = Dice(7).bytes(256);
    let raw = RawGroup::new(RawFile::create(&scratch.path().join("raw"), 64 << 20)?)?;
    let stores: Vec<_> = plan
        .kinds
        .iter()
        .map(|kind| Contender::create(kind, scratch.path()))
        .collect::<Result<_>>()?;
    let span = plan.pick(Duration::from_millis(60), Duration::from_secs(2));
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); stores.len() + 1];
    for round in 0..=plan.rounds {
        let bare = rate(threads, span, &|| raw.commit(&payload));
        let mut all = vec![bare];
        for store in &stores {
            all.push(rate(threads, span, &|| {
                store.store().commit(&payload).expect("a healthy disk");
                Ok(())
            }));
        }
        // The first is for warming up.
        if round > 0 {
            rates.iter_mut().zip(all).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    let names = std::iter::once("raw").chain(stores.iter().map(|store| store.name));
    let rows = names.zip(&rates).map(|(name, ours)| Row {
        name,
        cells: vec![format!("{:.0}", median(ours.clone()))],
        ratios: ours.iter().zip(&rates[0]).map(|(ours, raw)| ours / raw).collect(),
    });
    let rows = rows.collect();
    stores.into_iter().try_for_each(Contender::close)?;
    Ok(Sheet { name, heads: &["commits/s"], ratio: "commits ÷ raw", rows })
}
