//! `hardlog::inspect::diff` on the directories of clusters that ran under faults, as they stood when
//! the faults ended: nothing that Raft promises is broken there. With one entry forged in one of
//! them it says which, its terms, and what that breaks.

use std::{ops::ControlFlow, sync::Arc};

use hardlog::{
    Entry, HardState, Log, Options,
    fs::{Dir, Fs, sim::SimFs},
    inspect::{Broken, Code, DiffReport, Live, Outcome, Window, diff},
};
use hardlog_raft::sim::play::{Ask, run};

/// The disks of a seed's cluster.
fn disks(seed: u64) -> Vec<SimFs> {
    let outcome = run(seed, &Ask { disks: true, ..Ask::default() });
    assert_eq!(outcome.breach, None, "seed {seed}");
    let lay = |(id, files): (u64, Vec<(String, Vec<u8>)>)| {
        let fs = SimFs::new(id);
        fs.make_dirs().expect("makes");
        for (path, bytes) in files.into_iter().filter(|(path, _)| path != "LOCK") {
            let (dir, name) = path.split_once('/').unwrap_or(("", &path));
            let dir = Dir::ALL.into_iter().find(|known| known.name() == dir).expect("known");
            fs.write_file(dir, name, &bytes);
        }
        fs
    };
    outcome.disks.into_iter().map(lay).collect()
}

fn compare(all: &[SimFs]) -> DiffReport {
    let all: Vec<&dyn Fs> = all.iter().map(|fs| fs as &dyn Fs).collect();
    diff(&all).expect("logs")
}

/// Whether it holds a log: a node may have been started and cut off before it had one.
fn is_log(fs: &SimFs) -> bool {
    Window::look(fs).is_ok_and(|window| window.report().summary.window.is_some())
}

#[test]
fn the_directories_of_clusters_under_faults_are_consistent() {
    let (mut compared, mut trailing, mut differing, mut damaged) = (0, 0, 0, 0);
    for seed in 0..150 {
        let all: Vec<SimFs> = disks(seed).into_iter().filter(is_log).collect();
        if all.len() < 2 {
            continue;
        }
        let report = compare(&all);
        assert!(report.is_consistent(), "seed {seed}: {:#?}", report.findings);
        let ends: Vec<_> = report.replicas.iter().map(|replica| replica.span).collect();
        compared += report.compared;
        trailing += u32::from(ends.windows(2).any(|pair| pair[0] != pair[1]));
        differing += report.differences.len();
        damaged += usize::from(report.outcome().code() > Outcome::Heals.code());
    }
    println!(
        "{compared} indexes; {trailing} clusters trail, {differing} pairs differ, {damaged} damaged"
    );
    assert!(compared > 1000 && trailing > 20 && differing > 3, "{compared} {trailing} {differing}");
}

/// What a log holds, with one entry changed, as another log.
fn forged(fs: &SimFs, index: u64, change: impl Fn(&mut Entry)) -> SimFs {
    let window = Window::look(fs).expect("a log");
    let summary = &window.report().summary;
    let (first, _) = summary.window.expect("known");
    let forged = SimFs::new(99);
    let options = Options::new().background(false);
    let mut log = Log::create_on(Arc::new(forged.clone()), options).expect("creates");
    log.reset(first, summary.prev).expect("resets");
    // What lies before the window counts as committed.
    let commit = log.hard_state().commit;
    log.save_hard_state(HardState { commit, ..summary.hard_state }).expect("votes");
    window
        .entries(fs, 0..=u64::MAX, &mut |row| {
            let Live::Entry(found) = row else { panic!("{row:?}") };
            let mut entry = Entry { id: found.id, payload: found.payload.to_vec().into() };
            if entry.id.index == index {
                change(&mut entry);
            }
            log.append(&[entry]).expect("appends");
            ControlFlow::Continue(())
        })
        .expect("reads");
    log.save_hard_state(summary.hard_state).expect("commits");
    log.close().expect("closes");
    forged
}

/// The last committed entries of terms that both hold, with the term behind each.
fn ends_of_terms(all: &[SimFs]) -> Vec<(u64, u64, u64)> {
    let mut ends = Vec::new();
    let windows: Vec<Window> = all.iter().map(|fs| Window::look(fs).expect("a log")).collect();
    let both = |pick: fn(&Window) -> u64| windows.iter().map(pick).collect::<Vec<u64>>();
    let low = both(|window| window.span().map_or(u64::MAX, |span| span.0)).into_iter().max();
    let high = both(|window| {
        let commit = window.report().summary.hard_state.commit;
        window.span().map_or(0, |span| span.1.min(commit))
    });
    let Some((low, high)) = low.zip(high.into_iter().min()) else { return ends };
    let mut before: Option<(u64, u64)> = None;
    let _ = windows[0].entries(&all[0], low..=high, &mut |row| {
        if let Live::Entry(entry) = row {
            if let Some((index, term)) = before.filter(|(_, term)| *term < entry.id.term) {
                ends.push((index, term, entry.id.term));
            }
            before = Some((entry.id.index, entry.id.term));
        }
        ControlFlow::Continue(())
    });
    ends
}

#[test]
fn a_forged_entry_is_named_with_its_terms_and_what_it_breaks() {
    let mut forgeries = 0;
    for seed in 0..150 {
        let sound =
            |fs: &SimFs| Window::look(fs).is_ok_and(|window| window.report().outcome().code() <= 1);
        let mut all: Vec<SimFs> = disks(seed).into_iter().filter(is_log).filter(sound).collect();
        all.truncate(2);
        let ends = if all.len() < 2 { Vec::new() } else { ends_of_terms(&all) };
        let Some(&(index, term, next)) = ends.first() else { continue };
        // Where their tails differ anyway, the forgery is not all that does.
        if !compare(&all).differences.is_empty() {
            continue;
        }
        forgeries += 1;

        let bytes = forged(&all[1], index, |entry| entry.payload = "forged".into());
        let report = compare(&[all[0].clone(), bytes]);
        let difference = &report.differences[0];
        assert_eq!((difference.index, difference.last), (index, index), "seed {seed}");
        assert_eq!(difference.breaks, Some(Broken::Bytes(index)), "seed {seed}");
        assert_eq!((report.findings[0].code, report.outcome()), (Code::W601, Outcome::Damaged));
        let says = &report.findings[0].detail;
        assert!(says.contains(&format!("entry {index} has the same term")), "{says}");
        assert!(says.contains(&format!("term {term} in")), "{says}");

        let other = forged(&all[1], index, |entry| entry.id.term = next);
        let report = compare(&[all[0].clone(), other]);
        let difference = &report.differences[0];
        assert_eq!(difference.index, index, "seed {seed}");
        assert_eq!(difference.breaks, Some(Broken::Committed(index)), "seed {seed}");
        let says = &report.findings[0].detail;
        assert!(says.contains(&format!("both call entry {index} committed")), "{says}");
        assert!(says.contains(&format!("term {term} in")), "{says}");
        assert!(says.contains(&format!("term {next} in")), "{says}");
    }
    assert!(forgeries > 10, "{forgeries} clusters had an entry to forge");
}
