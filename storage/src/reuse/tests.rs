//! Which files are reused, when, and that nobody who reads one is cheated.

use std::sync::Arc;

use crate::{
    Entry, Error, Log, Options, ReadMode, Verdict,
    backup::backup,
    fs::{
        Access, Dir, Fs,
        disk::DiskFs,
        sim::{Call, EIO, Effect, Fault, SimFs, When},
    },
    header::Header,
    inspect::{VerifyOptions, verify},
    layout::segment_name,
};

fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false).reuse_files(2)
}

fn made(fs: &SimFs, options: Options) -> Log {
    Log::create_on(Arc::new(fs.clone()), options).expect("creates")
}

/// Appends until the log has rotated.
fn fill(log: &mut Log) {
    let before = log.incarnation();
    while log.incarnation() == before {
        let next = log.next_log_index();
        log.append(&[Entry::new(next, 1, vec![b'a' + (next % 26) as u8; 3000])]).expect("appends");
        log.sync().expect("syncs");
    }
}

fn trim(log: &mut Log) {
    let last = log.last_log_index().expect("entries");
    log.trim_prefix(last).expect("trims");
    log.reclaim().expect("reclaims");
}

fn header(fs: &SimFs, id: u64) -> Header {
    Header::decode(&fs.read_file(Dir::Root, &segment_name(id)).expect("there")).expect("valid")
}

fn waiting(fs: &SimFs) -> Vec<String> {
    let mut names = fs.names(Dir::Tmp);
    names.retain(|name| name.starts_with("spare-of-"));
    names
}

fn all_there(log: &Log) {
    for index in log.first_log_index()..log.next_log_index() {
        let wanted = vec![b'a' + (index % 26) as u8; 3000];
        assert_eq!(log.at(index).expect("readable").payload, wanted, "entry {index}");
    }
}

/// A log whose active segment stands in a file that was used before, and some entries in it.
fn reused(fs: &SimFs) -> Log {
    let mut log = made(fs, options());
    fill(&mut log);
    fill(&mut log);
    trim(&mut log);
    log.rotate_now().expect("rotates");
    log.rotate_now().expect("rotates");
    assert!(header(fs, log.incarnation()).reused, "segment {}", log.incarnation());
    let next = log.next_log_index();
    log.append(&[Entry::new(next, 1, vec![b'a' + (next % 26) as u8; 3000])]).expect("appends");
    log.sync().expect("syncs");
    log
}

#[test]
fn a_trimmed_file_becomes_a_segment_again_and_only_after_a_rotation() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    fill(&mut log);
    fill(&mut log);
    trim(&mut log);
    assert_eq!(waiting(&fs), [1, 2].map(|id| format!("spare-of-{}", segment_name(id))));
    assert!(!fs.names(Dir::Root).contains(&segment_name(1)));
    // The loss of the name is made durable by this rotation, so it cannot use the file itself.
    log.rotate_now().expect("rotates");
    assert!(!header(&fs, 4).reused);
    log.rotate_now().expect("rotates");
    assert!(header(&fs, 5).reused && waiting(&fs).len() == 1);
    all_there(&log);
}

#[test]
fn without_the_option_nothing_waits() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options().reuse_files(0));
    fill(&mut log);
    fill(&mut log);
    trim(&mut log);
    assert!(waiting(&fs).is_empty());
    assert!(matches!(
        Log::create_on(Arc::new(SimFs::new(2)), options().reuse_files(65)),
        Err(Error::Options { .. })
    ));
}

#[test]
fn no_more_files_wait_than_were_asked_for() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    for _ in 0..5 {
        fill(&mut log);
    }
    trim(&mut log);
    assert_eq!(waiting(&fs).len(), 2);
}

#[test]
fn a_file_with_a_second_name_is_left_to_its_owner() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    fill(&mut log);
    fill(&mut log);
    fs.link((Dir::Root, &segment_name(1)), (Dir::Quarantine, "copy")).expect("links");
    let before = fs.read_file(Dir::Quarantine, "copy").expect("there");
    trim(&mut log);
    // Only the file of segment 2 is to be had.
    let used = (0..4).filter(|_| {
        log.rotate_now().expect("rotates");
        header(&fs, log.incarnation()).reused
    });
    assert_eq!(used.count(), 1);
    assert!(waiting(&fs).is_empty());
    assert!(fs.read_file(Dir::Quarantine, "copy").expect("there") == before);
}

