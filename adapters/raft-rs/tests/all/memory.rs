//! What raft-rs expects of any storage: the cases that its memory storage is tested with, and where
//! section 5.3 of the paper has more to say (conflicts, overlaps), more.

use hardlog_raft_rs::{
    Error, Update,
    raft::{Error as RaftError, GetEntriesContext, RaftState, Storage, StorageError},
};
use protobuf::Message;

use super::rig::{
    all_entries, append, entry, hard_state, ids, new_storage, snapshot, three_entries, voters,
    with_data,
};

fn compacted<T>() -> Result<T, RaftError> {
    Err(RaftError::Store(StorageError::Compacted))
}

#[test]
fn a_new_log_is_empty_and_begins_at_one() {
    let storage = new_storage();
    assert_eq!((storage.first_index().unwrap(), storage.last_index().unwrap()), (1, 0));
    assert_eq!(storage.term(0), Ok(0));
    assert_eq!(storage.term(1), Err(RaftError::Store(StorageError::Unavailable)));
    assert!(!storage.initial_state().unwrap().initialized());
    assert!(!storage.is_initialized());
    assert_eq!(all_entries(&storage), []);
}

#[test]
fn a_term_is_known_from_just_before_the_first_entry_to_the_last() {
    let storage = three_entries();
    assert_eq!(storage.term(0), compacted());
    assert_eq!(storage.term(1), compacted());
    for index in 2..=5 {
        assert_eq!(storage.term(index), Ok(index));
    }
    assert_eq!(storage.term(6), Err(RaftError::Store(StorageError::Unavailable)));
}

#[test]
fn entries_are_cut_at_the_limit_of_their_encoded_size_but_never_to_none() {
    let mut storage = three_entries();
    let kept =
        [entry(3, 3), with_data(4, 6, "four"), with_data(5, 6, "five!"), with_data(6, 6, "six")];
    append(&mut storage, &kept).unwrap();
    let size = |n: usize| u64::from(kept[n].compute_size());
    let none = u64::MAX;
    let cases: [(u64, u64, Option<u64>, &[_]); 11] = [
        (3, 4, Some(none), &kept[..1]),
        (4, 5, Some(none), &kept[1..2]),
        (4, 7, None, &kept[1..]),
        (4, 7, Some(0), &kept[1..2]),
        (4, 7, Some(size(1) - 1), &kept[1..2]),
        (4, 7, Some(size(1) + size(2) - 1), &kept[1..2]),
        (4, 7, Some(size(1) + size(2)), &kept[1..3]),
        (4, 7, Some(size(1) + size(2) + size(3) - 1), &kept[1..3]),
        (4, 7, Some(size(1) + size(2) + size(3)), &kept[1..]),
        (4, 4, Some(none), &[]),
        (7, 7, Some(none), &[]),
    ];
    for (low, high, max, expected) in cases {
        let found = storage.entries(low, high, max, GetEntriesContext::empty(true)).unwrap();
        assert_eq!(found, expected, "{low}..{high} of at most {max:?}");
    }
    let below = storage.entries(2, 6, None, GetEntriesContext::empty(false));
    assert_eq!(below, compacted());
}

#[test]
#[should_panic(expected = "entries up to 7 were asked for, and the log ends at 6")]
fn to_ask_for_entries_beyond_the_end_is_a_bug_of_the_caller() {
    let _ = three_entries().entries(3, 7, None, GetEntriesContext::empty(false));
}

#[test]
fn the_last_index_grows_with_the_log() {
    let mut storage = three_entries();
    assert_eq!(storage.last_index(), Ok(5));
    append(&mut storage, &[entry(6, 5)]).unwrap();
    assert_eq!(storage.last_index(), Ok(6));
}

#[test]
fn compaction_moves_the_first_index_and_keeps_the_term_before_it() {
    // Where to, and the first index then. At or below the first it does nothing.
    for (to, first) in [(1, 3), (2, 3), (3, 3), (4, 4), (5, 5), (6, 6)] {
        let mut storage = three_entries();
        storage.compact(to).unwrap();
        assert_eq!((storage.first_index(), storage.last_index()), (Ok(first), Ok(5)));
        assert_eq!(storage.term(first - 1), Ok(first - 1), "compacted to {to}");
        assert_eq!(storage.term(first - 2), compacted());
        assert_eq!(ids(&storage), (first..6).map(|i| (i, i)).collect::<Vec<_>>());
        // raft-rs refuses to start with less committed than compacted.
        assert_eq!(storage.initial_state().unwrap().hard_state.commit, first - 1);
    }
    let mut storage = three_entries();
    let beyond = storage.compact(7);
    assert!(matches!(beyond, Err(Error::Log(hardlog::Error::BeyondEnd { index: 7, next: 6 }))));
    assert_eq!(ids(&storage).len(), 3);
}

