//! What was written once is read for ever: `tests/fixtures/v1/` holds directories of format 1, each
//! with its expected dump, which the engine and a reader in Python must both give.
//!
//! The reader (`tests/fixtures/reader.py`) was written from storage/FORMAT.md alone, and also reads
//! what the engine writes today. New fixtures are added, old ones never change:
//! `cargo test -p hardlog-tests make_fixtures -- --ignored` writes those that are missing.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use hardlog::{
    Batch, Class, Entry, EntryId, Error, HardState, Log, OnDamage, Options,
    fs::{Dir, Fs, sim::SimFs},
};

const READER_LINES: usize = 200;

fn fixtures() -> PathBuf {
    hardlog_tests::repository().join("tests/fixtures/v1")
}

/// All fixtures that are there, by name.
fn kept() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    found.sort();
    assert!(found.len() >= MAKERS.len(), "fixtures are missing: {found:?}");
    found
}

#[test]
fn the_engine_reads_every_fixture_as_it_was_written() {
    for (name, path) in kept() {
        let expected = fs::read_to_string(path.join("expected.txt")).unwrap();
        assert_eq!(dump(&load(&path.join("data"))), expected, "{name}");
    }
}

#[test]
fn a_reader_written_from_the_document_alone_agrees() {
    for (name, path) in kept() {
        let expected = fs::read_to_string(path.join("expected.txt")).unwrap();
        let Some(read) = read_by_python("compat", &path.join("data")) else { return };
        assert_eq!(read, expected, "{name}");
    }
}

#[test]
fn the_reader_reads_what_the_engine_writes_today() {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compat");
    for (name, make) in MAKERS {
        let dir = tmp.join(name);
        let _ = fs::remove_dir_all(&dir);
        let sim = make();
        store(&sim, &dir);
        let Some(read) = read_by_python("compat", &dir) else { return };
        assert_eq!(read, dump(&sim), "{name}");
    }
}

#[test]
fn the_reader_is_as_short_as_the_format_is_simple() {
    let text = fs::read_to_string(hardlog_tests::repository().join("tests/fixtures/reader.py"));
    let lines = text.unwrap().lines().count();
    assert!(lines < READER_LINES, "{lines} lines");
}

#[test]
#[ignore = "writes fixtures that are missing"]
fn make_fixtures() {
    for (name, make) in MAKERS {
        let dir = fixtures().join(name);
        if !dir.exists() {
            let sim = make();
            store(&sim, &dir.join("data"));
            fs::write(dir.join("expected.txt"), dump(&sim)).unwrap();
        }
    }
}

fn read_by_python(test: &str, dir: &Path) -> Option<String> {
    let script = hardlog_tests::repository().join("tests/fixtures/reader.py");
    match Command::new("python3").arg("-B").arg(script).arg(dir).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", dir.display());
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(e) => {
            hardlog_tests::skipped(test, &format!("python3 cannot be run: {e}"));
            None
        }
    }
}

// ---- directories on disk and in memory

const DIRS: [Dir; 2] = [Dir::Root, Dir::Snapshots];

fn store(sim: &SimFs, to: &Path) {
    for dir in DIRS {
        fs::create_dir_all(to.join(dir.name())).unwrap();
        for name in sim.names(dir).iter().filter(|name| name.contains('.')) {
            let bytes = sim.read_file(dir, name).unwrap();
            fs::write(to.join(dir.name()).join(name), bytes).unwrap();
        }
    }
}

fn load(from: &Path) -> SimFs {
    let sim = SimFs::new(0);
    sim.make_dirs().unwrap();
    for dir in DIRS {
        // An empty directory is not kept by git.
        let Ok(entries) = fs::read_dir(from.join(dir.name())) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            sim.write_file(dir, name, &fs::read(&path).unwrap());
        }
    }
    sim
}

