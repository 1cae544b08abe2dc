//! Each store keeps what a Raft log must: a comparison with one that does not would be worth
//! nothing.

use bytes::Bytes;

use super::{ALL, Kind, REUSING, Store, Sync};

fn payload(index: u64) -> Bytes {
    Bytes::from(index.to_be_bytes().repeat(4 + usize::try_from(index % 7).unwrap()))
}

fn payloads(first: u64, last: u64) -> Vec<Bytes> {
    (first..=last).map(payload).collect()
}

/// Every entry of the window, by itself and in a scan.
fn check(kind: &Kind, store: &dyn Store, first: u64, last: u64) {
    let mut sum = 0;
    for index in first..=last {
        let len = store.read(index).unwrap_or_else(|e| panic!("{} at {index}: {e}", kind.name));
        assert_eq!(len, payload(index).len(), "{} at {index}", kind.name);
        sum += len as u64;
    }
    assert_eq!(store.scan(first, last).unwrap(), sum, "{}", kind.name);
}

#[test]
fn what_was_appended_is_there_after_a_close_and_an_open() {
    for kind in ALL.iter().chain([&REUSING]) {
        let dir = tempfile::tempdir().unwrap();
        let store = (kind.open)(dir.path()).unwrap();
        store.append(1, &payloads(1, 50), Sync::No).unwrap();
        store.append(51, &payloads(51, 60), Sync::Yes).unwrap();
        check(kind, &*store, 1, 60);
        store.close().unwrap();
        let store = (kind.open)(dir.path()).unwrap();
        check(kind, &*store, 1, 60);
        store.append(61, &payloads(61, 61), Sync::Yes).unwrap();
        store.settle().unwrap();
        check(kind, &*store, 1, 61);
        store.close().unwrap();
    }
}

#[test]
fn both_ends_can_be_trimmed() {
    for kind in ALL.iter().chain([&REUSING]) {
        let dir = tempfile::tempdir().unwrap();
        let store = (kind.open)(dir.path()).unwrap();
        store.append(1, &payloads(1, 100), Sync::Yes).unwrap();
        store.trim_prefix(40, Sync::Yes).unwrap();
        assert!(store.read(39).is_err(), "{} kept what was trimmed", kind.name);
        store.trim_tail(91).unwrap();
        // Of other lengths than before, so that what was replaced would be seen.
        let others: Vec<Bytes> = (91..=95).map(|_| Bytes::from_static(&[1; 5])).collect();
        store.append(91, &others, Sync::Yes).unwrap();
        check(kind, &*store, 40, 90);
        assert_eq!(store.scan(91, 95).unwrap(), 25, "{}", kind.name);
        assert!(store.read(96).is_err(), "{} kept its tail", kind.name);
        store.close().unwrap();
        let store = (kind.open)(dir.path()).unwrap();
        check(kind, &*store, 40, 90);
        assert_eq!(store.read(95).unwrap(), 5, "{}", kind.name);
        store.close().unwrap();
    }
}

#[test]
fn threads_that_commit_at_once_get_an_index_each() {
    for kind in ALL.iter().filter(|kind| kind.name != "raft-engine") {
        let dir = tempfile::tempdir().unwrap();
        let store = (kind.open)(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        store.commit(&Bytes::from_static(&[3; 9])).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.scan(1, 40).unwrap(), 360, "{}", kind.name);
        assert!(store.read(41).is_err(), "{}", kind.name);
        store.close().unwrap();
    }
}
