//! The fuzzing entry points over the kept corpora and over random changes of them, for a moment each:
//! what `tests/fuzz/run.sh` does with coverage and for as long as one likes.
//!
//! An input that panics is left in the directory for temporary files of tests, and its name printed.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use hardlog::{fs::sim::Rng, fuzzing};

const SEED: u64 = 0xF022_5EED;
const MOMENT: Duration = Duration::from_secs(4);
/// Inputs grow no longer than this, in bytes.
const LEN_MAX: usize = 64 << 10;

#[test]
fn batches_of_any_bytes() {
    fuzz("batch", fuzzing::batch, 2000);
}

#[test]
fn segments_of_any_bytes() {
    fuzz("segment", fuzzing::segment, 50);
}

#[test]
fn index_files_of_any_bytes() {
    fuzz("index", fuzzing::index, 2000);
}

#[test]
fn snapshot_files_of_any_bytes() {
    fuzz("snapshot", fuzzing::snapshot, 500);
}

#[test]
fn directories_to_which_anything_happened() {
    fuzz("directory", fuzzing::directory, 100);
}

#[test]
fn messages_of_any_bytes() {
    fuzz("message", hardlog_raft::transport::fuzz, 2000);
}

fn fuzz(target: &str, entry: fn(&[u8]), runs_min: u64) {
    let corpus = corpus(target);
    for (name, bytes) in &corpus {
        run(target, entry, bytes, &format!("corpus {name}"));
    }
    let mut rng = Rng::new(SEED);
    let (begun, mut runs) = (Instant::now(), 0);
    while begun.elapsed() < MOMENT || runs < runs_min {
        let (_, bytes) = &corpus[rng.below(corpus.len())];
        let (_, other) = &corpus[rng.below(corpus.len())];
        let changed = change(bytes, other, &mut rng);
        run(target, entry, &changed, &format!("run {runs} of seed {SEED:#x}"));
        runs += 1;
    }
    println!("{target}: {runs} runs");
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = hardlog_tests::repository().join("tests/fuzz/corpus").join(target);
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no corpus for {target}");
    found
}

fn run(target: &str, entry: fn(&[u8]), bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| entry(bytes))).is_err() {
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
        fs::write(&left, bytes).unwrap();
        panic!("{target}, {what}: the input is in {}", left.display());
    }
}

/// One to eight changes; half of them where the meaning is, behind the two headers of a segment.
fn change(bytes: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    const VALUES: [u64; 8] = [0, 1, 8, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX - 1, u64::MAX, 1 << 63];
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(8) {
        let low = if rng.below(2) == 0 { 8192.min(out.len() / 2) } else { 0 };
        let at = low + rng.below((out.len() - low).max(1));
        match rng.below(6) {
            0 | 1 => {
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            2 => {
                let value = VALUES[rng.below(VALUES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)];
                let at = at / width * width;
                if let Some(field) = out.get_mut(at..at + width) {
                    field.copy_from_slice(&value[..width]);
                }
            }
            3 => {
                let from = rng.below(other.len().max(1)) / 8 * 8;
                let len = rng.below(200).min(other.len() - from.min(other.len()));
                let at = at / 8 * 8;
                out.splice(at..at, other[from..from + len].iter().copied());
            }
            4 => {
                let end = (at + rng.below(200)).min(out.len());
                out.drain(at.min(end)..end);
            }
            _ => out.truncate(at),
        }
    }
    out.truncate(LEN_MAX);
    // The last byte says whether checksums are made right first: mostly they should be.
    if rng.below(4) > 0 {
        out.push(1);
    }
    out
}