#[test]
fn appended_entries_replace_what_they_conflict_with() {
    type Ids = &'static [(u64, u64)];
    let cases: [(Ids, Ids); 8] = [
        (&[], &[(3, 3), (4, 4), (5, 5)]),
        // The same again, and the same with one more.
        (&[(3, 3), (4, 4), (5, 5)], &[(3, 3), (4, 4), (5, 5)]),
        (&[(3, 3), (4, 4), (5, 5), (6, 5)], &[(3, 3), (4, 4), (5, 5), (6, 5)]),
        // A conflict in the middle, at the beginning, at the end.
        (&[(3, 3), (4, 6), (5, 6)], &[(3, 3), (4, 6), (5, 6)]),
        (&[(3, 6)], &[(3, 6)]),
        (&[(4, 5)], &[(3, 3), (4, 5)]),
        // Fewer than there are, without a conflict: the end goes all the same.
        (&[(3, 3), (4, 4)], &[(3, 3), (4, 4)]),
        (&[(6, 6)], &[(3, 3), (4, 4), (5, 5), (6, 6)]),
    ];
    for (new, expected) in cases {
        let mut storage = three_entries();
        let new: Vec<_> = new.iter().map(|(index, term)| entry(*index, *term)).collect();
        append(&mut storage, &new).unwrap();
        assert_eq!(ids(&storage), expected, "{new:?}");
    }
}

#[test]
fn entries_that_leave_a_gap_or_lie_below_the_window_are_refused_and_nothing_is_written() {
    for new in [&[entry(7, 6)][..], &[entry(2, 3), entry(3, 3)], &[entry(1, 1)]] {
        let mut storage = three_entries();
        let before = storage.log().written();
        assert!(append(&mut storage, new).is_err(), "{new:?}");
        assert_eq!((ids(&storage).len(), storage.log().written()), (3, before));
    }
}

#[test]
fn an_entry_comes_back_with_type_context_and_data() {
    let mut storage = three_entries();
    let mut change = with_data(6, 5, "change");
    change.set_entry_type(hardlog_raft_rs::raft::eraftpb::EntryType::EntryConfChangeV2);
    change.context = b"context".to_vec().into();
    append(&mut storage, &[change.clone(), with_data(7, 5, "x")]).unwrap();
    assert_eq!(all_entries(&storage)[3..], [change, with_data(7, 5, "x")]);
}

#[test]
fn a_snapshot_replaces_the_log_and_an_older_one_does_not() {
    let mut storage = new_storage();
    let new = snapshot(4, 4, &[1, 2, 3], "state");
    storage.write(Update { snapshot: Some(&new), ..Update::default() }).unwrap();
    assert_eq!((storage.first_index(), storage.last_index()), (Ok(5), Ok(4)));
    assert_eq!((storage.term(4), storage.term(3)), (Ok(4), compacted()));
    let RaftState { hard_state: hs, conf_state, .. } = storage.initial_state().unwrap();
    assert_eq!((hs.term, hs.commit), (4, 4));
    assert_eq!(conf_state, voters(&[1, 2, 3]));

    let old = snapshot(3, 3, &[9], "old");
    let refused = storage.write(Update { snapshot: Some(&old), ..Update::default() });
    assert!(matches!(refused, Err(Error::SnapshotOutOfDate { index: 3, first: 5 })));
    assert_eq!(storage.conf_state().unwrap(), (4, voters(&[1, 2, 3])));
    // The same once more is a Ready that is written again.
    let again = Update { snapshot: Some(&new), entries: &[entry(5, 4)], ..Update::default() };
    storage.write(again).unwrap();
    storage.write(again).unwrap();
    assert_eq!(ids(&storage), [(5, 4)]);
}

#[test]
fn a_snapshot_drops_also_the_entries_behind_it() {
    // They are of an older leader: raft-rs would not have asked for them to be replaced otherwise.
    let mut storage = three_entries();
    let new = snapshot(4, 6, &[1], "");
    let hs = hard_state(6, 2, 4);
    let entries = &[entry(5, 6)];
    storage.write(Update { snapshot: Some(&new), entries, hard_state: Some(&hs) }).unwrap();
    assert_eq!((storage.term(4), ids(&storage)), (Ok(6), vec![(5, 6)]));
    assert_eq!(storage.initial_state().unwrap().hard_state, hs);
}

