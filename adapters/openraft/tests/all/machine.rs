//! The state machines: snapshots that a cut leaves whole or not at all, and that are read back.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use futures_util::stream;
use hardlog::{
    EntryId, SnapshotStore,
    fs::{
        Dir, Fs,
        sim::{Model, Rng, SimFs},
    },
};
use hardlog_openraft::{Error, What, v0_9, v0_10};
use openraft::{
    RaftSnapshotBuilder,
    storage::{RaftStateMachine, SnapshotMeta},
};
use openraft09::{RaftSnapshotBuilder as _, storage::RaftStateMachine as _};

use crate::{
    cuts::open,
    log::{entry, id},
    notes::{Advanced, Notes, Older},
    now,
};

type C = Advanced;
type Machine = v0_10::StateMachine<C, Notes>;

/// The machine that a process finds, its log with it.
fn started(disk: &SimFs) -> (v0_10::LogStore<C>, Machine) {
    let store = v0_10::LogStore::inline(open(disk));
    let machine = Machine::open(&store, Notes::default()).unwrap();
    (store, machine)
}

fn apply(machine: &mut Machine, indexes: std::ops::Range<u64>) {
    let entries = indexes.map(|index| Ok((entry(1, 1, index), None)));
    now(machine.apply(stream::iter(entries.collect::<Vec<_>>()))).unwrap();
}

fn applied(machine: &mut Machine) -> (Option<u64>, usize) {
    let last = now(machine.applied_state()).unwrap().0;
    (last.map(|id| id.index), machine.app().read().unwrap().0.len())
}

/// Runs `work` and returns all disks that a cut in it may leave.
fn cuts_of(disk: &SimFs, seed: u64, work: impl FnOnce()) -> Vec<SimFs> {
    let (images, mut rng) = (Arc::new(Mutex::new(Vec::new())), Rng::new(seed));
    let kept = Arc::clone(&images);
    disk.on_step(move |disk, _| {
        let cut = disk.crash_images(Model::Strict, 3, &mut rng);
        let cut = cut.filter(|image| image.harmed.is_none()).map(|image| image.fs);
        kept.lock().unwrap().extend(cut);
    });
    work();
    disk.clear_hook();
    std::mem::take(&mut *images.lock().unwrap())
}

#[test]
fn a_cut_while_a_snapshot_is_taken_leaves_the_old_one_or_the_new_one() {
    let disk = SimFs::new(1);
    let (_store, mut machine) = started(&disk);
    apply(&mut machine, 0..10);
    let mut builder = now(machine.get_snapshot_builder());
    let cut = cuts_of(&disk, 1, || drop(now(builder.build_snapshot()).unwrap()));
    check(&cut, [(None, 0), (Some(9), 10)]);

    apply(&mut machine, 10..30);
    let mut builder = now(machine.get_snapshot_builder());
    // Of the state as it was when the builder was made.
    apply(&mut machine, 30..31);
    let cut = cuts_of(&disk, 2, || drop(now(builder.build_snapshot()).unwrap()));
    check(&cut, [(Some(9), 10), (Some(29), 30)]);
    let after: Vec<_> = disk.crash_images(Model::Strict, 8, &mut Rng::new(3)).collect();
    let after = after.into_iter().filter(|image| image.harmed.is_none());
    for image in after {
        assert_eq!(applied(&mut started(&image.fs).1), (Some(29), 30), "it had returned");
    }
}

fn check(images: &[SimFs], may_be: [(Option<u64>, usize); 2]) {
    let mut found = [0, 0];
    for image in images {
        let (_store, mut machine) = started(&image.kill_image());
        let state = applied(&mut machine);
        let at = may_be.iter().position(|one| *one == state);
        found[at.unwrap_or_else(|| panic!("{state:?} is none of {may_be:?}"))] += 1;
        let current = now(machine.get_current_snapshot()).unwrap();
        assert_eq!(current.and_then(|s| s.meta.last_log_id).map(|id| id.index), state.0);
    }
    assert!(found[0] > 5 && found[1] > 0, "{found:?} of {may_be:?}");
}

#[test]
fn a_snapshot_of_a_peer_is_received_and_installed_whole_or_not_at_all() {
    let leader = SimFs::new(2);
    let (_log, mut machine) = started(&leader);
    apply(&mut machine, 0..50);
    let snapshot =
        now(async { machine.get_snapshot_builder().await.build_snapshot().await.unwrap() });

    let disk = SimFs::new(3);
    let (_store, mut follower) = started(&disk);
    apply(&mut follower, 0..3);
    let files = follower.snapshots();
    let mut sent = snapshot.snapshot;
    let cut = cuts_of(&disk, 4, || {
        let received =
            v0_10::receive::<C, hardlog_openraft::Bincode>(&files, &snapshot.meta, &mut sent);
        now(follower.install_snapshot(&snapshot.meta, received.unwrap())).unwrap();
    });
    check(&cut, [(None, 0), (Some(49), 50)]);
    assert_eq!(applied(&mut follower), (Some(49), 50));
    assert_eq!(files.list().unwrap().len(), 1, "what was received is what was installed");

    // A reader of another node's file is copied.
    let third = SimFs::new(4);
    let (_store, mut copy) = started(&third);
    let current = now(follower.get_current_snapshot()).unwrap().unwrap();
    now(copy.install_snapshot(&current.meta, current.snapshot)).unwrap();
    drop((_store, copy));
    assert_eq!(applied(&mut started(&third).1), (Some(49), 50));
}

