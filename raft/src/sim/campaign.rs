//! Many seeds, on as many threads as are asked for.
//!
//! A run that panics is a run that broke a rule: the panic is caught and told like any breach.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    lock,
    play::{Ask, Outcome, Tally, run_into},
    watch::Breach,
};
use crate::trace::Recording;

/// Rule of a run that panicked.
const PANICKED: u8 = 0;

/// Seeds to run.
#[derive(Debug)]
pub struct Campaign {
    /// Which.
    pub seeds: Range<u64>,
    /// On how many threads.
    pub threads: usize,
    /// What is asked of each.
    pub ask: Ask,
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    state: Mutex<Sum>,
}

/// What came of a campaign so far.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Sums over all runs.
    pub tally: Tally,
    /// The failed run of the lowest seed.
    pub failed: Option<Outcome>,
}

impl Campaign {
    /// A campaign that is about to begin.
    #[must_use]
    pub fn new(seeds: Range<u64>, threads: usize, ask: Ask) -> Self {
        Self {
            next: AtomicU64::new(seeds.start),
            seeds,
            threads,
            ask,
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Runs seeds until all are done, one failed, or somebody says stop.
    pub fn run(&self) -> Sum {
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| self.work());
            }
        });
        lock(&self.state).clone()
    }

    /// Seeds done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Begins no further seeds.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What came of it so far.
    pub fn so_far(&self) -> Sum {
        lock(&self.state).clone()
    }

    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.seeds.end {
                return;
            }
            let outcome = run_caught(seed, &self.ask);
            self.done.fetch_add(1, Ordering::Relaxed);
            let mut sum = lock(&self.state);
            sum.tally.add(&outcome.tally);
            let first = sum.failed.as_ref().is_none_or(|failed| failed.seed > seed);
            if outcome.breach.is_some() && first {
                sum.failed = Some(outcome);
                self.stop();
            }
        }
    }
}

/// Runs the cluster of a seed; a panic is a breach.
#[must_use]
pub fn run_caught(seed: u64, ask: &Ask) -> Outcome {
    let mut recording = None;
    let caught = catch_unwind(AssertUnwindSafe(|| run_into(seed, ask, &mut recording)));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "a panic without words".to_owned());
        Outcome {
            seed,
            breach: Some(Breach { rule: PANICKED, what }),
            trace: 0,
            history: Vec::new(),
            tally: Tally::default(),
            lines: Vec::new(),
            events: recording.as_ref().map(Recording::bytes).unwrap_or_default(),
            disks: std::collections::BTreeMap::new(),
        }
    })
}
