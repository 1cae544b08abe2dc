//! Absolute times of the engine, with criterion: for comparing one commit with the next.
//!
//! `cargo bench -p hardlog-benches --bench engine`. What a time means on this machine, and how the
//! tails look, only `ratios` tells.

use std::{hint::black_box, path::Path, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hardlog::{Log, Options, ReadMode};
use hardlog_benches::{
    data::{Content, Dice, PAYLOAD, entries, fill, link},
    group::{LogGroup, rate},
    raw::RawFile,
};
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory is writable")
}

fn new_log(dir: &Path) -> Log {
    Log::create(dir.join("log"), Options::new()).expect("an empty directory")
}

fn append_and_sync(c: &mut Criterion) {
    let mut group = c.benchmark_group("append+sync");
    for (count, len) in [(1, 128), (1, 1024), (1, 4096), (1, 65536), (64, PAYLOAD)] {
        let dir = scratch();
        let mut log = new_log(dir.path());
        let payload = Dice(7).bytes(len);
        group.throughput(Throughput::Bytes((count * len) as u64));
        group.bench_function(format!("{count} x {len} B"), |b| {
            b.iter(|| {
                let batch = entries(log.next_log_index(), count, &payload);
                log.append(&batch).and_then(|_| log.sync()).expect("a healthy disk");
            });
        });
        let mut raw = RawFile::create(&dir.path().join("raw"), 64 << 20).expect("room");
        let joined = payload.repeat(count);
        group.bench_function(format!("{count} x {len} B, raw"), |b| {
            b.iter(|| raw.append(&joined).and_then(|()| raw.sync()).expect("a healthy disk"));
        });
    }
}

fn buffered(c: &mut Criterion) {
    let dir = scratch();
    let mut log = new_log(dir.path());
    let payload = Dice(7).bytes(PAYLOAD);
    let mut group = c.benchmark_group("append without sync");
    group.throughput(Throughput::Bytes(256 * PAYLOAD as u64));
    group.bench_function("256 x 256 B", |b| {
        b.iter_batched(
            || (),
            |()| {
                let batch = entries(log.next_log_index(), 256, &payload);
                log.append(&batch).expect("a healthy disk")
            },
            BatchSize::SmallInput,
        );
    });
}

fn group_commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("group commit");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 8, 64] {
        let dir = scratch();
        let log = LogGroup::new(new_log(dir.path()), Dice(3).bytes(PAYLOAD));
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter_custom(|iterations| {
                let rate = rate(threads, Duration::from_millis(50), &|| log.commit());
                Duration::from_secs_f64(1.0 / rate).mul_f64(iterations as f64)
            });
        });
    }
}

/// A closed log of 128 MiB.
fn filled() -> (TempDir, Content) {
    let (dir, content) = (scratch(), Content { bytes: 128 << 20, batch: 64 });
    let log = fill(&dir.path().join("log"), content).expect("room");
    log.close().expect("a healthy disk");
    (dir, content)
}

fn open_and_trim(c: &mut Criterion) {
    let (dir, content) = filled();
    let (log, copy) = (dir.path().join("log"), dir.path().join("copy"));
    // Open changes nothing of what it finds, so links will do for a fresh copy.
    let fresh = || {
        let _ = std::fs::remove_dir_all(&copy);
        link(&log, &copy).expect("links in one file system");
    };
    let options = || Options::new().background(false).scrub_rate(0);
    let mut group = c.benchmark_group("128 MiB");
    group.bench_function("open", |b| {
        b.iter_batched(
            fresh,
            |()| Log::open(&copy, options()).expect("a log"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("trim_prefix of half, and reclaim", |b| {
        b.iter_batched(
            || {
                fresh();
                Log::open(&copy, options()).expect("a log").0
            },
            |mut log| {
                log.trim_prefix(content.entries() / 2).expect("a healthy disk");
                log.reclaim().expect("a healthy disk");
                log
            },
            BatchSize::PerIteration,
        );
    });
}

fn reads(c: &mut Criterion) {
    let (dir, content) = filled();
    let mut group = c.benchmark_group("read");
    let options = Options::new().read_mode(ReadMode::Positioned).scrub_rate(0);
    let (log, _) = Log::open(dir.path().join("log"), options).expect("a log");
    let (reader, mut dice) = (log.reader(), Dice(5));
    group.throughput(Throughput::Elements(1));
    group.bench_function("random at 256 B, by position", |b| {
        b.iter(|| reader.at(1 + dice.roll() % content.entries()).expect("a healthy log"));
    });
    group.throughput(Throughput::Elements(content.entries()));
    group.sample_size(10);
    group.bench_function("scan, by position", |b| {
        b.iter(|| reader.entries(1..u64::MAX, u64::MAX).map(black_box).count());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = append_and_sync, buffered, group_commit, open_and_trim, reads
}
criterion_main!(benches);
