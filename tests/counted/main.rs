//! Work that can be counted: calls to the system, and allocations of memory.
//!
//! Times move with the machine, counts do not: a change that makes an append two writes, or a read two
//! allocations, fails here on any machine. The limits are what the engine needs today; who needs more
//! says why where the limit is raised.
//!
//! A binary of its own, since the allocator that counts stands under everything in it.

use std::sync::Arc;

use allocation_counter::measure;
use hardlog::{
    Entry, Log, Options, ReadMode,
    fs::{Fs, disk::DiskFs, sim::SimFs},
};
use hardlog_tests::counting::{Calls, CountingFs};

/// Calls of a rotation, index file and all.
const ROTATION_MAX: u64 = 18;
/// Reads of an open, for each sealed segment: header, State, and the index in two.
const OPEN_READS_OF_SEGMENT: u64 = 4;
/// Reads of an open besides: of the last segment, and whether it has an index.
const OPEN_READS: u64 = 6;
/// Reads of an index file, when an entry of its segment is looked for first.
const INDEX_READS: u64 = 2;
/// Allocations of an append, however many entries it holds.
const APPEND_ALLOCATIONS: u64 = 6;
/// Allocations of an iterator over some thousand entries: its reads, and what they are kept in.
const SCAN_ALLOCATIONS: u64 = 8;

type Counted = Arc<CountingFs<SimFs>>;

fn options() -> Options {
    Options::new()
        .segment_size(256 << 10)
        .recent_max(1 << 20)
        .read_mode(ReadMode::Positioned)
        .background(false)
}

fn append(log: &mut Log, count: u64) {
    let next = log.next_log_index();
    let payload = bytes::Bytes::from(vec![7; 256]);
    let entries: Vec<Entry> =
        (next..next + count).map(|index| Entry::new(index, 1, payload.clone())).collect();
    log.append(&entries).expect("a healthy disk");
}

/// A log in use.
fn in_use(fs: Arc<dyn Fs>) -> Log {
    let mut log = Log::create_on(fs, options()).expect("an empty disk");
    append(&mut log, 64);
    log.sync().expect("a healthy disk");
    log
}

fn counted() -> (Counted, Log) {
    let fs = Arc::new(CountingFs::new(SimFs::new(11)));
    let log = in_use(fs.clone());
    (fs, log)
}

#[test]
fn an_append_is_one_write_and_a_sync_one_fdatasync() {
    let (fs, mut log) = counted();
    // One of these prepares the rest of the segment, and is no measure.
    (0..4).for_each(|_| append(&mut log, 64));
    for count in [1, 64] {
        let ((), calls) = fs.during(|| {
            for _ in 0..5 {
                append(&mut log, count);
                log.sync().unwrap();
            }
        });
        assert_eq!(calls, Calls { writes: 5, syncs: 5, ..Calls::default() }, "{count} at a time");
    }
    let ((), calls) = fs.during(|| {
        (0..64).for_each(|_| append(&mut log, 1));
        log.sync().unwrap();
        log.sync().unwrap();
    });
    assert_eq!(calls, Calls { writes: 64, syncs: 1, ..Calls::default() }, "a second has nothing");
}

#[test]
fn a_rotation_is_a_few_calls() {
    let (fs, mut log) = counted();
    let (rounds, before) = (4000, log.incarnation());
    let ((), calls) = fs.during(|| {
        for _ in 0..rounds {
            append(&mut log, 1);
            log.sync().unwrap();
        }
    });
    let rotations = log.incarnation() - before;
    assert!(rotations >= 5, "{rotations}");
    let beyond = calls.all() - 2 * rounds;
    println!("{rotations} rotations: {} calls each", beyond / rotations);
    assert!(beyond <= rotations * ROTATION_MAX, "{beyond} calls in {rotations} rotations");
}

