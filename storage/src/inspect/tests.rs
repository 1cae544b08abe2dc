use std::sync::Arc;

use super::*;
use crate::{
    Entry, HardState, Log, Options,
    fs::{Dir, Fs, LockState, sim::SimFs},
    layout::{index_name, segment_name},
};

mod agreement;
mod counting;
mod damage;
mod diff;
mod live;

/// Payloads large enough that a segment of the smallest size holds some dozens.
fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
    range.map(|i| Entry::new(i, term, format!("{i:0>300}"))).collect()
}

fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false)
}

/// A closed log of several segments: entries 1..=400 of terms 1 and 2, a vote, commit 390.
fn healthy(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.save_hard_state(HardState { term: 2, vote: Some(1), commit: 0 }).expect("votes");
    for at in (1..401).step_by(5) {
        log.append(&entries(at..at + 5, 1 + at / 200)).expect("appends");
        log.sync().expect("syncs");
    }
    log.save_hard_state(HardState { term: 2, vote: Some(1), commit: 390 }).expect("commits");
    log.close().expect("closes");
    fs
}

fn look_at(fs: &dyn Fs) -> VerifyReport {
    verify(fs, VerifyOptions::new(), &mut |_| {}).expect("a log")
}

/// Codes and severities, in the order of the files.
fn codes(report: &VerifyReport) -> Vec<(Code, Severity)> {
    report.findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

#[test]
fn a_healthy_log_is_clean_and_its_rows_add_up() {
    let fs = healthy(1);
    let before = fs.digest();
    let mut heard = Vec::new();
    let report = verify(&fs, VerifyOptions::new(), &mut |at| heard.push((at.done, at.total)))
        .expect("a log");
    assert_eq!(report.outcome(), Outcome::Clean, "{report}\n{:?}", report.findings);
    assert_eq!(report.summary.window, Some((1, 401)));
    assert_eq!(report.summary.hard_state, HardState { term: 2, vote: Some(1), commit: 390 });
    assert_eq!(report.summary.last.map(|id| (id.index, id.term)), Some((400, 2)));
    assert_eq!(report.lock, LockState::Free);

    assert!(report.segments.len() > 2, "{:?}", report.segments);
    let entries: u64 = report.segments.iter().map(|s| s.contents.expect("read").entries).sum();
    let bytes: u64 = report.segments.iter().map(|s| s.contents.expect("read").bytes).sum();
    assert_eq!((entries, bytes), (400, 400 * 300));
    let roles: Vec<Role> = report.segments.iter().map(|s| s.role).collect();
    assert_eq!(roles.iter().filter(|role| **role == Role::Active).count(), 1);
    assert_eq!(roles.last(), Some(&Role::Active));
    assert_eq!(heard.len(), report.segments.len());
    assert!(heard.iter().all(|(done, total)| done <= total));
    assert_eq!(fs.digest(), before, "looking changed something");
}

#[test]
fn a_quick_look_agrees_and_reads_less() {
    let fs = healthy(2);
    let quick = verify(&fs, VerifyOptions::new().quick(true), &mut |_| {}).expect("a log");
    let full = look_at(&fs);
    assert_eq!(quick.outcome(), Outcome::Clean, "{quick}");
    assert_eq!(quick.summary.window, full.summary.window);
    assert_eq!(quick.summary.hard_state, full.summary.hard_state);
    let read = quick.segments.iter().filter(|s| s.contents.is_some()).count();
    assert_eq!(read, 1, "only the last segment is scanned");
}

#[test]
fn an_open_log_is_live_and_a_dead_one_is_not() {
    let fs = SimFs::new(3);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..4, 1)).expect("appends");
    let report = look_at(&fs);
    assert!(matches!(report.lock, LockState::Held(_)), "{:?}", report.lock);
    assert_eq!(report.outcome(), Outcome::Clean, "{:?}", report.findings);
    assert_eq!(report.summary.window, Some((1, 4)));
    drop(log);
    assert_eq!(look_at(&fs).lock, LockState::Free);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let nothing = SimFs::new(4);
    assert!(matches!(look(&nothing), Err(crate::Error::NotALog { .. })));
    nothing.make_dirs().expect("makes");
    nothing.write_file(Dir::Root, "holiday.jpg", b"not a log");
    assert!(matches!(look(&nothing), Err(crate::Error::NotALog { .. })));
}

#[test]
fn every_code_has_a_name_that_finds_it_again() {
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    for &code in Code::ALL {
        assert_eq!(Code::parse(&code.name().to_lowercase()), Some(code));
    }
    assert_eq!(names.len(), 24);
    names.dedup();
    assert_eq!(names.len(), 24);
    assert_eq!(Code::parse("W999"), None);
}
