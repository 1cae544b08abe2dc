//! sled 0.34: a tree under big-endian indexes, a batch for each append, then `flush`.
//!
//! On Linux its `flush` is sync_file_range: the bytes were handed to the disk, which may still hold
//! them in a cache that a power cut empties. Its synced figures are not of the same thing.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sled::{Batch, Db};

use super::{Result, Store, Sync, payload_len, value};

struct Sled {
    db: Db,
    next: AtomicU64,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    // No flush in the background but those that are asked for.
    let db = sled::Config::new().path(dir).flush_every_ms(None).open()?;
    let last = db.last()?.map_or(0, |(key, _)| index_of(&key));
    Ok(Box::new(Sled { db, next: AtomicU64::new(last + 1) }))
}

fn index_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

impl Sled {
    fn remove(&self, from: u64, to: u64) -> Result<()> {
        let mut batch = Batch::default();
        for index in from..to {
            batch.remove(&index.to_be_bytes());
        }
        Ok(self.db.apply_batch(batch)?)
    }
}

impl Store for Sled {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let mut batch = Batch::default();
        for (index, payload) in (first..).zip(payloads) {
            batch.insert(&index.to_be_bytes(), value(payload));
        }
        self.db.apply_batch(batch)?;
        self.next.store(first + payloads.len() as u64, Ordering::Relaxed);
        if sync == Sync::Yes {
            self.db.flush()?;
        }
        Ok(())
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.db.insert(index.to_be_bytes(), value(payload))?;
        self.db.flush()?;
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        payload_len(&self.db.get(index.to_be_bytes())?.ok_or("no such entry")?)
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let mut sum = 0;
        for found in self.db.range(first.to_be_bytes()..=last.to_be_bytes()) {
            sum += payload_len(&found?.1)? as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        let first = self.db.first()?.map_or(to, |(key, _)| index_of(&key));
        self.remove(first, to)?;
        if sync == Sync::Yes {
            self.db.flush()?;
        }
        Ok(())
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.remove(from, self.next.swap(from, Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}
