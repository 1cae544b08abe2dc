//! Replicas compared: what must agree, what may differ, and what no run of Raft leaves.

use super::*;
use crate::EntryId;

/// A log of the entries whose terms are given, from index 1 on, with this commit index.
fn replica(seed: u64, terms: &[u64], commit: u64) -> SimFs {
    written(seed, terms, commit, |index, term| format!("{index} of term {term}"))
}

fn written(seed: u64, terms: &[u64], commit: u64, bytes: impl Fn(u64, u64) -> String) -> SimFs {
    let fs = SimFs::new(seed);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    for (at, &term) in (1..).zip(terms) {
        log.append(&[Entry::new(at, term, bytes(at, term))]).expect("appends");
    }
    let term = terms.last().copied().unwrap_or(1);
    log.save_hard_state(HardState { term, vote: None, commit }).expect("commits");
    log.close().expect("closes");
    fs
}

fn compare(all: &[&SimFs]) -> DiffReport {
    let all: Vec<&dyn Fs> = all.iter().map(|fs| *fs as &dyn Fs).collect();
    diff(&all).expect("logs")
}

#[test]
fn one_that_trails_is_consistent_and_so_are_tails_that_no_majority_took() {
    let a = replica(1, &[1, 1, 1, 2, 2, 3, 3, 3], 6);
    let b = replica(2, &[1, 1, 1, 2, 2, 3], 6);
    let c = replica(3, &[1, 1, 1, 2, 2, 2, 2], 5);
    let report = compare(&[&a, &b, &c]);
    assert!(report.is_consistent() && report.outcome() == Outcome::Clean, "{report:#?}");
    assert_eq!(report.common, Some((1, 5)));
    assert_eq!(report.compared, 7);
    let pairs: Vec<_> = report.differences.iter().map(|d| (d.replicas, d.index, d.last)).collect();
    assert_eq!(pairs, [((0, 2), 6, 7), ((1, 2), 6, 6)]);
    assert!(report.findings.iter().all(|f| (f.code, f.severity) == (Code::W602, Severity::Note)));
}

#[test]
fn a_forged_payload_breaks_log_matching() {
    let terms = [1, 1, 2, 2, 2];
    let a = replica(4, &terms, 5);
    let b = written(5, &terms, 5, |index, term| {
        if index == 3 { "forged".to_owned() } else { format!("{index} of term {term}") }
    });
    let report = compare(&[&a, &b]);
    assert_eq!(report.outcome(), Outcome::Damaged);
    let difference = &report.differences[0];
    assert_eq!((difference.index, difference.breaks), (3, Some(Broken::Bytes(3))));
    assert_eq!((report.findings[0].code, report.common), (Code::W601, Some((1, 2))));
}

#[test]
fn a_forged_term_is_seen_by_what_agrees_behind_it() {
    // Nothing is committed, so only Log Matching can tell.
    let a = replica(6, &[1, 2, 2, 4, 4], 0);
    let b = replica(7, &[1, 2, 3, 4, 4], 0);
    let report = compare(&[&a, &b]);
    assert_eq!(report.differences[0].breaks, Some(Broken::Behind(4)), "{report:#?}");
    assert_eq!(
        (report.findings[0].code, report.findings[0].severity),
        (Code::W602, Severity::Error)
    );
    assert_eq!(report.outcome(), Outcome::Damaged);
    let says = &report.findings[0].detail;
    assert!(says.contains("term 2 in") && says.contains("term 3 in"), "{says}");
}

#[test]
fn different_entries_that_both_call_committed_are_the_end_of_it() {
    let a = replica(8, &[1, 1, 2, 2], 4);
    let b = replica(9, &[1, 1, 2, 3], 4);
    let report = compare(&[&a, &b]);
    assert_eq!(report.differences[0].breaks, Some(Broken::Committed(4)));
    assert_eq!((report.findings[0].code, report.common), (Code::W601, Some((1, 3))));
}

#[test]
fn a_trimmed_log_is_compared_by_what_it_remembers_of_the_entry_before() {
    let a = replica(10, &[1, 1, 2, 2, 2], 5);
    let fresh = |prev_term| {
        let fs = SimFs::new(11);
        let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
        log.reset(4, Some(EntryId::new(3, prev_term))).expect("resets");
        for at in 4..6 {
            log.append(&[Entry::new(at, 2, format!("{at} of term 2"))]).expect("appends");
        }
        log.save_hard_state(HardState { term: 2, vote: None, commit: 5 }).expect("commits");
        log.close().expect("closes");
        fs
    };
    assert!(compare(&[&a, &fresh(2)]).is_consistent());
    let report = compare(&[&a, &fresh(1)]);
    assert_eq!(report.differences[0].index, 3, "{report:#?}");
    assert!(!report.is_consistent());
}

#[test]
fn damage_is_left_out_of_the_comparison_and_said() {
    let (a, b) = (healthy(12), healthy(12));
    fs_garble(&b);
    let report = compare(&[&a, &b]);
    assert!(report.is_consistent(), "{report:#?}");
    assert!(report.replicas[1].missing > 0 && report.replicas[0].missing == 0);
    assert!(diff(&[&a as &dyn Fs]).is_err());
}

fn fs_garble(fs: &SimFs) {
    fs.garble(Dir::Root, &segment_name(2), 20_000..21_000, 3);
}