/// What a reader may hold of a segment that is trimmed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Nothing,
    /// A piece of a map, handed out as a payload.
    Payload,
    /// An iterator that has not come there yet.
    Iterator,
}

#[test]
fn a_file_that_somebody_reads_is_not_touched() {
    for held in [Held::Nothing, Held::Payload, Held::Iterator] {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(DiskFs::new(dir.path().join("log")));
        let options = options().read_mode(ReadMode::Mapped).recent_max(4096);
        let mut log = Log::create_on(Arc::<DiskFs>::clone(&disk), options).expect("creates");
        fill(&mut log);
        fill(&mut log);
        let wal = Arc::clone(&log.reader().wal);
        let oldest = wal.sealed_segments().remove(0);
        assert!(oldest.id() == 1);
        wal.scrub(&oldest, u64::MAX).expect("scrubs");
        assert!(oldest.mapped().is_some());
        drop((oldest, wal));
        let payload = (held == Held::Payload).then(|| log.at(3).expect("readable").payload);
        let entries = (held == Held::Iterator).then(|| log.entries(3..5, u64::MAX));
        // Another handle is not seen: it shows what happens to the file.
        let file = disk.open(Dir::Root, &segment_name(1), Access::Read).expect("opens");
        let bytes = || {
            let mut bytes = vec![0; 64 << 10];
            assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), bytes.len());
            bytes
        };
        let before = bytes();
        trim(&mut log);
        for _ in 0..4 {
            log.rotate_now().expect("rotates");
        }
        assert_eq!(bytes() == before, held != Held::Nothing, "{held:?}");
        assert!(payload.is_none_or(|payload| payload == vec![b'd'; 3000]));
        for (entry, byte) in entries.into_iter().flatten().zip(*b"de") {
            assert_eq!(entry.expect("readable").payload, vec![byte; 3000]);
        }
    }
}

#[test]
fn a_file_in_which_a_sync_failed_is_not_reused() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    fs.inject(Fault::once(When::Kind(Call::Sync, fs.count(Call::Sync)), Effect::Fail(EIO)));
    let next = log.next_log_index();
    log.append(&[Entry::new(next, 1, vec![b'a' + (next % 26) as u8; 3000])]).expect("appends");
    log.sync().expect("goes on in a successor");
    fill(&mut log);
    trim(&mut log);
    assert_eq!(waiting(&fs), [format!("spare-of-{}", segment_name(2))], "not segment 1");
}

#[test]
fn after_a_kill_the_end_is_unproven_and_after_a_close_it_is_clean() {
    for close in [false, true] {
        let fs = SimFs::new(1);
        let log = reused(&fs);
        let (first, next) = (log.first_log_index(), log.next_log_index());
        if close {
            log.close().expect("closes");
        } else {
            drop(log);
        }
        let (log, report) = Log::open_on(Arc::new(fs.clone()), options()).expect("opens");
        assert_eq!((log.first_log_index(), log.next_log_index()), (first, next), "{report}");
        all_there(&log);
        assert_eq!(report.reused_file, !close);
        if close {
            assert!(report.is_clean() && report.verdict == Some(Verdict::CleanEnd), "{report}");
        } else {
            assert_eq!((report.maybe_lost, report.dropped_bytes), (Some(first), 0), "{report}");
            assert!(report.to_string().contains("used before"), "{report}");
        }
        assert!(waiting(&fs).is_empty(), "tmp/ is emptied at open");
    }
}

#[test]
fn a_close_on_a_full_disk_still_closes() {
    let fs = SimFs::new(1);
    let log = reused(&fs);
    let next = log.next_log_index();
    fs.set_capacity(Some(0));
    log.close().expect("closes");
    fs.set_capacity(None);
    let (log, report) = Log::open_on(Arc::new(fs.clone()), options()).expect("opens");
    assert!(log.next_log_index() == next && report.maybe_lost.is_some(), "{report}");
}

