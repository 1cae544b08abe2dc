//! okaywal: a chunk for each entry, a WAL entry for each append; where each lies is kept in memory.
//!
//! It syncs each commit and finds nothing by index, so a Raft on it keeps the positions of all live
//! entries and reads them all at its start. A file is checkpointed, and so reused, once the log was
//! trimmed beyond it: until then the checkpoint waits.

use std::{
    io::{self, Read},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader,
    WriteAheadLog,
};

use super::{Result, Store, Sync};

/// Bytes of a file: as many as a segment of ours.
const FILE: u32 = 64 << 20;

/// What is known of the log besides its bytes.
#[derive(Debug, Default)]
struct Table {
    /// Index of the first position; 0 before there is one.
    first: u64,
    positions: std::collections::VecDeque<LogPosition>,
    /// The last WAL entry, and the last Raft index it holds, of each append that is still there.
    ends: std::collections::VecDeque<(EntryId, u64)>,
    /// Checkpoints that were waited for and done.
    checkpointed: u64,
    waiting: bool,
    is_closing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Manager(Arc<Shared>);

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut table = self.0.table();
        let (mut found, mut last) = (Vec::new(), 0);
        loop {
            match entry.read_chunk()? {
                ReadChunkResult::Chunk(mut chunk) => {
                    let position = chunk.log_position();
                    let bytes = chunk.read_all()?;
                    if !chunk.check_crc()? {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    last = bytes.first_chunk().map_or(0, |index| u64::from_be_bytes(*index));
                    found.push((last, position));
                }
                ReadChunkResult::EndOfEntry => break,
                ReadChunkResult::AbortedEntry => return Ok(()),
            }
        }
        for (index, position) in found {
            table.put(index, position);
        }
        table.ends.push_back((entry.id(), last));
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        last: EntryId,
        _entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> io::Result<()> {
        let mut table = self.0.table();
        loop {
            if table.is_closing {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let within = table.ends.iter().take_while(|(id, _)| *id <= last);
            let end = within.last().map_or(0, |(_, index)| *index);
            if end < table.first {
                break;
            }
            table.waiting = true;
            self.0.changed.notify_all();
            table = self.0.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        table.waiting = false;
        while table.ends.front().is_some_and(|(id, _)| *id <= last) {
            table.ends.pop_front();
        }
        table.checkpointed += 1;
        self.0.changed.notify_all();
        Ok(())
    }
}

impl Table {
    fn put(&mut self, index: u64, position: LogPosition) {
        if self.first == 0 {
            self.first = index;
        }
        // An index that was there before replaces the tail.
        self.truncate(index);
        self.positions.push_back(position);
    }

    fn truncate(&mut self, from: u64) {
        let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.positions.truncate(keep);
    }

    fn next(&self) -> u64 {
        self.first.max(1) + self.positions.len() as u64
    }

    fn position(&self, index: u64) -> Result<LogPosition> {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let found = at.and_then(|at| self.positions.get(at));
        Ok(*found.ok_or("no such entry")?)
    }
}

struct OkayWal {
    wal: WriteAheadLog,
    shared: Arc<Shared>,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let shared = Arc::new(Shared::default());
    let wal = Configuration::default_for(dir)
        .preallocate_bytes(FILE)
        .checkpoint_after_bytes(u64::from(FILE - (1 << 20)))
        .open(Manager(Arc::clone(&shared)))?;
    Ok(Box::new(OkayWal { wal, shared }))
}

impl OkayWal {
    /// One WAL entry. The writer holds the file until it is queued for its sync, so indexes given
    /// while it is held are in order.
    fn write(&self, first: Option<u64>, payloads: &[Bytes]) -> Result<()> {
        let mut entry = self.wal.begin_entry()?;
        let first = first.unwrap_or_else(|| self.shared.table().next());
        let (mut index, mut chunk) = (first, Vec::new());
        for payload in payloads {
            chunk.clear();
            chunk.extend_from_slice(&index.to_be_bytes());
            chunk.extend_from_slice(payload);
            let record = entry.write_chunk(&chunk)?;
            self.shared.table().put(index, record.position);
            index += 1;
        }
        let id = entry.id();
        self.shared.table().ends.push_back((id, index - 1));
        entry.commit()?;
        Ok(())
    }
}

impl Store for OkayWal {
    fn append(&self, first: u64, payloads: &[Bytes], _always: Sync) -> Result<()> {
        self.write(Some(first), payloads)
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        self.write(None, std::slice::from_ref(payload))
    }

    fn read(&self, index: u64) -> Result<usize> {
        let position = self.shared.table().position(index)?;
        let mut reader = self.wal.read_at(position)?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        if !reader.crc_is_valid()? {
            return Err("a wrong checksum".into());
        }
        Ok(bytes.len() - 8)
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        (first..=last).try_fold(0, |sum, index| Ok(sum + self.read(index)? as u64))
    }

    /// Durable without a write: what is trimmed is checkpointed, and a file that is not can be read
    /// again. Waits until no file is left that could be given back.
    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        let mut table = self.shared.table();
        while table.first < to && table.positions.pop_front().is_some() {
            table.first += 1;
        }
        table.waiting = false;
        self.shared.changed.notify_all();
        let started = Instant::now();
        let wait = sync == Sync::Yes;
        while wait && !table.waiting && started.elapsed() < Duration::from_millis(200) {
            let pause = Duration::from_millis(50);
            let waited = self.shared.changed.wait_timeout(table, pause);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.shared.table().truncate(from);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.shared.table().is_closing = true;
        self.shared.changed.notify_all();
        // A checkpoint that still waited ends with the error it was given.
        let _ = self.wal.shutdown();
        Ok(())
    }
}