/// What the engine reads, line by line as the reader prints it.
fn dump(sim: &SimFs) -> String {
    let dash = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let id = |id: &EntryId| format!("{} {} {}", id.index, id.term, id.tag);
    let fs = Arc::new(sim.kill_image());
    let (log, report) = match Log::open_on(fs, options().on_damage(OnDamage::Faulty)) {
        Ok(opened) => opened,
        Err(Error::Corrupt(damage)) => {
            let name = damage.file.file_name().unwrap().to_str().unwrap();
            return format!("corrupt {name} {}\n", damage.offset);
        }
        Err(e) => panic!("{e}"),
    };
    let hs = log.hard_state();
    let (first, next) = (log.first_log_index(), log.next_log_index());
    let mut lines = vec![
        format!("log {}", log.log_id()),
        format!("window {first} {next}"),
        format!("prev {}", log.prev_id().as_ref().map_or("-".to_owned(), id)),
        format!("hard {} {} {}", hs.term, dash(hs.vote), hs.commit),
    ];
    for key in 0..100 {
        let hex = |value: &[u8]| value.iter().map(|b| format!("{b:02x}")).collect::<String>();
        lines.extend(log.meta(key).map(|value| format!("slot {key} {}", hex(&value))));
    }
    let mark =
        log.snapshot_mark().map(|mark| format!("{} {} {}", id(&mark.id), mark.size, mark.crc));
    lines.push(format!("mark {}", mark.unwrap_or("-".to_owned())));
    lines.push(format!("maybe_lost {}", dash(report.maybe_lost)));
    let (path, x) = report.end.unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    lines.push(format!("end {name} {x} row {}", report.row.unwrap() as u8));
    for index in first..next {
        lines.push(match log.at(index) {
            Ok(Entry { id: found, payload }) => {
                format!("entry {} {} {}", id(&found), payload.len(), crc32fast::hash(&payload))
            }
            Err(Error::Faulty { id: found }) => format!("faulty {}", id(&found)),
            Err(e) => panic!("{index}: {e}"),
        });
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

// ---- the makers

type Maker = (&'static str, fn() -> SimFs);

const MAKERS: [Maker; 12] = [
    ("empty", empty),
    ("all-kinds", all_kinds),
    ("reset", reset),
    ("trimmed", trimmed),
    ("trimmed-past-the-end", trimmed_past_the_end),
    ("torn-tail", torn_tail),
    ("reopened", reopened),
    ("promise-beyond-the-end", promise_beyond_the_end),
    ("missing-marker", missing_marker),
    ("rotten-payload", rotten_payload),
    ("rotten-head", rotten_head),
    ("reused-file", reused_file),
];

fn options() -> Options {
    Options::new().segment_size(32 << 10).background(false)
}

fn created(seed: u64) -> (SimFs, Log) {
    let sim = SimFs::new(seed);
    let log = Log::create_on(Arc::new(sim.clone()), options()).unwrap();
    (sim, log)
}

/// `len` bytes that begin with the index, so that they can be found in a file.
fn entry(index: u64, term: u64, len: usize) -> Entry {
    let text = format!("entry {index} of term {term};");
    let payload: Vec<u8> = text.bytes().cycle().take(len).collect();
    Entry::new(index, term, payload)
}

fn append(log: &mut Log, indexes: std::ops::Range<u64>, term: u64, len: usize) {
    for index in indexes {
        log.append(&[entry(index, term, len)]).unwrap();
    }
}

/// The newest segment and the offset of the payload of an entry in it.
fn find(sim: &SimFs, wanted: &Entry) -> (String, u64) {
    let names = sim.names(Dir::Root);
    let segments = names.iter().filter(|name| name.ends_with(".wal"));
    let newest = segments.max().unwrap();
    let bytes = sim.read_file(Dir::Root, newest).unwrap();
    let len = wanted.payload.len();
    let at = bytes.windows(len).position(|window| window == &wanted.payload[..]).unwrap();
    (newest.clone(), at as u64)
}

/// From the head of a batch to the payload of its only entry.
const TO_PAYLOAD: u64 = 40 + 16 + 32 + 8;

fn empty() -> SimFs {
    created(1).0
}

fn all_kinds() -> SimFs {
    let (sim, mut log) = created(2);
    let hs = HardState { term: 1, vote: Some(0), commit: 0 };
    log.save_hard_state(hs).unwrap();
    log.save_meta(1, Class::Promise, b"a vote of the embedder").unwrap();
    log.save_meta(2, Class::Ordered, b"").unwrap();
    log.append(&(1u8..15).map(|i| entry(i.into(), 1, usize::from(i) * 20)).collect::<Vec<_>>())
        .unwrap();
    log.append(&[Entry::new(15, 1, ""), entry(16, 1, 30)]).unwrap();
    log.trim_tail(16).unwrap();
    let mut batch = Batch::new();
    let tagged = |index, tag| Entry { id: EntryId { index, term: 2, tag }, ..entry(index, 2, 50) };
    batch
        .hard_state(HardState { term: 2, vote: None, commit: 9 })
        .truncate_from(12)
        .append([tagged(12, 7), tagged(13, 7), tagged(14, 8)])
        .meta(2, Class::Ordered, "ordered");
    log.write(&batch).unwrap();
    log.sync().unwrap();
    let mut batch = Batch::new();
    batch.refill(entry(9, 1, 180));
    log.write(&batch).unwrap();
    log.acknowledge_loss().unwrap();
    let mut snapshot = log.snapshots().begin(EntryId::new(8, 1), b"members 1 2 3").unwrap();
    snapshot.write_all(b"the state of the machine as of entry 8").unwrap();
    let mark = snapshot.commit().unwrap();
    let mut batch = Batch::new();
    batch.snapshot_mark(mark).trim_before(6);
    log.write(&batch).unwrap();
    append(&mut log, 15..75, 2, 700);
    log.save_hard_state(HardState { term: 3, vote: Some(u64::MAX), commit: 70 }).unwrap();
    log.close().unwrap();
    sim
}

fn reset() -> SimFs {
    let (sim, mut log) = created(3);
    append(&mut log, 1..40, 1, 900);
    let mut batch = Batch::new();
    batch
        .reset(101, Some(EntryId { index: 100, term: 5, tag: 6 }))
        .hard_state(HardState { term: 5, vote: None, commit: 100 })
        .append([entry(101, 5, 10), entry(102, 5, 0)]);
    log.write(&batch).unwrap();
    log.sync().unwrap();
    sim
}

fn trimmed() -> SimFs {
    let (sim, mut log) = created(4);
    append(&mut log, 1..70, 1, 900);
    log.trim_prefix(50).unwrap();
    log.reclaim().unwrap();
    append(&mut log, 70..72, 4, 10);
    log.sync().unwrap();
    assert!(!sim.names(Dir::Root).contains(&hardlog::layout::segment_name(1)));
    sim
}

fn trimmed_past_the_end() -> SimFs {
    let (sim, mut log) = created(5);
    append(&mut log, 1..40, 1, 900);
    log.trim_prefix(500).unwrap();
    log.sync().unwrap();
    sim
}

/// Entries 1 to 10 are durable, 12 lost a sector of its payload, 13 is whole and does not count.
fn torn_tail() -> SimFs {
    let (sim, mut log) = created(6);
    append(&mut log, 1..11, 1, 100);
    log.save_hard_state(HardState { term: 1, vote: Some(3), commit: 7 }).unwrap();
    log.sync().unwrap();
    append(&mut log, 11..14, 1, 2000);
    let killed = sim.kill_image();
    let (name, at) = find(&killed, &entry(12, 1, 2000));
    let sector = at.next_multiple_of(512);
    killed.zero(Dir::Root, &name, sector..sector + 512);
    killed
}

/// The same, opened twice: batches are written again, and what was lost is still said.
fn reopened() -> SimFs {
    let sim = torn_tail();
    let (mut log, _) = Log::open_on(Arc::new(sim.clone()), options()).unwrap();
    append(&mut log, 12..20, 2, 300);
    let killed = sim.kill_image();
    let (mut log, report) = Log::open_on(Arc::new(killed.clone()), options()).unwrap();
    assert_eq!((report.batches_again, report.maybe_lost), (8, Some(8)), "{report}");
    append(&mut log, 20..21, 2, 300);
    log.close().unwrap();
    killed
}

/// A vote behind a torn batch: the batch does not count, the vote does.
fn promise_beyond_the_end() -> SimFs {
    let (sim, mut log) = created(7);
    append(&mut log, 1..4, 1, 100);
    log.sync().unwrap();
    append(&mut log, 4..5, 1, 100);
    log.save_hard_state(HardState { term: 9, vote: Some(2), commit: 4 }).unwrap();
    log.save_meta(3, Class::Promise, b"beyond").unwrap();
    let killed = sim.kill_image();
    let (name, at) = find(&killed, &entry(4, 1, 100));
    killed.flip_bit(Dir::Root, &name, at - TO_PAYLOAD + 9, 3);
    killed
}

/// The marker behind a vote turned to zeros, and a later batch states the vote durable.
fn missing_marker() -> SimFs {
    let (sim, mut log) = created(8);
    append(&mut log, 1..2, 1, 100);
    log.save_hard_state(HardState { term: 4, vote: Some(2), commit: 1 }).unwrap();
    log.sync().unwrap();
    append(&mut log, 2..3, 4, 100);
    log.sync().unwrap();
    append(&mut log, 3..4, 4, 100);
    log.close().unwrap();
    let (name, at) = find(&sim, &entry(2, 4, 100));
    let end = at - TO_PAYLOAD;
    sim.zero(Dir::Root, &name, end / 4096 * 4096..end);
    sim
}

fn rotten_payload() -> SimFs {
    let (sim, mut log) = created(9);
    log.append(&(1..6).map(|i| entry(i, 1, 100)).collect::<Vec<_>>()).unwrap();
    log.close().unwrap();
    let (name, at) = find(&sim, &entry(3, 1, 100));
    sim.flip_bit(Dir::Root, &name, at + 50, 0);
    sim
}

fn rotten_head() -> SimFs {
    let (sim, mut log) = created(10);
    append(&mut log, 1..6, 1, 100);
    log.close().unwrap();
    let (name, at) = find(&sim, &entry(3, 1, 100));
    sim.flip_bit(Dir::Root, &name, at - TO_PAYLOAD + 9, 3);
    sim
}

/// Killed while the active segment stood in a file full of batches of an older one, a vote among them.
fn reused_file() -> SimFs {
    let sim = SimFs::new(11);
    let options = options().reuse_files(1);
    let mut log = Log::create_on(Arc::new(sim.clone()), options).unwrap();
    append(&mut log, 1..10, 1, 900);
    log.save_hard_state(HardState { term: 2, vote: Some(7), commit: 3 }).unwrap();
    append(&mut log, 10..40, 2, 900);
    log.trim_prefix(39).unwrap();
    log.reclaim().unwrap();
    log.rotate_now().unwrap();
    log.save_hard_state(HardState { term: 3, vote: None, commit: 39 }).unwrap();
    log.rotate_now().unwrap();
    append(&mut log, 40..43, 3, 500);
    log.sync().unwrap();
    let (name, _) = find(&sim, &entry(42, 3, 500));
    let bytes = sim.read_file(Dir::Root, &name).unwrap();
    assert!(hardlog_tests::evidence::is_used_file(&bytes));
    assert!(bytes.windows(18).any(|window| window == b"entry 8 of term 1;"), "old bytes");
    sim
}
