//! SQLite: a table by index, write-ahead log, synchronous=FULL: each commit is a sync.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{Result, Store, Sync};

struct Sqlite(Mutex<Connection>);

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let db = Connection::open(dir.join("log.sqlite"))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute(
        "CREATE TABLE IF NOT EXISTS log (idx INTEGER PRIMARY KEY, term INTEGER, data BLOB)",
        [],
    )?;
    Ok(Box::new(Sqlite(Mutex::new(db))))
}

impl Sqlite {
    fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Sqlite {
    fn append(&self, first: u64, payloads: &[Bytes], _always: Sync) -> Result<()> {
        let mut db = self.db();
        let writing = db.transaction()?;
        {
            let mut insert = writing.prepare_cached("INSERT INTO log VALUES (?1, 1, ?2)")?;
            for (index, payload) in (first..).zip(payloads) {
                insert.execute(params![index.cast_signed(), payload.as_ref()])?;
            }
        }
        Ok(writing.commit()?)
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let db = self.db();
        let mut insert = db.prepare_cached("INSERT INTO log VALUES (NULL, 1, ?1)")?;
        insert.execute(params![payload.as_ref()])?;
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT data FROM log WHERE idx = ?1")?;
        Ok(select.query_row([index.cast_signed()], |row| Ok(row.get_ref(0)?.as_blob()?.len()))?)
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let db = self.db();
        let mut select =
            db.prepare_cached("SELECT data FROM log WHERE idx BETWEEN ?1 AND ?2 ORDER BY idx")?;
        let mut rows = select.query([first.cast_signed(), last.cast_signed()])?;
        let mut sum = 0;
        while let Some(row) = rows.next()? {
            sum += row.get_ref(0)?.as_blob()?.len() as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, _own_commit: Sync) -> Result<()> {
        self.db().execute("DELETE FROM log WHERE idx < ?1", [to.cast_signed()])?;
        Ok(())
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.db().execute("DELETE FROM log WHERE idx >= ?1", [from.cast_signed()])?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).close().map_err(|(_, e)| e)?;
        Ok(())
    }
}
