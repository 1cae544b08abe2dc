//! Each call failing, and a crash before each call: what was there stays, what was promised is there.

use super::{mem::Crash, *};
use crate::fs::sim::{Model, Rng, SimFs};

const ID: EntryId = EntryId { index: 40, term: 5, tag: 0 };

fn old() -> Vec<u8> {
    payload(100)
}

fn new() -> Vec<u8> {
    payload(2 * CHUNK + 7)
}

/// A directory with a durable old snapshot of `ID`.
fn before() -> Arc<MemFs> {
    let fs = MemFs::new();
    put(&store(&fs), ID, &old());
    fs
}

fn replace(store: &SnapshotStore) -> Result<SnapshotMark> {
    let mut writer = store.begin(ID, b"new")?;
    let written = writer.write_all(&new());
    let committed = writer.commit();
    assert!(written.is_ok() || committed.is_err(), "a failed write must fail the commit");
    committed
}

fn calls_of_a_replacement() -> usize {
    let fs = before();
    let start = fs.calls();
    replace(&store(&fs)).unwrap();
    fs.calls() - start
}

/// The campaign: crashes before call n, for every n, in every way. Returns what was lost.
fn losses(omit: Option<SyncPoint>) -> Vec<String> {
    let mut options = Options::new().snapshot_chunk(4096);
    if let Some(point) = omit {
        options = options.omit_sync(point);
    }
    let mut lost = Vec::new();
    for n in 0..=calls_of_a_replacement() {
        let fs = before();
        fs.fail_after(n, std::io::ErrorKind::TimedOut);
        let promised = replace(&SnapshotStore::new(fs.clone(), LOG, &options)).is_ok();
        for crash in Crash::ALL {
            let after = store(&fs.crashed(crash));
            let found = get(&after, ID);
            let fine = match &found {
                Ok(bytes) => *bytes == new() || (!promised && *bytes == old()),
                Err(_) => false,
            };
            if !fine || after.list().unwrap().iter().any(|info| info.damage.is_some()) {
                lost.push(format!("call {n}, {crash:?}: {found:?}"));
            }
        }
    }
    lost
}

#[test]
fn a_crash_at_any_call_leaves_the_old_or_the_new_snapshot_and_the_new_once_promised() {
    assert_eq!(losses(None), [""; 0]);
}

/// Controls: each of the two syncs, left out, must lose something.
#[test]
fn without_either_sync_something_is_lost() {
    assert!(!losses(Some(SyncPoint::Snapshot)).is_empty());
    assert!(!losses(Some(SyncPoint::SnapshotName)).is_empty());
    assert!(losses(Some(SyncPoint::Batches)).is_empty(), "not a sync of this module");
}

#[test]
fn each_failing_call_is_an_error_that_leaves_nothing_behind_and_can_be_tried_again() {
    use std::io::ErrorKind;
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::TimedOut] {
        for n in 0..calls_of_a_replacement() {
            let fs = before();
            let store = store(&fs);
            fs.fail_after(n, kind);
            let error = replace(&store).unwrap_err();
            let expected = match &error {
                Error::Full { .. } => kind != ErrorKind::TimedOut,
                Error::Io { .. } => kind == ErrorKind::TimedOut,
                // A failed write shows as such from `write`; `commit` repeats the first failure.
                Error::Poisoned { why } => why.starts_with("write "),
                _ => false,
            };
            assert!(expected, "call {n}: {error}");
            assert_eq!(fs.names(Dir::Tmp), [""; 0], "call {n}");
            fs.heal();
            assert!(get(&store, ID).is_ok_and(|bytes| bytes == old() || bytes == new()));
            replace(&store).unwrap();
            assert_eq!(get(&store, ID).unwrap(), new());
        }
    }
}

#[test]
fn after_a_failed_write_the_writer_only_fails() {
    let fs = before();
    let store = store(&fs);
    let mut writer = store.begin(ID, b"").unwrap();
    fs.fail_after(0, std::io::ErrorKind::StorageFull);
    let error = writer.write_all(&new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    fs.heal();
    let calls = fs.calls();
    assert!(writer.write(b"x").is_err());
    assert!(matches!(writer.commit(), Err(Error::Poisoned { .. })));
    assert_eq!(fs.calls(), calls + 1, "only the unlink");
    assert_eq!(get(&store, ID).unwrap(), old());
}

/// The same on the simulated disk, which knows every state: each sector there or not, each name
/// there or not unless its directory was synced. Returns states judged and what was lost.
fn sim_losses(omit: Option<SyncPoint>) -> (usize, Vec<String>) {
    let mut options = Options::new().snapshot_chunk(4096);
    if let Some(point) = omit {
        options = options.omit_sync(point);
    }
    let fs = SimFs::new(1);
    fs.make_dirs().unwrap();
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    put(&SnapshotStore::new(disk.clone(), LOG, &Options::new()), ID, &old());
    let counts = Arc::new(std::sync::Mutex::new((0, Vec::new())));
    let (seen, mut rng) = (counts.clone(), Rng::new(1));
    fs.on_step(move |fs, step| {
        let mut seen = seen.lock().unwrap();
        for image in fs.crash_images(Model::Strict, 200, &mut rng) {
            seen.0 += 1;
            let after = SnapshotStore::new(Arc::new(image.fs), LOG, &Options::new());
            if !get(&after, ID).is_ok_and(|bytes| bytes == old() || bytes == new()) {
                seen.1.push(step.to_string());
            }
        }
    });
    replace(&SnapshotStore::new(disk, LOG, &options)).unwrap();
    fs.clear_hook();
    let mut counts = std::mem::take(&mut *counts.lock().unwrap());
    for image in fs.crash_images(Model::Strict, 200, &mut Rng::new(2)) {
        let after = SnapshotStore::new(Arc::new(image.fs), LOG, &Options::new());
        if !get(&after, ID).is_ok_and(|bytes| bytes == new()) {
            counts.1.push("after the commit".to_owned());
        }
    }
    counts
}

#[test]
fn every_state_of_the_simulated_disk_holds_the_old_or_the_new_one_and_the_new_once_promised() {
    let (states, lost) = sim_losses(None);
    assert_eq!(lost, [""; 0]);
    assert!(states > 200, "{states}");
    assert!(!sim_losses(Some(SyncPoint::Snapshot)).1.is_empty());
    assert!(!sim_losses(Some(SyncPoint::SnapshotName)).1.is_empty());
}
