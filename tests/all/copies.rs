//! Backups and recovered logs, cut off anywhere (`hardlog_tests::copies`), and repairs without one of
//! their syncs: each must be missed by somebody, or its comment says why it is not needed.

use std::sync::Arc;

use hardlog::{
    Entry, EntryId, HardState, Log,
    fs::{Dir, sim::SimFs},
};
use hardlog_tests::{
    copies::{Seen, backed_up, backup_cut_off, recover_cut_off, surgery_cut_off},
    crash::world::options,
    damage::{Harm, Specimen},
    lazy::{Lazy, Skip},
    repair::cut_off,
};

/// A closed log of several segments, with a snapshot that it counts on.
fn several_segments() -> SimFs {
    let fs = SimFs::new(21);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).unwrap();
    log.save_hard_state(HardState { term: 2, vote: Some(1), commit: 0 }).unwrap();
    for index in 1..=60 {
        log.append(&[Entry::new(index, 2, vec![7; 1500])]).unwrap();
        log.sync().unwrap();
    }
    let mut snapshot = log.snapshots().begin(EntryId::new(3, 2), b"about").unwrap();
    std::io::Write::write_all(&mut snapshot, &[5; 9000]).unwrap();
    let mark = snapshot.commit().unwrap();
    log.mark_snapshot(mark).unwrap();
    log.trim_prefix(4).unwrap();
    log.close().unwrap();
    fs
}

/// The same with a bad snapshot beside the good one, which a recovery sets aside.
fn with_something_bad() -> SimFs {
    let fs = several_segments();
    fs.write_file(Dir::Snapshots, &hardlog::layout::snapshot_name(2, 2), &[1; 300]);
    fs
}

fn lazy(skip: Skip) -> impl Fn(&SimFs) -> Lazy {
    move |disk| Lazy::new(disk, skip)
}

fn told(what: &str, seen: Seen) {
    let Seen { cuts, states, whole, refused } = seen;
    println!("{what}: cut off at {cuts} calls, {states} states: {whole} whole, {refused} refused");
    assert!(whole > 20 && refused > 100, "{what}: {seen:?}");
}

#[test]
fn a_backup_that_is_cut_off_never_passes_for_a_shorter_log() {
    let from = several_segments();
    told("backup", backup_cut_off(&from, &lazy(Skip::Nothing)).unwrap());
    for skip in [
        Skip::File("", ".wal"),
        Skip::File("", ".snap"),
        Skip::Names(Dir::Root, 0),
        Skip::Names(Dir::Root, 1),
        Skip::Names(Dir::Snapshots, 0),
    ] {
        let missed = backup_cut_off(&from, &lazy(skip));
        println!("backup without {skip:?}: {missed:?}");
        assert!(missed.is_err(), "nobody misses {skip:?}");
    }
}

#[test]
fn a_recovery_that_is_cut_off_is_refused_or_whole() {
    let from = with_something_bad();
    told("recover", recover_cut_off(&from, &lazy(Skip::Nothing)).unwrap());
    for skip in [
        Skip::File("0000", ".wal"),
        Skip::File("copy-", ""),
        Skip::Names(Dir::Quarantine, 0),
        Skip::Names(Dir::Snapshots, 0),
        Skip::Names(Dir::Root, 0),
    ] {
        let missed = recover_cut_off(&from, &lazy(skip));
        println!("recover without {skip:?}: {missed:?}");
        assert!(missed.is_err(), "nobody misses {skip:?}");
    }
}

fn rotten(specimen: &Specimen) -> Harm {
    let segment = specimen.files().iter().position(|(_, name)| name.ends_with(".wal")).unwrap();
    Harm::Bit(segment, specimen.find(segment, &[13; 300]).unwrap(), 3)
}

/// The newest snapshot is bad; the log does not count on it yet.
fn bad_snapshot(specimen: &Specimen) -> Harm {
    let snapshot = specimen.files().iter().rposition(|(_, name)| name.ends_with(".snap")).unwrap();
    Harm::Bit(snapshot, 500, 2)
}

#[test]
fn no_sync_of_a_repair_can_be_left_out() {
    let specimen = Specimen::new().unwrap();
    let harm = rotten(&specimen);
    cut_off(&specimen, &harm, None, &lazy(Skip::Nothing)).unwrap();
    for skip in [
        Skip::File("0000", ".wal"),
        Skip::File("copy-", ""),
        Skip::Names(Dir::Quarantine, 0),
        Skip::Names(Dir::Root, 0),
    ] {
        let missed = cut_off(&specimen, &harm, None, &lazy(skip));
        println!("repair without {skip:?}: {missed:?}");
        assert!(missed.is_err(), "nobody misses {skip:?}");
    }
    let specimen = Specimen::with_another_snapshot().unwrap();
    let harm = bad_snapshot(&specimen);
    cut_off(&specimen, &harm, None, &lazy(Skip::Nothing)).unwrap();
    let missed = cut_off(&specimen, &harm, None, &lazy(Skip::Names(Dir::Snapshots, 0)));
    println!("repair without the names of snapshots: {missed:?}");
    assert!(missed.is_err(), "nobody misses the names of snapshots");
}

#[test]
fn the_backup_before_a_repair_is_there_before_anything_goes() {
    let specimen = Specimen::new().unwrap();
    let harm = rotten(&specimen);
    let states = backed_up(&specimen, &harm, &lazy(Skip::Nothing)).unwrap();
    println!("{states} states of a log and its backup");
    assert!(states > 100, "{states}");
    let missed = backed_up(&specimen, &harm, &lazy(Skip::File("copy-", "")));
    assert!(missed.is_err(), "nobody misses the sync of the copies");
    let from = several_segments();
    told("backup before surgery", surgery_cut_off(&from, &lazy(Skip::Nothing)).unwrap());
    for skip in [
        Skip::File("copy-", ""),
        Skip::Names(Dir::Root, 0),
        Skip::Names(Dir::Root, 1),
        Skip::Names(Dir::Snapshots, 0),
    ] {
        let missed = surgery_cut_off(&from, &lazy(skip));
        println!("backup before surgery without {skip:?}: {missed:?}");
        assert!(missed.is_err(), "nobody misses {skip:?}");
    }
}
