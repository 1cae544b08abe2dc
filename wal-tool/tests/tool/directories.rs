//! Directories with a story each.

use std::{fs, io::Write, path::Path, sync::Arc};

use hardlog::{
    Entry, EntryId, HardState, Log, Options,
    fs::{Dir, sim::SimFs},
    inspect,
    layout::{index_name, segment_name, snapshot_name},
};

pub(crate) fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false)
}

/// `set key-7 …`, padded to some 300 bytes, so that a small segment holds few of them.
pub(crate) fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
    range.map(|i| Entry::new(i, term, payload(i))).collect()
}

fn payload(index: u64) -> String {
    format!("set key-{index} {:.<280}", format!("value of entry {index} "))
}

/// A log that was closed in peace: a snapshot of entry 100, entries 101..=600, commit 590.
pub(crate) fn healthy() -> SimFs {
    written(7)
}

/// The same story with other random numbers: another log.
fn written(seed: u64) -> SimFs {
    let disk = SimFs::new(seed);
    let mut log = Log::create_on(Arc::new(disk.clone()), options()).expect("creates");
    log.save_hard_state(HardState { term: 5, vote: Some(1), commit: 0 }).expect("votes");
    for at in (1..601).step_by(10) {
        log.append(&entries(at..at + 10, 5 + at / 300)).expect("appends");
        log.sync().expect("syncs");
        if at == 191 {
            let mut snapshot = log.snapshots().begin(EntryId::new(100, 5), b"").expect("begins");
            snapshot.write_all(&[42; 10_000]).expect("writes");
            let mark = snapshot.commit().expect("commits");
            log.mark_snapshot(mark).expect("marks");
            log.trim_prefix(101).expect("trims");
            log.sync().expect("syncs");
        }
    }
    log.save_hard_state(HardState { term: 7, vote: Some(1), commit: 590 }).expect("commits");
    log.reclaim().expect("reclaims");
    log.close().expect("closes");
    disk
}

/// The segments of a log, oldest first.
pub(crate) fn segments(disk: &SimFs) -> Vec<u64> {
    inspect::look(disk).expect("a log").segments.into_keys().collect()
}

/// Offset of the payload of an entry in a segment.
fn place(disk: &SimFs, id: u64, index: u64) -> u64 {
    let bytes = disk.read_file(Dir::Root, &segment_name(id)).expect("there");
    let needle = payload(index);
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
    at.expect("the segment holds the entry") as u64
}

/// The second segment and an index in the middle of it.
fn middle(disk: &SimFs) -> (u64, u64) {
    let report = inspect::verify(disk, inspect::VerifyOptions::new(), &mut |_| {}).expect("a log");
    let segment = &report.segments[1];
    let (first, last) = segment.contents.expect("read").indexes.expect("entries");
    (segment.id, first.midpoint(last))
}

/// A payload that was acknowledged has rotted.
pub(crate) fn rotten() -> SimFs {
    let disk = healthy();
    let (id, index) = middle(&disk);
    disk.flip_bit(Dir::Root, &segment_name(id), place(&disk, id, index) + 9, 2);
    disk
}

/// Payloads have rotted that no longer count: one was trimmed, one truncated.
pub(crate) fn harmless() -> SimFs {
    let disk = healthy();
    let (mut log, _) = Log::open_on(Arc::new(disk.clone()), options()).expect("opens");
    log.trim_tail(595).expect("truncates");
    log.append(&entries(595..597, 7)).expect("appends");
    log.close().expect("closes");
    for (at, index) in [(0, 50), (4, 598)] {
        let id = segments(&disk)[at];
        disk.flip_bit(Dir::Root, &segment_name(id), place(&disk, id, index) + 9, 2);
    }
    disk
}

/// A segment of another log stands under the name of one of ours.
pub(crate) fn foreign() -> SimFs {
    let disk = healthy();
    let name = segment_name(segments(&disk)[1]);
    let other = written(8).read_file(Dir::Root, &name).expect("the same story");
    disk.write_file(Dir::Root, &name, &other);
    disk
}

/// A sealed segment is shorter than its successor states.
pub(crate) fn short() -> SimFs {
    let disk = healthy();
    disk.truncate_file(Dir::Root, &segment_name(segments(&disk)[1]), 30_000);
    disk
}

/// The head of a batch has rotted.
pub(crate) fn headless() -> SimFs {
    let disk = healthy();
    let (id, index) = middle(&disk);
    // Batches hold ten entries, the first of which ends in 1: 40 bytes of head, a section of 16,
    // its fields of 32, and 8 for each entry.
    let first = index / 10 * 10 + 1;
    let head = place(&disk, id, first) - (40 + 16 + 32 + 10 * 8);
    disk.flip_bit(Dir::Root, &segment_name(id), head + 17, 0);
    disk
}

