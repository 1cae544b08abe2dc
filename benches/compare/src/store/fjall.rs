//! fjall: a keyspace under big-endian indexes, a batch for each append, then `persist`.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Result, Store, Sync, payload_len, value};

struct Fjall {
    db: Database,
    log: Keyspace,
    next: AtomicU64,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let db = Database::builder(dir).open()?;
    let log = db.keyspace("log", KeyspaceCreateOptions::default)?;
    let last = log.last_key_value().map(fjall::Guard::key).transpose()?;
    let last = last.and_then(|key| key.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok(Box::new(Fjall { db, log, next: AtomicU64::new(last + 1) }))
}

impl Fjall {
    fn remove(&self, from: u64, to: u64) -> Result<()> {
        let mut batch = self.db.batch();
        for index in from..to {
            batch.remove(&self.log, index.to_be_bytes());
        }
        Ok(batch.commit()?)
    }
}

impl Store for Fjall {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let mut batch = self.db.batch();
        for (index, payload) in (first..).zip(payloads) {
            batch.insert(&self.log, index.to_be_bytes(), value(payload));
        }
        batch.commit()?;
        self.next.store(first + payloads.len() as u64, Ordering::Relaxed);
        if sync == Sync::Yes {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.log.insert(index.to_be_bytes(), value(payload))?;
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    fn read(&self, index: u64) -> Result<usize> {
        payload_len(&self.log.get(index.to_be_bytes())?.ok_or("no such entry")?)
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let mut sum = 0;
        for found in self.log.range(first.to_be_bytes()..=last.to_be_bytes()) {
            sum += payload_len(&found.value()?)? as u64;
        }
        Ok(sum)
    }

    /// It deletes no ranges: a tombstone for each entry.
    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        let first = self.log.first_key_value().map(fjall::Guard::key).transpose()?;
        let first =
            first.and_then(|key| key.as_ref().try_into().ok()).map_or(to, u64::from_be_bytes);
        self.remove(first, to)?;
        if sync == Sync::Yes { Ok(self.db.persist(PersistMode::SyncData)?) } else { Ok(()) }
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.remove(from, self.next.swap(from, Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