#[test]
fn a_vote_is_given_once_a_term_and_commit_stays_within_the_log() {
    let mut storage = three_entries();
    let mut save = |hs| storage.write(Update { hard_state: Some(&hs), ..Update::default() });
    save(hard_state(6, 0, 3)).unwrap();
    save(hard_state(6, 2, 3)).unwrap();
    assert!(save(hard_state(6, 1, 3)).is_err(), "another vote in the same term");
    assert!(save(hard_state(5, 0, 3)).is_err(), "an older term");
    assert!(save(hard_state(6, 2, 6)).is_err(), "more committed than there is");
    save(hard_state(7, 1, 5)).unwrap();
    assert_eq!(storage.initial_state().unwrap().hard_state, hard_state(7, 1, 5));
    storage.save_commit(4).unwrap();
    assert_eq!(storage.initial_state().unwrap().hard_state, hard_state(7, 1, 5), "it went back");
}

#[test]
fn entries_and_their_commit_come_in_one_ready() {
    let mut storage = three_entries();
    let (entries, hs) = ([entry(6, 6), entry(7, 6)], hard_state(6, 3, 7));
    let update = Update { entries: &entries, hard_state: Some(&hs), ..Update::default() };
    storage.write(update).unwrap();
    let once = (ids(&storage), storage.initial_state().unwrap().hard_state);
    // Again, though what it brings is committed by now: nothing is cut off.
    storage.write(update).unwrap();
    assert_eq!((ids(&storage), storage.initial_state().unwrap().hard_state), once);
    assert_eq!(once.1.commit, 7);
}

#[test]
fn a_ready_larger_than_a_batch_is_written_in_parts_and_its_commit_last() {
    let mut storage = three_entries();
    let max = storage.log().batch_max();
    let data = "x".repeat(usize::try_from(max).unwrap() / 3);
    let entries: Vec<_> = (4..20).map(|index| with_data(index, 7, &data)).collect();
    let (before, hs) = (storage.log().written().sequence(), hard_state(7, 2, 18));
    let new = snapshot(3, 6, &[1, 2], "");
    let update = Update { snapshot: Some(&new), entries: &entries, hard_state: Some(&hs) };
    storage.write(update).unwrap();
    assert!(storage.log().written().sequence() > before + 5, "it fit");
    assert_eq!(all_entries(&storage), entries);
    assert_eq!(storage.initial_state().unwrap().hard_state, hs);

    let too_large = "x".repeat(usize::try_from(max).unwrap());
    let refused = append(&mut storage, &[with_data(20, 7, &too_large)]);
    assert!(matches!(refused, Err(Error::Log(hardlog::Error::TooLarge { .. }))));
}

#[test]
fn only_a_new_log_can_be_bootstrapped() {
    let mut storage = new_storage();
    storage.bootstrap(voters(&[1, 2, 3])).unwrap();
    assert_eq!(
        (storage.first_index(), storage.last_index(), storage.term(1)),
        (Ok(2), Ok(1), Ok(1))
    );
    let state = storage.initial_state().unwrap();
    assert_eq!((state.hard_state, state.conf_state), (hard_state(1, 0, 1), voters(&[1, 2, 3])));
    assert_eq!(storage.log().durable(), storage.log().written());
    assert!(matches!(storage.bootstrap(voters(&[1])), Err(Error::NotNew)));

    let mut voted = new_storage();
    let hs = hard_state(1, 3, 0);
    voted.write(Update { hard_state: Some(&hs), ..Update::default() }).unwrap();
    assert!(matches!(voted.bootstrap(voters(&[1])), Err(Error::NotNew)));
}

#[test]
fn a_membership_never_goes_back() {
    let mut storage = three_entries();
    storage.save_conf_state(4, &voters(&[1, 2])).unwrap();
    assert_eq!(storage.conf_state().unwrap(), (4, voters(&[1, 2])));
    assert_eq!(storage.initial_state().unwrap().hard_state.commit, 4);
    storage.save_conf_state(3, &voters(&[9])).unwrap();
    assert_eq!(storage.conf_state().unwrap(), (4, voters(&[1, 2])));
    assert!(storage.save_conf_state(6, &voters(&[9])).is_err(), "a change that is not in the log");
}

#[test]
fn a_log_that_is_not_for_raft_rs_is_refused() {
    use hardlog::{Class, Log, Options};
    let dir = tempfile::tempdir().unwrap();
    let zero = Log::create(dir.path().join("zero"), Options::new().first_index(0)).unwrap();
    assert!(matches!(hardlog_raft_rs::LogStorage::new(zero), Err(Error::IndexZero)));
    let mut other = Log::create(dir.path().join("other"), Options::new()).unwrap();
    other.save_meta(hardlog_raft_rs::CONF_STATE_SLOT, Class::Ordered, b"mine").unwrap();
    let refused = hardlog_raft_rs::LogStorage::new(other);
    assert!(matches!(refused, Err(Error::ForeignConfState(_))));
}
