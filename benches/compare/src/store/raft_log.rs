//! raft-log, Databend's: made for openraft; appends are written by a thread of its own, which also
//! shares syncs.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
};

use bytes::Bytes;
use raft_log::{Config, RaftLog, api::raft_log_writer::RaftLogWriter};

use super::{Result, Store, Sync};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Types;

impl raft_log::Types for Types {
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type Callback = SyncSender<io::Result<()>>;
    type UserData = String;

    fn log_index(id: &(u64, u64)) -> u64 {
        id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

struct DatabendLog(Mutex<RaftLog<Types>>);

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let config = Config {
        // By default a file is a gibibyte, and nothing is given back before.
        chunk_max_size: Some(64 << 20),
        ..Config::new(dir.to_str().ok_or("a path in UTF-8")?)
    };
    Ok(Box::new(DatabendLog(Mutex::new(RaftLog::open(Arc::new(config))?))))
}

impl DatabendLog {
    fn log(&self) -> MutexGuard<'_, RaftLog<Types>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the flush, lets the next writer in, and waits.
    fn flush(mut log: MutexGuard<'_, RaftLog<Types>>) -> Result<()> {
        let (done, wait) = sync_channel(1);
        log.flush(Some(done))?;
        drop(log);
        Ok(wait.recv()??)
    }
}

impl Store for DatabendLog {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let mut log = self.log();
        log.append((first..).zip(payloads).map(|(index, p)| ((1, index), p.to_vec())))?;
        if sync == Sync::Yes { Self::flush(log) } else { Ok(()) }
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let mut log = self.log();
        let next = log.log_state().last().map_or(1, |(_, index)| index + 1);
        log.append([((1, next), payload.to_vec())])?;
        Self::flush(log)
    }

    fn read(&self, index: u64) -> Result<usize> {
        let log = self.log();
        let found = log.read(index, index + 1).next();
        Ok(found.ok_or("no such entry")??.1.len())
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let mut sum = 0;
        for found in self.log().read(first, last + 1) {
            sum += found?.1.len() as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        let mut log = self.log();
        log.purge((1, to - 1))?;
        if sync == Sync::Yes { Self::flush(log) } else { Ok(()) }
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.log().truncate(from)?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Self::flush(self.log())
    }
}
