//! RocksLog: a log in RocksDB the way openraft's example store keeps one.
//!
//! Written anew after openraft's `examples/rocksstore`, with what decides its speed kept: a column
//! family for entries under big-endian indexes and one for the rest, JSON for all values, a put for
//! each entry, and the write-ahead log of RocksDB synced in the call before openraft is told.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
};

use openraft::{
    OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
    type_config::alias::{EntryOf, LogIdOf, VoteOf},
};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, Options};
use serde::{Serialize, de::DeserializeOwned};

use crate::cluster::C;

#[derive(Clone)]
pub struct RocksLog(Arc<DB>);

impl RocksLog {
    pub fn open(dir: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        Self(Arc::new(DB::open_cf(&options, dir, ["meta", "logs"]).expect("a database")))
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.0.cf_handle(name).expect("made by open")
    }

    fn put(&self, key: &str, value: &impl Serialize) -> io::Result<()> {
        let put = self.0.put_cf(self.family("meta"), key, serde_json::to_vec(value)?);
        put.map_err(io::Error::other)
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> io::Result<Option<T>> {
        let found = self.0.get_cf(self.family("meta"), key).map_err(io::Error::other)?;
        Ok(found.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.flush_wal(true).map_err(io::Error::other)
    }

    fn delete(&self, from: u64, to: u64) -> io::Result<()> {
        let logs = self.family("logs");
        let done = self.0.delete_range_cf(logs, from.to_be_bytes(), to.to_be_bytes());
        done.map_err(io::Error::other)
    }
}

impl RaftLogReader<C> for RocksLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<C>>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let from = start.to_be_bytes();
        let from = IteratorMode::From(&from, Direction::Forward);
        let mut entries = Vec::new();
        for found in self.0.iterator_cf(self.family("logs"), from) {
            let (_, value) = found.map_err(io::Error::other)?;
            let entry: EntryOf<C> = serde_json::from_slice(&value)?;
            if !range.contains(&entry.index()) {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        self.get("vote")
    }
}

impl RaftLogStorage<C> for RocksLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let purged: Option<LogIdOf<C>> = self.get("purged")?;
        let last = self.0.iterator_cf(self.family("logs"), IteratorMode::End).next();
        let last = match last.transpose().map_err(io::Error::other)? {
            Some((_, value)) => Some(serde_json::from_slice::<EntryOf<C>>(&value)?.log_id()),
            None => purged,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        self.put("vote", vote)?;
        self.sync()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<C>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        for entry in entries {
            let (key, value) = (entry.index().to_be_bytes(), serde_json::to_vec(&entry)?);
            self.0.put_cf(self.family("logs"), key, value).map_err(io::Error::other)?;
        }
        self.sync()?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> io::Result<()> {
        self.delete(last.map_or(0, |last| last.index + 1), u64::MAX)?;
        self.sync()
    }

    async fn purge(&mut self, id: LogIdOf<C>) -> io::Result<()> {
        self.put("purged", &id)?;
        self.delete(0, id.index + 1)
    }
}