/// A log that was opened again, so that all its entries are sealed and none is in memory.
fn sealed(batch: u64) -> (Counted, Log) {
    let (fs, mut log) = counted();
    (0..2000 / batch).for_each(|_| append(&mut log, batch));
    log.close().expect("a healthy disk");
    let (log, _) = Log::open_on(fs.clone(), options()).expect("a log");
    (fs, log)
}

#[test]
fn a_read_by_position_is_one_read_once_the_place_is_known() {
    for (batch, first) in [(1, 1), (64, 2)] {
        let (fs, log) = sealed(batch);
        let (_, calls) = fs.during(|| log.at(1).unwrap());
        assert!(calls.reads <= first + INDEX_READS, "{batch}: with the index, {calls:?}");
        let (_, calls) = fs.during(|| log.at(250).unwrap());
        assert!(calls.reads <= first && calls.all() == calls.reads, "{batch}: {calls:?}");
        for index in [250, 251] {
            let (_, calls) = fs.during(|| log.at(index).unwrap());
            assert_eq!(calls, Calls { reads: 1, ..Calls::default() }, "{batch}: {index}");
        }
        let (count, calls) = fs.during(|| log.entries(1..u64::MAX, u64::MAX).count() as u64);
        println!("{count} entries in batches of {batch}: {} reads", calls.reads);
        let limit = 3 * (4 + INDEX_READS);
        assert!(count >= 1900 && calls.reads <= limit, "{count} entries, {calls:?}");
    }
}

#[test]
fn an_open_reads_a_little_of_each_sealed_segment() {
    let (fs, log) = sealed(1);
    let segments = log.incarnation();
    drop(log);
    let (opened, calls) = fs.during(|| Log::open_on(fs.clone(), options()).unwrap());
    println!("{segments} segments, the last idle: {calls:?}");
    assert!(opened.1.scanned.is_empty(), "{:?}", opened.1);
    let limit = segments * OPEN_READS_OF_SEGMENT + OPEN_READS;
    assert!(calls.reads <= limit, "{calls:?} for {segments} segments");
    assert!(calls.syncs <= 4, "{calls:?}");
}

#[test]
fn the_allocations_of_a_write_do_not_grow_with_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = in_use(Arc::new(DiskFs::new(dir.path().join("log"))));
    let payload = bytes::Bytes::from(vec![7; 256]);
    // The first ones let tables grow.
    (0..50).for_each(|_| append(&mut log, 1));
    let mut most = 0;
    for count in [1, 64, 256] {
        let next = log.next_log_index();
        let batch: Vec<Entry> =
            (next..next + count).map(|index| Entry::new(index, 1, payload.clone())).collect();
        let used = measure(|| _ = log.append(&batch).unwrap()).count_total;
        println!("append of {count}: {used} allocations");
        most = most.max(used);
    }
    assert!(most <= APPEND_ALLOCATIONS, "{most}");
    let sync = measure(|| log.sync().unwrap()).count_total;
    assert_eq!(sync, 0, "allocations of a sync");
}

#[test]
fn a_read_allocates_its_payload_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(DiskFs::new(dir.path().join("log")));
    let mut log = in_use(Arc::clone(&fs));
    (0..30).for_each(|_| append(&mut log, 64));
    let recent = measure(|| drop(log.at(log.next_log_index() - 1).unwrap())).count_total;
    assert_eq!(recent, 0, "from memory");
    log.close().unwrap();
    let (log, _) = Log::open_on(Arc::new(DiskFs::new(dir.path().join("log"))), options()).unwrap();
    drop(log.at(250).unwrap());
    let known = measure(|| drop(log.at(250).unwrap())).count_total;
    assert_eq!(known, 1, "by position");
    let scan = || assert!(log.entries(1..u64::MAX, u64::MAX).count() > 1900);
    // The first one loads the rows of each segment.
    let first = measure(scan).count_total;
    assert!(first <= SCAN_ALLOCATIONS + 4 * 3, "{first}");
    let scan = measure(scan).count_total;
    println!("a scan of {} entries: {scan} allocations", log.next_log_index());
    assert!(scan <= SCAN_ALLOCATIONS, "{scan}");
}
