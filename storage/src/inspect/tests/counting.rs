//! What counts and what does not: rot of entries that were dropped or replaced, snapshots, leftovers,
//! and what a dump or a window is asked for.

use std::{io::Write, ops::ControlFlow};

use super::*;
use crate::{EntryId, OnDamage, layout::snapshot_name};

/// A closed log that somebody wrote so.
fn written(script: impl FnOnce(&mut Log)) -> SimFs {
    let fs = SimFs::new(61);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    script(&mut log);
    log.close().expect("closes");
    fs
}

fn append(log: &mut Log, range: std::ops::Range<u64>, term: u64) {
    for index in range {
        log.append(&entries(index..index + 1, term)).expect("appends");
    }
    log.sync().expect("syncs");
}

/// Flips a bit of the first payload of `index` that the first segment holds.
fn rot(fs: &SimFs, index: u64) {
    let name = segment_name(1);
    let bytes = fs.read_file(Dir::Root, &name).expect("there");
    let needle = format!("{index:0>300}");
    let at = bytes.windows(300).position(|window| window == needle.as_bytes());
    fs.flip_bit(Dir::Root, &name, at.expect("found") as u64 + 9, 2);
}

/// What a look says of the rot of entry `index` of the first segment.
fn of_rot(fs: &SimFs, index: u64) -> (Code, Severity) {
    let fs = fs.kill_image();
    rot(&fs, index);
    let report = look_at(&fs);
    let about = |finding: &&Finding| finding.indexes == Some((index, index));
    let found: Vec<&Finding> = report.findings.iter().filter(about).collect();
    assert_eq!(found.len(), 1, "{:?}", report.findings);
    (found[0].code, found[0].severity)
}

const COUNTS: (Code, Severity) = (Code::W202, Severity::Error);
const DROPPED: (Code, Severity) = (Code::W105, Severity::Warning);

#[test]
fn rot_counts_only_where_the_entry_does() {
    let truncated_where_it_stands = written(|log| {
        append(log, 1..21, 1);
        log.trim_tail(15).expect("truncates");
        append(log, 15..18, 2);
    });
    assert_eq!(of_rot(&truncated_where_it_stands, 14), COUNTS);
    assert_eq!(of_rot(&truncated_where_it_stands, 15), DROPPED);
    assert_eq!(of_rot(&truncated_where_it_stands, 20), DROPPED);

    let truncated_by_a_newer_segment = written(|log| {
        append(log, 1..21, 1);
        log.rotate_now().expect("rotates");
        log.trim_tail(15).expect("truncates");
        append(log, 15..31, 2);
    });
    assert_eq!(of_rot(&truncated_by_a_newer_segment, 14), COUNTS);
    assert_eq!(of_rot(&truncated_by_a_newer_segment, 15), DROPPED);

    let trimmed_by_a_newer_segment = written(|log| {
        append(log, 1..21, 1);
        log.rotate_now().expect("rotates");
        log.trim_prefix(10).expect("trims");
        append(log, 21..23, 1);
    });
    assert_eq!(of_rot(&trimmed_by_a_newer_segment, 10), COUNTS);
    assert_eq!(of_rot(&trimmed_by_a_newer_segment, 9), DROPPED);
}

#[test]
fn rot_of_an_entry_that_was_refilled_does_not_count() {
    let fs = written(|log| append(log, 1..21, 1));
    rot(&fs, 7);
    assert_eq!(codes(&look_at(&fs)), [COUNTS]);
    let faulty = options().on_damage(OnDamage::Faulty);
    let (mut log, _) = Log::open_on(Arc::new(fs.clone()), faulty).expect("opens");
    log.refill(&entries(7..8, 1)[0]).expect("refills");
    log.close().expect("closes");
    let report = look_at(&fs);
    assert_eq!(report.outcome(), Outcome::Heals, "{:?}", report.findings);
    assert!(codes(&report).contains(&DROPPED), "{:?}", report.findings);
}

#[test]
fn the_entry_at_the_commit_index_was_acknowledged_and_the_next_one_was_not() {
    let fs = written(|log| {
        append(log, 1..21, 1);
        let committed = HardState { term: 1, vote: None, commit: 12 };
        log.save_hard_state(committed).expect("commits");
    });
    for (index, acknowledged) in [(11, 1), (12, 1), (13, 0)] {
        let fs = fs.kill_image();
        rot(&fs, index);
        assert_eq!(look_at(&fs).acknowledged().count(), acknowledged, "{index}");
    }
}

