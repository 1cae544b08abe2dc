//! RocksDB: entries under big-endian indexes, a write batch for each append, its write-ahead log
//! synced in the same call; ranges are deleted as such, and their files dropped.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::{Result, Store, Sync, payload_len, value};

struct Rocks {
    db: DB,
    next: AtomicU64,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    let db = DB::open(&options, dir)?;
    let last = db.iterator(IteratorMode::End).next().transpose()?;
    let last = last.map_or(0, |(key, _)| index_of(&key));
    Ok(Box::new(Rocks { db, next: AtomicU64::new(last + 1) }))
}

fn index_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

impl Store for Rocks {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (index, payload) in (first..).zip(payloads) {
            batch.put(index.to_be_bytes(), value(payload));
        }
        self.next.store(first + payloads.len() as u64, Ordering::Relaxed);
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Yes);
        Ok(self.db.write_opt(batch, &options)?)
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.put_opt(index.to_be_bytes(), value(payload), &options)?)
    }

    fn read(&self, index: u64) -> Result<usize> {
        payload_len(&self.db.get_pinned(index.to_be_bytes())?.ok_or("no such entry")?)
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let from = first.to_be_bytes();
        let mut sum = 0;
        for found in self.db.iterator(IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = found?;
            if index_of(&key) > last {
                break;
            }
            sum += payload_len(&value)? as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        let (from, to) = (0u64.to_be_bytes(), to.to_be_bytes());
        self.db.delete_file_in_range(from, to)?;
        let mut batch = WriteBatch::default();
        batch.delete_range(from, to);
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Yes);
        Ok(self.db.write_opt(batch, &options)?)
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(from.to_be_bytes(), u64::MAX.to_be_bytes());
        self.next.store(from, Ordering::Relaxed);
        Ok(self.db.write(batch)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.flush_wal(true)?)
    }
}