/// Snapshots at 9 and 19, of which the newer is damaged in its payload.
fn damaged(disk: &SimFs) {
    let (store, mut machine) = started(disk);
    for end in [10, 20] {
        apply(&mut machine, end - 10..end);
        drop(now(async { machine.get_snapshot_builder().await.build_snapshot().await.unwrap() }));
    }
    drop((store, machine));
    let found = disk.list(Dir::Snapshots).unwrap();
    let newest = found.iter().map(|found| &found.name).max().unwrap();
    let file = disk.open(Dir::Snapshots, newest, hardlog::fs::Access::ReadWrite).unwrap();
    file.write_at(b"?", file.len().unwrap() / 2).unwrap();
    file.sync().unwrap();
}

#[test]
fn where_the_newest_snapshot_is_damaged_an_older_one_serves_if_the_log_reaches_back_to_it() {
    let disk = SimFs::new(5);
    damaged(&disk);
    assert_eq!(applied(&mut started(&disk).1), (Some(9), 10));

    let mut log = open(&disk);
    let mut purge = hardlog::Batch::new();
    purge.trim_through(EntryId { index: 15, term: 1, tag: 1 });
    log.write(&purge).unwrap();
    let refused = Machine::open(&v0_10::LogStore::inline(log), Notes::default()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData);
    let inner = refused.into_inner().unwrap();
    let inner = inner.downcast_ref::<Error>();
    assert!(matches!(inner, Some(Error::Log(hardlog::Error::Corrupt(_)))), "{inner:?}");
}

#[test]
fn metadata_and_states_that_do_not_decode_are_typed_errors_and_never_marked() {
    let disk = SimFs::new(6);
    let mut log = open(&disk);
    let files: SnapshotStore = log.snapshots();
    let mut writer = files.begin(EntryId::new(1, 1), b"no metadata").unwrap();
    writer.write_all(b"x").unwrap();
    log.mark_snapshot(writer.commit().unwrap()).unwrap();
    let refused = Machine::open(&v0_10::LogStore::inline(log), Notes::default()).unwrap_err();
    let inner = refused.into_inner().unwrap();
    let inner = inner.downcast_ref::<Error>();
    assert!(matches!(inner, Some(Error::Decode { what: What::SnapshotMeta, .. })), "{inner:?}");

    // A state that is no text.
    let (_store, mut machine) = started(&SimFs::new(7));
    let meta = SnapshotMeta { last_log_id: Some(id(1, 1, 4)), ..SnapshotMeta::default() };
    let mut bytes: &[u8] = &[0xFF];
    let received =
        v0_10::receive::<C, hardlog_openraft::Bincode>(&machine.snapshots(), &meta, &mut bytes);
    assert!(now(machine.install_snapshot(&meta, received.unwrap())).is_err());
    assert!(now(machine.get_current_snapshot()).unwrap().is_none());
    assert_eq!(applied(&mut machine), (None, 0));
}

#[test]
fn the_older_version_keeps_its_snapshots_too() {
    type Machine = v0_9::StateMachine<Older, Notes>;
    let started = |disk: &SimFs| {
        let store = v0_9::LogStore::<Older>::inline(open(disk));
        let machine = Machine::open(&store, Notes::default()).unwrap();
        (store, machine)
    };
    let line = |index: u64| openraft09::Entry::<Older> {
        log_id: openraft09::LogId::new(openraft09::CommittedLeaderId::new(1, 1), index),
        payload: openraft09::EntryPayload::Normal(format!("line {index}")),
    };
    let disk = SimFs::new(8);
    let (_store, mut machine) = started(&disk);
    assert_eq!(now(machine.apply((0..20).map(line))).unwrap().last(), Some(&20));
    let mut builder = now(machine.get_snapshot_builder());
    let mut snapshot = None;
    let cut = cuts_of(&disk, 8, || snapshot = Some(now(builder.build_snapshot()).unwrap()));
    let mut found = [0, 0];
    for image in &cut {
        let (_store, mut machine) = started(&image.kill_image());
        let last = now(machine.applied_state()).unwrap().0.map(|id| id.index);
        let lines = machine.app().read().unwrap().0.len();
        assert!([(None, 0), (Some(19), 20)].contains(&(last, lines)), "{last:?}, {lines}");
        found[usize::from(last.is_some())] += 1;
    }
    assert!(found[0] > 5 && found[1] > 0, "{found:?}");

    let (other, snapshot) = (SimFs::new(9), snapshot.unwrap());
    let (store, mut follower) = started(&other);
    now(follower.install_snapshot(&snapshot.meta, snapshot.snapshot)).unwrap();
    drop((store, follower));
    let (_store, mut follower) = started(&other);
    let current = now(follower.get_current_snapshot()).unwrap().unwrap();
    assert_eq!(current.meta, snapshot.meta);
    let mut text = String::new();
    current.snapshot.into_inner().as_slice().read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 20);
    let garbage = Box::new(std::io::Cursor::new(vec![0xFF]));
    assert!(now(follower.install_snapshot(&snapshot.meta, garbage)).is_err());
    assert_eq!(follower.app().read().unwrap().0.len(), 20);
}
