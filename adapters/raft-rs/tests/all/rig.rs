//! What the tests share: logs on simulated disks, entries, snapshots, a logger that says nothing.

use std::sync::Arc;

use hardlog::{
    Log, Options,
    fs::{Fs, sim::SimFs},
};
use hardlog_raft_rs::{
    Error, LogStorage, Update,
    raft::{
        GetEntriesContext, Storage,
        eraftpb::{ConfState, Entry, HardState, Snapshot},
    },
};

/// Small segments, so that logs rotate, and no threads, so that a seed decides everything.
pub(crate) fn options() -> Options {
    Options::new().segment_size(32 << 10).background(false).create_if_missing(true)
}

pub(crate) fn try_open(disk: &SimFs) -> Result<LogStorage, Error> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let (log, _) = Log::open_on(fs, options())?;
    LogStorage::new(log)
}

pub(crate) fn open(disk: &SimFs) -> LogStorage {
    try_open(disk).unwrap()
}

pub(crate) fn new_storage() -> LogStorage {
    open(&SimFs::new(1))
}

pub(crate) fn entry(index: u64, term: u64) -> Entry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry
}

pub(crate) fn with_data(index: u64, term: u64, data: &str) -> Entry {
    let mut entry = entry(index, term);
    entry.data = data.as_bytes().to_vec().into();
    entry
}

pub(crate) fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hs = HardState::default();
    (hs.term, hs.vote, hs.commit) = (term, vote, commit);
    hs
}

pub(crate) fn voters(voters: &[u64]) -> ConfState {
    ConfState::from((voters.to_vec(), vec![]))
}

pub(crate) fn snapshot(index: u64, term: u64, members: &[u64], data: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (index, term);
    meta.set_conf_state(voters(members));
    snapshot.data = data.as_bytes().to_vec().into();
    snapshot
}

/// A log that begins behind entry 2 of term 2 and holds 3, 4 and 5, of those terms.
pub(crate) fn three_entries() -> LogStorage {
    let mut storage = new_storage();
    let before = snapshot(2, 2, &[1, 2, 3], "");
    storage.write(Update { snapshot: Some(&before), ..Update::default() }).unwrap();
    append(&mut storage, &[entry(3, 3), entry(4, 4), entry(5, 5)]).unwrap();
    storage
}

pub(crate) fn append(storage: &mut LogStorage, entries: &[Entry]) -> hardlog_raft_rs::Result<()> {
    storage.write(Update { entries, ..Update::default() }).map(drop)
}

pub(crate) fn all_entries(storage: &LogStorage) -> Vec<Entry> {
    let (first, last) = (storage.first_index().unwrap(), storage.last_index().unwrap());
    storage.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap()
}

/// Index and term of all entries.
pub(crate) fn ids(storage: &LogStorage) -> Vec<(u64, u64)> {
    all_entries(storage).iter().map(|entry| (entry.index, entry.term)).collect()
}

pub(crate) fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}