/// Power went while the last batch was on its way.
pub(crate) fn torn() -> SimFs {
    let disk = healthy();
    let (mut log, _) = Log::open_on(Arc::new(disk.clone()), options()).expect("opens");
    log.append(&entries(601..611, 7)).expect("appends");
    log.sync().expect("syncs");
    log.append(&entries(611..621, 7)).expect("appends");
    drop(log);
    let last = *segments(&disk).last().expect("some");
    let at = place(&disk, last, 615);
    disk.zero(Dir::Root, &segment_name(last), at / 512 * 512..at / 512 * 512 + 1024);
    disk
}

/// Somebody deleted a segment.
pub(crate) fn gap() -> SimFs {
    let disk = healthy();
    disk.remove_file(Dir::Root, &segment_name(segments(&disk)[1]));
    disk
}

/// Somebody deleted the snapshot that the log counts on.
pub(crate) fn stateless() -> SimFs {
    let disk = healthy();
    disk.remove_file(Dir::Snapshots, &snapshot_name(100, 5));
    disk
}

/// The snapshot has rotted.
pub(crate) fn bad_snapshot() -> SimFs {
    let disk = healthy();
    disk.flip_bit(Dir::Snapshots, &snapshot_name(100, 5), 5000, 1);
    disk
}

/// The snapshot was cut short.
pub(crate) fn short_snapshot() -> SimFs {
    let disk = healthy();
    disk.truncate_file(Dir::Snapshots, &snapshot_name(100, 5), 9000);
    disk
}

/// An index file is bad and another is gone.
pub(crate) fn bad_index() -> SimFs {
    let disk = healthy();
    let ids = segments(&disk);
    disk.flip_bit(Dir::Root, &index_name(ids[0]), 50, 1);
    disk.remove_file(Dir::Root, &index_name(ids[1]));
    disk
}

/// Files of somebody else, and one of unfinished work.
pub(crate) fn cluttered() -> SimFs {
    let disk = healthy();
    disk.write_file(Dir::Root, "notes.txt", b"remember the milk");
    disk.write_file(Dir::Root, "1.wal", b"not a segment's name");
    disk
}

/// A newer version wrote the last segment.
pub(crate) fn newer() -> SimFs {
    let disk = healthy();
    let name = segment_name(*segments(&disk).last().expect("some"));
    let mut bytes = disk.read_file(Dir::Root, &name).expect("there");
    for at in [0, 4096] {
        bytes[at + 8] = 2;
        let crc = crc32(&bytes[at..at + 128]);
        bytes[at + 128..at + 132].copy_from_slice(&crc.to_le_bytes());
    }
    disk.write_file(Dir::Root, &name, &bytes);
    disk
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// A replica of the log in [`healthy`] that holds only the first entries, and commit 590 at most.
pub(crate) fn replica(seed: u64, terms: &[(u64, u64)], commit: u64) -> SimFs {
    replica_of(seed, terms, commit, payload)
}

fn replica_of(
    seed: u64,
    terms: &[(u64, u64)],
    commit: u64,
    bytes: impl Fn(u64) -> String,
) -> SimFs {
    let disk = SimFs::new(seed);
    let mut log = Log::create_on(Arc::new(disk.clone()), options()).expect("creates");
    let mut next = 1;
    for &(term, last) in terms {
        let run: Vec<Entry> = (next..=last).map(|i| Entry::new(i, term, bytes(i))).collect();
        log.append(&run).expect("appends");
        next = last + 1;
    }
    let term = terms.last().map_or(1, |(term, _)| *term);
    log.save_hard_state(HardState { term, vote: Some(1), commit }).expect("commits");
    log.close().expect("closes");
    disk
}

/// Three replicas after an election: one trails, one has a tail that no majority took.
pub(crate) fn cluster() -> [SimFs; 3] {
    [
        replica(21, &[(1, 40), (2, 70), (4, 120)], 118),
        replica(22, &[(1, 40), (2, 70), (4, 95)], 95),
        replica(23, &[(1, 40), (2, 70), (3, 80)], 70),
    ]
}

/// One of [`cluster`] in which somebody has rewritten entry 55.
pub(crate) fn forged() -> SimFs {
    let forge = |i| if i == 55 { "set key-55 forged".to_owned() } else { payload(i) };
    replica_of(24, &[(1, 40), (2, 70), (4, 110)], 105, forge)
}

/// Lays the files of `disk` under `root`.
pub(crate) fn lay(disk: &SimFs, root: &Path) {
    for dir in Dir::ALL {
        let path = root.join(dir.name());
        fs::create_dir_all(&path).expect("makes");
        for name in disk.names(dir) {
            if let Some(bytes) = disk.read_file(dir, &name) {
                fs::write(path.join(name), bytes).expect("writes");
            }
        }
    }
}
