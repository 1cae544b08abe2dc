//! Which snapshot counts, and which files go.

use super::*;

fn ids(store: &SnapshotStore) -> Vec<u64> {
    store.list().unwrap().iter().map(|info| info.id.index).collect()
}

fn id(index: u64) -> EntryId {
    EntryId::new(index, 5)
}

fn with(indexes: &[u64]) -> (Arc<MemFs>, SnapshotStore) {
    let fs = MemFs::new();
    let store = store(&fs);
    for index in indexes {
        put(&store, id(*index), &payload(CHUNK + 1));
    }
    (fs, store)
}

fn spoil(fs: &MemFs, index: u64) {
    let name = name(id(index));
    let mut bytes = fs.get(Dir::Snapshots, &name);
    bytes[CHUNK / 2] ^= 1;
    fs.put(Dir::Snapshots, &name, bytes);
}

#[test]
fn the_marked_one_is_used_though_newer_and_older_ones_exist() {
    let (_, store) = with(&[20, 30, 40, 50]);
    assert_eq!(store.usable(id(40), 41).unwrap().id, id(40));
    assert_eq!(store.usable(id(40), 1).unwrap().id, id(40));
}

/// An older snapshot and a log that begins after it would be a state with a hole in it.
#[test]
fn an_older_one_is_used_only_if_the_log_reaches_back_to_it() {
    let (fs, store) = with(&[20, 30, 40, 50]);
    spoil(&fs, 40);
    assert_eq!(store.usable(id(40), 31).unwrap().id, id(30));
    assert_eq!(store.usable(id(40), 1).unwrap().id, id(30));
    match store.usable(id(40), 32).unwrap_err() {
        Error::Corrupt(damage) => assert_eq!(damage.reason, Reason::Snapshot),
        other => panic!("{other}"),
    }
    spoil(&fs, 30);
    assert_eq!(store.usable(id(40), 21).unwrap().id, id(20));
    assert!(store.usable(id(40), 22).is_err());
    spoil(&fs, 20);
    assert!(store.usable(id(40), 1).is_err());
}

#[test]
fn a_marked_file_that_is_missing_is_damage_and_no_empty_state() {
    let (fs, store) = with(&[30]);
    match store.usable(id(40), 32).unwrap_err() {
        Error::Corrupt(damage) => {
            assert_eq!(
                (damage.reason, damage.evidence),
                (Reason::MissingSnapshot, Evidence::Marked)
            );
            assert!(damage.file.ends_with("snapshots/00000000000000000040-0000000005.snap"));
            assert!(damage.to_string().ends_with("next: wal-tool verify mem"), "{damage}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(store.usable(id(40), 31).unwrap().id, id(30));
    fs.unlink(Dir::Snapshots, &name(id(30))).unwrap();
    assert!(matches!(store.usable(id(40), 0), Err(Error::Corrupt(_))));
}

#[test]
fn older_files_go_oldest_first_beyond_the_count_and_newer_ones_stay() {
    let (fs, store) = with(&[10, 20, 30, 40, 50]);
    assert_eq!(store.remove_older(id(40), 3).unwrap(), 1);
    assert_eq!(ids(&store), [20, 30, 40, 50]);
    assert_eq!(store.remove_older(id(40), 3).unwrap(), 0);
    assert_eq!(store.remove_older(id(40), 1).unwrap(), 2);
    assert_eq!(ids(&store), [40, 50]);
    // The marked one stays whatever the count says.
    assert_eq!(store.remove_older(id(40), 0).unwrap(), 0);
    assert_eq!(ids(&store), [40, 50]);
    fs.put(Dir::Snapshots, "notes.txt", vec![1]);
    assert_eq!(store.remove_older(id(99), 1).unwrap(), 2);
    assert_eq!(fs.names(Dir::Snapshots), ["notes.txt"]);
}
