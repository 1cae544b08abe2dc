//! Snapshots made here, sent, installed, and what a restart begins with.

use std::io::{Read, Write};

use hardlog::{SnapshotMark, fs::sim::SimFs};
use hardlog_raft_rs::{
    Error, LogStorage, SnapshotData, Update,
    raft::{Error as RaftError, Storage, StorageError},
};

use super::rig::{entry, open, snapshot, three_entries, voters};

fn make(storage: &mut LogStorage, index: u64, members: &[u64], data: &str) -> SnapshotMark {
    let mut file = storage.begin_snapshot(index, &voters(members)).unwrap();
    file.write_all(data.as_bytes()).unwrap();
    let mark = file.commit().unwrap();
    storage.mark_snapshot(mark).unwrap();
    mark
}

fn unavailable<T>() -> Result<T, RaftError> {
    Err(RaftError::Store(StorageError::SnapshotTemporarilyUnavailable))
}

#[test]
fn a_snapshot_is_unavailable_until_one_is_marked() {
    let mut storage = three_entries();
    storage.compact(4).unwrap();
    assert_eq!(storage.snapshot_wanted(), None);
    // The one from which the log began is too old to go on from.
    assert_eq!(storage.snapshot(0, 2), unavailable());
    assert_eq!(storage.snapshot_wanted(), Some(0));
    assert_eq!(storage.snapshot(4, 2), unavailable());
    assert_eq!(storage.snapshot_wanted(), Some(4));

    let mut file = storage.begin_snapshot(3, &voters(&[1, 2, 3])).unwrap();
    file.write_all(b"three").unwrap();
    assert_eq!(storage.snapshot(0, 2), unavailable(), "it is not complete");
    let mark = file.commit().unwrap();
    assert_eq!(storage.snapshot(0, 2), unavailable(), "it is not marked");
    storage.mark_snapshot(mark).unwrap();
    assert_eq!(storage.snapshot(0, 2), Ok(snapshot(3, 3, &[1, 2, 3], "three")));
    assert_eq!(storage.snapshot(3, 2), Ok(snapshot(3, 3, &[1, 2, 3], "three")));
    assert_eq!(storage.snapshot_wanted(), Some(4), "a follower waits for a later one");
    assert_eq!(storage.snapshot(4, 2), unavailable());
    make(&mut storage, 5, &[1, 2], "five");
    assert_eq!(storage.snapshot_wanted(), None);
    assert_eq!(storage.snapshot(4, 2), Ok(snapshot(5, 5, &[1, 2], "five")));
}

#[test]
fn a_snapshot_is_made_only_of_what_the_log_knows() {
    let storage = three_entries();
    assert!(storage.begin_snapshot(1, &voters(&[1])).is_err());
    assert!(storage.begin_snapshot(6, &voters(&[1])).is_err());
    assert!(storage.begin_snapshot(2, &voters(&[1])).is_ok(), "just before the first");
}

#[test]
fn membership_and_commit_follow_a_mark_and_never_go_back_with_it() {
    let mut storage = three_entries();
    let four = make(&mut storage, 4, &[1, 2], "four");
    assert_eq!(storage.conf_state().unwrap(), (4, voters(&[1, 2])));
    assert_eq!(storage.initial_state().unwrap().hard_state.commit, 4);
    // A change that was applied after the state was frozen, and before it was a file.
    storage.save_conf_state(5, &voters(&[1, 2, 3, 4])).unwrap();
    storage.mark_snapshot(four).unwrap();
    assert_eq!(storage.conf_state().unwrap(), (5, voters(&[1, 2, 3, 4])));
    // An older one, finished late.
    let late = {
        let mut file = storage.begin_snapshot(3, &voters(&[9])).unwrap();
        file.write_all(b"late").unwrap();
        file.commit().unwrap()
    };
    storage.mark_snapshot(late).unwrap();
    assert_eq!(storage.log().snapshot_mark(), Some(four));
}

