//! redb: a table from index to value, one transaction for each append.

use std::{
    ops::RangeBounds,
    path::Path,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Result, Store, Sync, payload_len, value};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

struct Redb {
    db: Database,
    /// It takes one writer at a time.
    next: Mutex<u64>,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let db = Database::create(dir.join("log.redb"))?;
    let writing = db.begin_write()?;
    let last = writing.open_table(LOG)?.last()?.map_or(0, |(index, _)| index.value());
    writing.commit()?;
    Ok(Box::new(Redb { db, next: Mutex::new(last + 1) }))
}

impl Redb {
    fn write(
        &self,
        sync: Sync,
        work: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut writing = self.db.begin_write()?;
        let durability = if sync == Sync::Yes { Durability::Immediate } else { Durability::None };
        writing.set_durability(durability)?;
        work(&mut writing.open_table(LOG)?)?;
        Ok(writing.commit()?)
    }
}

/// One after the other: `retain_in` keeps each page that it makes until its transaction ends, which
/// for half of a gibibyte are 34 GiB on disk and a minute and a half.
fn remove(
    log: &mut redb::Table<'_, u64, &'static [u8]>,
    range: impl RangeBounds<u64>,
) -> Result<()> {
    let indices: Vec<_> =
        log.range(range)?.map(|found| Ok(found?.0.value())).collect::<Result<_>>()?;
    for index in indices {
        log.remove(index)?;
    }
    Ok(())
}

impl Store for Redb {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = first + payloads.len() as u64;
        self.write(sync, |log| {
            for (index, payload) in (first..).zip(payloads) {
                log.insert(index, value(payload).as_slice())?;
            }
            Ok(())
        })
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(Sync::Yes, |log| {
            log.insert(*next, value(payload).as_slice())?;
            Ok(())
        })?;
        *next += 1;
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        let log = self.db.begin_read()?.open_table(LOG)?;
        payload_len(log.get(index)?.ok_or("no such entry")?.value())
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let log = self.db.begin_read()?.open_table(LOG)?;
        let mut sum = 0;
        for found in log.range(first..=last)? {
            sum += payload_len(found?.1.value())? as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        self.write(sync, |log| remove(log, ..to))
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.write(Sync::No, |log| remove(log, from..))
    }

    fn close(self: Box<Self>) -> Result<()> {
        // What was written without durability becomes durable with the next commit that has it.
        self.write(Sync::Yes, |_| Ok(()))
    }
}
