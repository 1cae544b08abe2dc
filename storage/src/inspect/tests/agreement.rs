//! Inspection and an open look at the same bytes, and may not contradict each other.

use super::*;
use crate::{
    Error, RecoveryReport, Verdict,
    fs::sim::{Model, Rng},
};

fn open(fs: &SimFs) -> crate::Result<RecoveryReport> {
    Log::open_on(Arc::new(fs.clone()), options()).map(|(_, report)| report)
}

/// What must hold between the two, whatever the bytes are.
fn compare(fs: &SimFs, what: &str) -> (Outcome, bool) {
    let report = look_at(fs);
    let quick = verify(fs, VerifyOptions::new().quick(true), &mut |_| {}).expect("a log");
    let outcome = report.outcome();
    let opened = open(&fs.kill_image());
    let details = || format!("{what}: {report}\n{:#?}\n{opened:?}", report.findings);
    match &opened {
        Ok(opened) => {
            // A quick look reads what an open reads, and payloads of the last segment only.
            let found = quick.findings.iter().filter(|f| f.severity == Severity::Error);
            let strict: Vec<_> =
                found.filter(|f| !matches!(f.code, Code::W403 | Code::W404 | Code::W504)).collect();
            assert!(strict.is_empty(), "an open finds nothing: {strict:?} {}", details());
            assert_eq!(report.summary.window, Some(opened.window), "{}", details());
            assert_eq!(report.summary.maybe_lost, opened.maybe_lost, "{}", details());
            assert_eq!(report.summary.log_id, Some(opened.log_id), "{}", details());
            let torn = report.findings.iter().any(|f| f.code == Code::W101);
            assert_eq!(torn, opened.verdict == Some(Verdict::Unproven), "{}", details());
            // The same evidence for the same missing markers, wherever an open scans.
            let missing = quick.findings.iter().filter(|f| f.code == Code::W102);
            let mut seen: Vec<_> =
                missing.map(|f| (f.file.clone(), f.offset, f.len, f.evidence)).collect();
            let told = opened.missing_markers.iter();
            let mut told: Vec<_> =
                told.map(|m| (m.file.clone(), m.from, m.to - m.from, Some(m.evidence))).collect();
            seen.sort_by_key(|m| (m.0.clone(), m.1));
            told.sort_by_key(|m| (m.0.clone(), m.1));
            assert_eq!(told, seen, "{}", details());
        }
        Err(Error::Corrupt(_)) => {
            assert_eq!(outcome, Outcome::Damaged, "an open refuses: {}", details());
        }
        Err(Error::NewerFormat { .. }) => {
            assert_eq!(outcome, Outcome::NewerFormat, "{}", details())
        }
        Err(e) => panic!("{e}: {}", details()),
    }
    (outcome, opened.is_ok())
}

/// A short history with everything in it, not closed: the power may go at any instant.
fn history(fs: &SimFs) -> crate::Result<()> {
    let mut log = Log::create_on(Arc::new(fs.clone()), options().segment_size(32 << 10))?;
    log.save_hard_state(HardState { term: 1, vote: Some(2), commit: 0 })?;
    for at in (1..101).step_by(4) {
        log.append(&entries(at..at + 4, 1))?;
        if at % 3 == 0 {
            log.sync()?;
        }
    }
    log.save_hard_state(HardState { term: 2, vote: None, commit: 80 })?;
    log.trim_tail(95)?;
    log.append(&entries(95..99, 2))?;
    log.trim_prefix(20)?;
    log.reclaim()?;
    log.append(&entries(99..104, 2)).map(drop)
}

