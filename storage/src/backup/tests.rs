use std::{io::Write, sync::Arc};

use super::*;
use crate::{
    Entry, EntryId, HardState, Log, Options,
    fs::sim::SimFs,
    inspect::{Outcome, Window},
};

fn options() -> Options {
    Options::new().segment_size(32 << 10).background(false)
}

fn written(fs: &SimFs) -> Log {
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.save_hard_state(HardState { term: 1, vote: Some(1), commit: 0 }).expect("votes");
    for at in 1..200 {
        log.append(&[Entry::new(at, 1, format!("{at:0>500}"))]).expect("appends");
    }
    let mut snapshot = log.snapshots().begin(EntryId::new(20, 1), b"m").expect("begins");
    snapshot.write_all(&[7; 9000]).expect("writes");
    let mark = snapshot.commit().expect("commits");
    log.mark_snapshot(mark).expect("marks");
    log.trim_prefix(21).expect("trims");
    log.sync().expect("syncs");
    log
}

fn clean(fs: &SimFs) -> VerifyReport {
    let report = verify(fs, VerifyOptions::new(), &mut |_| {}).expect("a log");
    assert_eq!(report.outcome(), Outcome::Clean, "{:?}", report.findings);
    report
}

#[test]
fn a_copy_of_a_closed_log_is_the_same_byte_for_byte() {
    let (from, to) = (SimFs::new(1), SimFs::new(2));
    written(&from).close().expect("closes");
    let mut heard = 0;
    let copied = backup(&from, &to, &mut |_| heard += 1).expect("copies");
    assert_eq!(copied.files.len(), heard);
    for file in &copied.files {
        let bytes = from.read_file(file.dir, &file.name).expect("there");
        assert_eq!(to.read_file(file.dir, &file.name).expect("there"), bytes, "{}", file.name);
        assert_eq!((bytes.len() as u64, crc32fast::hash(&bytes)), (file.len, file.crc));
    }
    assert_eq!(clean(&to).summary.window, Some((21, 200)));
    assert!(matches!(backup(&from, &to, &mut |_| {}), Err(Error::Exists { .. })));
}

#[test]
fn a_copy_of_a_log_that_is_written_to_is_one_that_opens_clean() {
    let (from, to) = (SimFs::new(3), SimFs::new(4));
    let mut log = written(&from);
    for at in 200..230 {
        log.append(&[Entry::new(at, 1, "more")]).expect("appends");
    }
    backup(&from, &to, &mut |_| {}).expect("copies");
    let span = Window::look(&to).expect("a log").span();
    assert_eq!(span, Some((21, 229)));
    let report = verify(&to, VerifyOptions::new(), &mut |_| {}).expect("a log");
    // Files that the trim has not removed yet are leftovers in the copy as well.
    assert!(report.outcome().code() <= 1, "{:?}", report.findings);
    drop(log);
    let (log, report) = Log::open_on(Arc::new(to), options()).expect("opens");
    assert_eq!((log.first_log_index(), log.next_log_index()), (21, 230), "{report}");
}

#[test]
fn a_copy_that_a_power_cut_interrupts_never_looks_whole() {
    let from = SimFs::new(5);
    written(&from).close().expect("closes");
    let whole = SimFs::new(6);
    backup(&from, &whole, &mut |_| {}).expect("copies");
    for cut in (0..whole.ops()).step_by(7) {
        let to = SimFs::new(6);
        to.cut_at(cut);
        assert!(backup(&from, &to, &mut |_| {}).is_err(), "cut at {cut}");
    }
}