#[test]
fn a_restart_begins_with_the_marked_snapshot() {
    let disk = SimFs::new(3);
    let mut storage = open(&disk);
    assert!(storage.restore().unwrap().is_none());
    let new = snapshot(4, 4, &[1, 2, 3], "state");
    let update = Update { snapshot: Some(&new), entries: &[entry(5, 4)], ..Update::default() };
    storage.write(update).unwrap();
    storage.close().unwrap();

    let storage = open(&disk);
    let (meta, mut file) = storage.restore().unwrap().unwrap();
    let mut data = String::new();
    file.read_to_string(&mut data).unwrap();
    assert_eq!((&meta, data.as_str()), (new.get_metadata(), "state"));
    assert_eq!(storage.last_index(), Ok(5));
    assert_eq!(storage.snapshot(0, 2), Ok(new));
}

#[test]
fn a_snapshot_too_large_for_a_message_is_not_marked() {
    let mut storage = three_entries().with_snapshot_data(SnapshotData::InMessage { max: 4 });
    let mut file = storage.begin_snapshot(4, &voters(&[1])).unwrap();
    file.write_all(b"12345").unwrap();
    let mark = file.commit().unwrap();
    let refused = storage.mark_snapshot(mark);
    assert!(
        matches!(refused, Err(Error::Log(hardlog::Error::TooLarge { len: 5, max: 4 }))),
        "{refused:?}"
    );
    make(&mut storage, 5, &[1], "1234");
    assert!(storage.snapshot(0, 2).is_ok());
    // Another limit after a restart: raft-rs must not panic about it.
    let storage = storage.with_snapshot_data(SnapshotData::InMessage { max: 3 });
    assert_eq!(storage.snapshot(0, 2), unavailable());
    assert_eq!(storage.snapshot_wanted(), Some(0));
}

#[test]
fn a_snapshot_can_travel_beside_the_message() {
    let mut leader = three_entries().with_snapshot_data(SnapshotData::Aside);
    make(&mut leader, 4, &[1, 2], "large");
    let message = leader.snapshot(0, 2).unwrap();
    assert!(message.get_data().is_empty());

    let mut follower = open(&SimFs::new(8)).with_snapshot_data(SnapshotData::Aside);
    let update = Update { snapshot: Some(&message), ..Update::default() };
    assert!(follower.write(update).is_err(), "the file is not there");
    assert_eq!(follower.last_index(), Ok(0));
    let mut file = leader.restore().unwrap().unwrap().1;
    let mut received = follower.log().snapshots().receive(file.offer()).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    received.write_chunk(0, &bytes).unwrap();
    received.commit().unwrap();
    follower.write(update).unwrap();
    assert_eq!(follower.last_index(), Ok(4));
    let (meta, mut file) = follower.restore().unwrap().unwrap();
    let mut data = String::new();
    file.read_to_string(&mut data).unwrap();
    assert_eq!((&meta, data.as_str()), (message.get_metadata(), "large"));
}

#[test]
fn a_damaged_snapshot_is_replaced_and_no_reason_to_panic() {
    use hardlog::fs::{Access, Dir, Fs};
    let disk = SimFs::new(4);
    let mut storage = open(&disk);
    storage.bootstrap(voters(&[1])).unwrap();
    make(&mut storage, 1, &[1], "state");
    assert!(storage.snapshot(0, 2).is_ok());
    let name = &disk.list(Dir::Snapshots).unwrap()[0].name;
    let file = disk.open(Dir::Snapshots, name, Access::ReadWrite).unwrap();
    let mut byte = [0];
    let at = file.len().unwrap() - 40;
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&[byte[0] ^ 1], at).unwrap();
    assert_eq!(storage.snapshot(0, 2), unavailable());
    assert_eq!(storage.snapshot_wanted(), Some(0));
    make(&mut storage, 1, &[1], "state");
    assert_eq!(storage.snapshot(0, 2), Ok(snapshot(1, 1, &[1], "state")));
    assert_eq!(storage.snapshot_wanted(), None);
}