#[test]
fn a_snapshot_that_the_log_counts_on_is_damage_and_another_is_a_warning() {
    let fs = written(|log| {
        append(log, 1..21, 1);
        let snapshot = |index| {
            let mut writer = log.snapshots().begin(EntryId::new(index, 1), b"").expect("begins");
            writer.write_all(&[9; 3000]).expect("writes");
            writer.commit().expect("commits")
        };
        let (older, _newer) = (snapshot(10), snapshot(15));
        log.mark_snapshot(older).expect("marks");
    });
    for (index, severity, outcome) in
        [(10, Severity::Error, Outcome::Damaged), (15, Severity::Warning, Outcome::Heals)]
    {
        let fs = fs.kill_image();
        // In the payload: only who reads everything sees it.
        fs.flip_bit(Dir::Snapshots, &snapshot_name(index, 1), 1500, 0);
        let report = look_at(&fs);
        let bad: Vec<Severity> = report
            .findings
            .iter()
            .filter(|finding| finding.code == Code::W501)
            .map(|finding| finding.severity)
            .collect();
        assert_eq!((bad, report.outcome()), (vec![severity], outcome), "{:?}", report.findings);
        let quick = verify(&fs, VerifyOptions::new().quick(true), &mut |_| {}).expect("a log");
        assert_eq!(quick.outcome(), Outcome::Clean, "{:?}", quick.findings);
    }
    let fs = fs.kill_image();
    fs.remove_file(Dir::Snapshots, &snapshot_name(10, 1));
    assert!(codes(&look_at(&fs)).contains(&(Code::W502, Severity::Error)));
}

#[test]
fn what_the_chain_does_not_need_is_a_leftover_and_no_damage() {
    let fs = written(|log| {
        append(log, 1..21, 1);
        log.rotate_now().expect("rotates");
        log.reset(50, Some(EntryId::new(49, 2))).expect("resets");
        append(log, 50..60, 2);
    });
    let old = SimFs::new(61);
    let mut log = Log::create_on(Arc::new(old.clone()), options()).expect("creates");
    append(&mut log, 1..3, 1);
    log.close().expect("closes");
    let bytes = old.read_file(Dir::Root, &segment_name(1)).expect("there");
    fs.write_file(Dir::Root, &segment_name(1), &bytes);
    fs.write_file(Dir::Root, &index_name(77), b"of nothing");
    let report = look_at(&fs);
    let left = |name: String| {
        report.findings.iter().any(|finding| {
            finding.code == Code::W103
                && finding.severity == Severity::Warning
                && finding.file_name() == name
        })
    };
    assert!(left(segment_name(1)) && left(index_name(77)), "{:?}", report.findings);
    assert_eq!(report.outcome(), Outcome::Heals, "{:?}", report.findings);
    // A dump shows what is left over only where that segment is asked for.
    assert_eq!(shown(&fs, &DumpOptions::default()), (50..60).collect::<Vec<u64>>());
    let one = DumpOptions { segment: Some(1), ..DumpOptions::default() };
    assert_eq!(shown(&fs, &one), [1, 2]);
}

/// The indexes that a dump shows.
fn shown(fs: &SimFs, options: &DumpOptions) -> Vec<u64> {
    let mut indexes = Vec::new();
    dump(fs, options, &mut |row| {
        if let Row::Entry(entry) = row {
            indexes.push(entry.id.index);
        }
        ControlFlow::Continue(())
    })
    .expect("a log");
    indexes
}

#[test]
fn a_dump_shows_what_was_asked_for_and_its_verdict_knows_what_it_met() {
    let fs = healthy(62);
    let asked = |change: &dyn Fn(&mut DumpOptions)| {
        let mut options = DumpOptions::default();
        change(&mut options);
        shown(&fs, &options)
    };
    let all = asked(&|_| {});
    assert_eq!(all, (1..=400).collect::<Vec<u64>>());
    assert_eq!(asked(&|options| options.tail = Some(7)), (394..=400).collect::<Vec<u64>>());
    assert_eq!(asked(&|options| options.indexes = Some(38..=51)), (38..=51).collect::<Vec<u64>>());
    let later = asked(&|options| options.term = Some(2));
    assert_eq!((later.first(), later.last()), (Some(&201), Some(&400)));
    let one = asked(&|options| options.segment = Some(2));
    assert!(!one.is_empty() && one.len() < 200 && one[0] > 1, "{one:?}");

    rot(&fs, 5);
    let (mut bad, mut rows) = (Vec::new(), 0);
    let report = dump(&fs, &DumpOptions::default(), &mut |row| {
        match row {
            Row::Entry(entry) if !entry.sound => bad.push(entry.id.index),
            Row::Damage(_) => rows += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .expect("a log");
    assert_eq!((bad, rows, report.outcome()), (vec![5], 1, Outcome::Damaged));
}

#[test]
fn a_window_says_what_is_missing_at_its_end_too() {
    let fs = healthy(63);
    let ids: Vec<u64> = look(&fs).expect("a log").segments.into_keys().collect();
    let window = Window::look(&fs).expect("a log");
    for gone in [ids[1], ids[ids.len() - 1]] {
        let fs = fs.kill_image();
        fs.remove_file(Dir::Root, &segment_name(gone));
        let (mut next, mut missing) = (1, 0);
        window
            .entries(&fs, 0..=u64::MAX, &mut |row| {
                let (first, last) = match row {
                    Live::Entry(entry) => (entry.id.index, entry.id.index),
                    Live::Missing(span, _) => {
                        missing += span.1 - span.0 + 1;
                        span
                    }
                };
                assert_eq!(first, next);
                next = last + 1;
                ControlFlow::Continue(())
            })
            .expect("reads");
        assert_eq!(next, 401, "segment {gone}");
        assert!((1..200).contains(&missing), "{missing} entries of segment {gone}");
    }
}
