//! What came of the runs of each test.

use std::collections::BTreeMap;

/// A run that is over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// Number of the test in its target.
    pub(super) test: usize,
    pub(super) seed: u64,
    pub(super) seconds: f64,
    /// Why it failed, if it did.
    pub(super) failed: Option<String>,
}

/// One test.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    pub(super) name: String,
    pub(super) passed: u64,
    /// Seeds that failed, and why.
    pub(super) failed: BTreeMap<u64, String>,
    pub(super) running: u64,
    /// Sum of times, for the whole; mean and squared distances from it, for the deviation
    /// (Welford).
    pub(super) seconds: f64,
    mean: f64,
    squares: f64,
}

impl Score {
    pub(super) fn total(&self) -> u64 {
        self.passed + self.failed.len() as u64
    }

    /// Mean time of a run, in seconds.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of a run's time, in seconds; 0 before the second.
    pub(super) fn deviation(&self) -> f64 {
        match self.total() {
            0 | 1 => 0.0,
            total => (self.squares / (total - 1) as f64).sqrt(),
        }
    }

    fn add(&mut self, run: &Run) {
        match &run.failed {
            None => self.passed += 1,
            Some(why) => drop(self.failed.insert(run.seed, why.clone())),
        }
        self.seconds += run.seconds;
        let before = run.seconds - self.mean;
        self.mean += before / self.total() as f64;
        self.squares += before * (run.seconds - self.mean);
    }
}

/// All tests of a soak.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) scores: Vec<Score>,
}

impl Tally {
    pub(super) fn new(names: &[String]) -> Self {
        let score = |name: &String| Score { name: name.clone(), ..Score::default() };
        Self { scores: names.iter().map(score).collect() }
    }

    pub(super) fn begin(&mut self, test: usize) {
        if let Some(score) = self.scores.get_mut(test) {
            score.running += 1;
        }
    }

    /// A run that was begun is over, or was broken off.
    pub(super) fn end(&mut self, test: usize) {
        if let Some(score) = self.scores.get_mut(test) {
            score.running = score.running.saturating_sub(1);
        }
    }

    pub(super) fn add(&mut self, run: &Run) {
        if let Some(score) = self.scores.get_mut(run.test) {
            score.add(run);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.scores.iter().map(Score::total).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.scores.iter().map(|score| score.failed.len() as u64).sum()
    }
}