#[test]
fn tools_say_that_the_file_was_used_before() {
    let fs = SimFs::new(1);
    drop(reused(&fs));
    let report = verify(&fs, VerifyOptions::new(), &mut |_| {}).expect("looks");
    let said: Vec<String> = report.findings.iter().map(|f| f.detail.clone()).collect();
    assert!(said.iter().any(|text| text.contains("used before")), "{said:?}");
}

/// A disk that reuses a file in the middle of a copy of it.
#[test]
fn a_copy_of_a_file_that_is_reused_meanwhile_begins_anew() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    fill(&mut log);
    fill(&mut log);
    let (source, target) = (fs.clone(), SimFs::new(2));
    let mut log = Some(log);
    let mut seen = Vec::new();
    let copied = backup(&source, &target, &mut |file| {
        seen.push(file.name.clone());
        // Segment 2 was copied, segment 1 is next.
        if let Some(mut log) = log.take() {
            trim(&mut log);
            log.rotate_now().expect("rotates");
            log.rotate_now().expect("rotates");
            drop(log);
        }
    });
    let copied = copied.expect("copies");
    assert!(!copied.files.is_empty() && seen.len() > copied.files.len(), "{seen:?}");
    let (copy, _) = Log::open_on(Arc::new(target), options()).expect("opens");
    all_there(&copy);
}

/// The keeper at work: what is written, read and trimmed all the time is always what was written.
#[test]
fn a_log_that_is_trimmed_all_the_time_goes_on_in_the_same_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let options = Options::new().segment_size(4 << 20).recent_max(64 << 10).reuse_files(1);
    let options = options.scrub_rate(1 << 30);
    let mut log = Log::create(&path, options.clone()).expect("creates");
    let (mut used, mut next) = (0, 1);
    while used < 3 && next < 4000 {
        let before = log.incarnation();
        while log.incarnation() == before {
            let payload = vec![b'a' + (next % 26) as u8; 30_000];
            log.append(&[Entry::new(next, 1, payload)]).expect("appends");
            next += 1;
            if next % 20 == 0 {
                log.sync().expect("syncs");
                log.trim_prefix(next.saturating_sub(60)).expect("trims");
                for index in (log.first_log_index()..next).step_by(7) {
                    let wanted = vec![b'a' + (index % 26) as u8; 30_000];
                    assert!(log.at(index).expect("readable").payload == wanted, "entry {index}");
                }
                std::thread::yield_now();
            }
        }
        let disk = DiskFs::new(&path);
        let newest = segment_name(log.incarnation());
        let file = disk.open(Dir::Root, &newest, Access::Read).expect("opens");
        let mut front = vec![0; 8192];
        file.read_at(&mut front, 0).expect("reads");
        used += usize::from(Header::decode(&front).expect("valid").reused);
    }
    assert!(used >= 3, "{used} files were used again");
    let first = log.first_log_index();
    log.close().expect("closes");
    let (log, report) = Log::open(&path, options).expect("opens");
    assert!(report.is_clean(), "{report}");
    assert_eq!((log.first_log_index(), log.next_log_index()), (first, next));
    for index in first..next {
        let wanted = vec![b'a' + (index % 26) as u8; 30_000];
        assert!(log.at(index).expect("readable").payload == wanted, "entry {index}");
    }
}

/// What is written again ends wherever it ends: between that and the marker must stand zeros, also in a
/// file full of old batches.
#[test]
fn a_file_that_is_reused_after_a_failed_sync_is_a_whole_segment() {
    let fs = SimFs::new(1);
    let mut log = made(&fs, options());
    fill(&mut log);
    fill(&mut log);
    trim(&mut log);
    log.rotate_now().expect("rotates");
    for _ in 0..5 {
        let next = log.next_log_index();
        log.append(&[Entry::new(next, 1, vec![b'a' + (next % 26) as u8; 3000])]).expect("appends");
    }
    fs.inject(Fault::once(When::Kind(Call::Sync, fs.count(Call::Sync)), Effect::Fail(EIO)));
    log.sync().expect("goes on in a successor");
    assert!(header(&fs, log.incarnation()).reused);
    let next = log.next_log_index();
    drop(log);
    let (log, report) = Log::open_on(Arc::new(fs), options()).expect("opens");
    assert_eq!(log.next_log_index(), next, "{report}");
    all_there(&log);
}
