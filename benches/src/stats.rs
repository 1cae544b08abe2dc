//! Percentiles of samples, and medians over rounds.

use std::time::{Duration, Instant};

/// Durations of one kind, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    nanos: Vec<f64>,
}

impl Samples {
    /// None yet, with room for `count`.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self { nanos: Vec::with_capacity(count) }
    }

    /// Runs `work` and keeps how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.push(started.elapsed());
        result
    }

    /// Keeps one duration.
    pub fn push(&mut self, took: Duration) {
        self.nanos.push(took.as_secs_f64() * 1e9);
    }

    /// Each sample over that of `other` in the same place.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let both = self.nanos.iter().zip(&other.nanos);
        Self { nanos: both.map(|(ours, limit)| ours / limit).collect() }
    }

    /// The sample below which `part` (0 to 1) of all samples lie, in nanoseconds.
    ///
    /// # Panics
    /// Where there are no samples.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among at most some million samples"
    )]
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * part) as usize;
        sorted[rank.min(sorted.len() - 1)]
    }
}

/// The middle one, the upper of the two middle ones where the count is even.
///
/// # Panics
/// Where there are none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The same percentile of each round, and the median of those.
#[must_use]
pub fn over_rounds(rounds: &[Samples], part: f64) -> f64 {
    median(rounds.iter().map(|round| round.percentile(part)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_and_the_last_one_is_the_largest() {
        let mut samples = Samples::default();
        for ms in (1..=100).rev() {
            samples.push(Duration::from_nanos(ms));
        }
        assert!((samples.percentile(0.5) - 51.0).abs() < 1e-6);
        assert!((samples.percentile(0.99) - 100.0).abs() < 1e-6);
        assert!((samples.percentile(1.0) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn one_wild_round_does_not_move_the_median() {
        assert!((median(vec![3.0, 900.0, 2.0]) - 3.0).abs() < 1e-9);
    }
}
