//! The crash campaign (`hardlog_tests::crash`): every crash state of short histories.
//!
//! `HARDLOG_STATES=N` and `HARDLOG_SEED=S` make it longer or another one; for hours of it, run
//! `cargo run -p hardlog-tests --release --bin campaign -- --states N --seed S`.

use hardlog::fs::SyncPoint;
use hardlog_tests::crash::{
    explore::{Opts, explore},
    search::{Campaign, Result, table, tell},
};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn shown(result: &Result) -> String {
    let found = result.found.as_ref().map(tell).unwrap_or_default();
    format!("{}{found}", table(result))
}

#[test]
fn every_crash_state_of_short_histories_keeps_every_promise() {
    let (states, seed) = (env("HARDLOG_STATES", 150_000), env("HARDLOG_SEED", 1));
    let result = Campaign::new(states, seed).run();
    let shown = shown(&result);
    println!("{shown}");
    assert!(result.found.is_none(), "{shown}");
    assert!(result.tally.states >= states, "{shown}");
    // A campaign that never saw these rows has looked at nothing that matters.
    for row in ["row 4, clean end", "row 5, unproven", "kill -9 and cut: row 4, clean end"] {
        assert!(result.tally.rows.get(row).is_some_and(|count| *count > 1000), "{row}: {shown}");
    }
    for reason in ["a batch's head", "a payload", "the State batch"] {
        let seen = |row: &String| row.starts_with("refused") && row.contains(reason);
        assert!(result.tally.rows.keys().any(seen), "no refusal over {reason}: {shown}");
    }
}

/// What many threads write while one of them syncs goes to the file in one piece.
#[test]
fn batches_that_were_written_together_keep_every_promise() {
    let (states, seed) = (env("HARDLOG_STATES", 150_000) / 5, env("HARDLOG_SEED", 1));
    let base = Opts { gather: true, seed, ..Opts::default() };
    let result = Campaign { depth: 1, base, ..Campaign::new(states, seed) }.run();
    let shown = shown(&result);
    println!("{shown}");
    assert!(result.found.is_none(), "{shown}");
    assert!(result.tally.states >= states, "{shown}");
    for row in ["row 4, clean end", "row 5, unproven"] {
        assert!(result.tally.rows.get(row).is_some_and(|count| *count > 200), "{row}: {shown}");
    }
}

/// Files of trimmed segments that are written again: each history begins in one full of old batches.
#[test]
fn files_that_were_used_before_keep_every_promise() {
    let (states, seed) = (env("HARDLOG_STATES", 150_000) / 4, env("HARDLOG_SEED", 1));
    let base = Opts { reuse: true, seed, ..Opts::default() };
    let result = Campaign { depth: 1, base, ..Campaign::new(states, seed) }.run();
    let shown = shown(&result);
    println!("{shown}");
    assert!(result.found.is_none(), "{shown}");
    assert!(result.tally.states >= states, "{shown}");
    for row in ["row 5, unproven", "kill -9: row 5, unproven", "kill -9 and cut: row 5, unproven"] {
        assert!(result.tally.rows.get(row).is_some_and(|count| *count > 100), "{row}: {shown}");
    }
}

/// Which letters show what a sync is for, and how long a history must be.
const CONTROLS: [(SyncPoint, &str, usize); 7] = [
    (SyncPoint::Batches, "es", 2),
    (SyncPoint::Seal, "er", 2),
    (SyncPoint::Successor, "er", 2),
    (SyncPoint::SuccessorName, "ers", 3),
    (SyncPoint::FoundNames, "eGk", 3),
    (SyncPoint::Snapshot, "eT", 3),
    (SyncPoint::SnapshotName, "eT", 3),
];

/// The two that a short history cannot show: a file must have become superfluous first. The marker
/// is missed only where the batch with the trim rots.
const LONGER_CONTROLS: [(SyncPoint, &str); 2] =
    [(SyncPoint::Trim, "eereT"), (SyncPoint::TrimMarker, "eereT")];

/// Each sync left out, one at a time: a crash must lose something, and with the sync it must not.
#[test]
fn no_sync_can_be_left_out() {
    for point in SyncPoint::ALL {
        if point == SyncPoint::LostName {
            let reuse = Opts { every: true, reuse: true, ..Opts::default() };
            missed_in("eTr", point, &reuse);
            continue;
        }
        let control = CONTROLS.iter().find(|(of, ..)| *of == point);
        let Some((_, letters, depth)) = control else {
            let longer = LONGER_CONTROLS.iter().find(|(of, _)| *of == point);
            let rot = Opts { every: true, rot: 40, ..Opts::default() };
            missed_in(longer.expect("each sync has its control").1, point, &rot);
            continue;
        };
        let campaign = |omit| Campaign {
            depth: *depth,
            letters: (*letters).to_owned(),
            base: Opts { omit, ..Opts::default() },
            thorough: true,
            ..Campaign::new(0, 1)
        };
        let without = campaign(Some(point)).run();
        println!("without {point:?}:\n{}", shown(&without));
        assert!(without.found.is_some(), "nobody misses {point:?}: {}", table(&without));
        let with = campaign(None).run();
        assert!(with.found.is_none(), "{}", shown(&with));
    }
}

/// `history` loses something without the sync, and nothing with it.
fn missed_in(history: &str, point: SyncPoint, opts: &Opts) {
    let look = |omit| explore(history, &Opts { omit, ..opts.clone() });
    let without = look(Some(point));
    println!("without {point:?}, {history}: {:?}", without.found);
    assert!(without.found.is_some(), "nobody misses {point:?} in {history}");
    let with = look(None);
    assert!(with.found.is_none(), "{history}: {:?}", with.found);
}

/// Histories that once broke the engine, each with every crash state on its way.
///
/// - `gSCf`: a failed sync harms the page behind P of a segment; an iterator that read ahead over P
///   ran into an unreadable sector and reported an error for an entry before P that was sound.
const ONCE_BROKE: [&str; 1] = ["gSCf"];

#[test]
fn the_histories_that_once_broke_it_hold() {
    for history in ONCE_BROKE {
        for seed in [1, 2] {
            let opts =
                Opts { every: true, limit: 48, rot: 20, nested: true, seed, ..Opts::default() };
            let outcome = explore(history, &opts);
            assert!(outcome.found.is_none(), "{history}: {:?}", outcome.found);
        }
    }
}
