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