#[test]
fn after_a_power_cut_nothing_is_called_damaged_and_both_see_the_same_window() {
    let mut count = 0;
    let mut torn = 0;
    for (seed, model) in [(40, Model::Journal), (41, Model::Strict)] {
        let whole = SimFs::new(seed);
        history(&whole).expect("has power");
        let ops = whole.ops();
        for cut in (ops / 3..ops).step_by(3) {
            let fs = SimFs::new(seed);
            fs.cut_at(cut);
            assert!(history(&fs).is_err(), "the power went");
            let mut rng = Rng::new(cut);
            for image in fs.crash_images(model, 6, &mut rng) {
                if image.harmed.is_some() || look(&image.fs).is_err() {
                    continue;
                }
                let (outcome, opens) = compare(&image.fs, &format!("seed {seed}, cut at {cut}"));
                assert!(opens && outcome.code() <= 1, "seed {seed}, cut at {cut}: {outcome:?}");
                torn += u32::from(outcome == Outcome::Heals);
                count += 1;
            }
        }
    }
    assert!(count > 150 && torn > 10, "only {count} states, {torn} of them torn");
}

#[test]
fn whatever_rots_the_two_do_not_contradict_each_other() {
    let good = healthy(42);
    let names = good.names(Dir::Root);
    let mut damaged = 0;
    for round in 0..400_u64 {
        let fs = good.kill_image();
        let name = &names[usize::try_from(round).expect("small") % names.len()];
        let Some(bytes) = fs.read_file(Dir::Root, name) else { continue };
        if bytes.is_empty() {
            continue;
        }
        let len = bytes.len() as u64;
        let mut rng = Rng::new(round);
        let at = rng.below(bytes.len()) as u64;
        match round % 5 {
            0 | 1 => fs.flip_bit(Dir::Root, name, at, 5),
            2 => fs.zero(Dir::Root, name, at / 512 * 512..(at / 512 * 512 + 512).min(len)),
            3 => fs.garble(Dir::Root, name, at..(at + 700).min(len), round),
            _ => fs.truncate_file(Dir::Root, name, at),
        }
        let (outcome, _) = compare(&fs, &format!("round {round}: {name} at {at}"));
        damaged += u32::from(outcome == Outcome::Damaged);
    }
    assert!(damaged > 40, "only {damaged} rounds did any damage");
}

/// Each marker of the log in turn becomes zeros: where only it is missing, an open says so with the
/// same place and evidence as inspection, in the newest segment and in those before it.
#[test]
fn an_open_tells_of_each_missing_marker_what_inspection_tells() {
    let good = SimFs::new(44);
    let mut log = Log::create_on(Arc::new(good.clone()), options()).expect("creates");
    for term in 1..200 {
        if term == 190 {
            log.rotate_now().expect("rotates");
        }
        log.save_hard_state(HardState { term, vote: Some(1), commit: 0 }).expect("votes");
        let next = log.next_log_index();
        log.append(&entries(next..next + 3, term)).expect("appends");
        log.sync().expect("syncs");
    }
    log.close().expect("closes");
    for name in good.names(Dir::Root).into_iter().filter(|name| name.ends_with(".idx")) {
        good.remove_file(Dir::Root, &name);
    }
    let mut markers = Vec::new();
    dump(&good, &DumpOptions::default(), &mut |row| {
        if let Row::Batch(batch) = row
            && batch.kind == BatchKind::Marker
        {
            markers.push((batch.segment, batch.offset, batch.len));
        }
        std::ops::ControlFlow::Continue(())
    })
    .expect("dumps");
    let top = markers.last().expect("many").0;
    let mut told = [0; 2];
    let chosen = |(at, marker): &(usize, (u64, u64, u64))| at % 3 == 0 || marker.0 == top;
    for (_, (segment, offset, len)) in markers.into_iter().enumerate().filter(chosen) {
        let fs = good.kill_image();
        fs.zero(Dir::Root, &segment_name(segment), offset..offset + len);
        let what = format!("marker at {offset} of {segment}");
        compare(&fs, &what);
        let report = open(&fs.kill_image());
        let missing = report.map(|report| report.missing_markers).unwrap_or_default();
        assert!(missing.iter().all(|m| m.file.ends_with(segment_name(segment))), "{what}");
        told[usize::from(segment == top)] += missing.len();
    }
    assert!(told.iter().all(|count| *count > 3), "{told:?}");
}
