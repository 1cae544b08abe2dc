//! Counters and histograms, named after etcd's where etcd has one. Without the feature `metrics`
//! every function here is empty. Payloads never appear anywhere.
//!
//! | metric | unit |
//! |---|---|
//! | `raft_wal_fsync_duration_seconds` | histogram; buckets [`FSYNC_BUCKETS`] suit it |
//! | `raft_wal_rotate_duration_seconds` | histogram |
//! | `raft_wal_batches_total`, `raft_wal_written_bytes_total` | counters |
//! | `raft_wal_sync_failures_total` | counter |
//! | `raft_wal_scrubbed_bytes_total`, `raft_wal_damaged_batches_total` | counters |
//! | `raft_wal_oldest_unverified_seconds` | gauge: age of the oldest byte not scrubbed yet |
//! | `raft_wal_files_reused_total` | counter: files of trimmed segments that became segments again |
//! | `raft_wal_recovery_duration_seconds` | histogram |
//! | `raft_wal_recovery_dropped_bytes_total` | counter: bytes that open went on without |

use std::time::Duration;

/// Upper bounds in seconds that suit fsync latency: 16 µs doubling up to 8 s.
pub const FSYNC_BUCKETS: [f64; 20] = [
    0.000_016, 0.000_032, 0.000_064, 0.000_128, 0.000_256, 0.000_512, 0.001_024, 0.002_048,
    0.004_096, 0.008_192, 0.016_384, 0.032_768, 0.065_536, 0.131_072, 0.262_144, 0.524_288,
    1.048_576, 2.097_152, 4.194_304, 8.388_608,
];

pub(crate) fn batch_written(bytes: usize) {
    count("raft_wal_batches_total", 1);
    count("raft_wal_written_bytes_total", bytes as u64);
}

pub(crate) fn fsync(took: Duration) {
    record("raft_wal_fsync_duration_seconds", took);
}

pub(crate) fn rotated(took: Duration) {
    record("raft_wal_rotate_duration_seconds", took);
}

pub(crate) fn sync_failed() {
    count("raft_wal_sync_failures_total", 1);
}

pub(crate) fn scrubbed(bytes: u64) {
    count("raft_wal_scrubbed_bytes_total", bytes);
}

pub(crate) fn damaged(batches: u64) {
    count("raft_wal_damaged_batches_total", batches);
}

pub(crate) fn file_reused() {
    count("raft_wal_files_reused_total", 1);
}

pub(crate) fn recovered(took: Duration, dropped: u64) {
    record("raft_wal_recovery_duration_seconds", took);
    count("raft_wal_recovery_dropped_bytes_total", dropped);
}

#[cfg(feature = "metrics")]
pub(crate) fn oldest_unverified(age: Duration) {
    metrics::gauge!("raft_wal_oldest_unverified_seconds").set(age.as_secs_f64());
}

#[cfg(feature = "metrics")]
fn count(name: &'static str, by: u64) {
    metrics::counter!(name).increment(by);
}

#[cfg(feature = "metrics")]
fn record(name: &'static str, took: Duration) {
    metrics::histogram!(name).record(took.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn oldest_unverified(_: Duration) {}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: u64) {}

#[cfg(not(feature = "metrics"))]
fn record(_: &'static str, _: Duration) {}
