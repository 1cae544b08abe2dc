//! Shelf: the one log of a node, shared by what openraft wants as log, readers and state machine.
//!
//! Above: `v0_10` and `v0_9`, which turn openraft's words into ids and bytes. Below: `hardlog::Log`.
//!
//! INVARIANT: everything goes through one log in the order of the calls, so a later write is never
//! durable without the earlier ones: votes and appends are in order without a sync between them.
//! INVARIANT: no call blocks the thread of an async runtime on the disk, but for the copy of a write
//! into the page cache and for reads: what would have to wait (a rotation, a full write window, a
//! list that needs several batches) goes to a thread of its own.

use std::{
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_channel::oneshot;
use hardlog::{
    Batch, Class, Entry, EntryId, Error as LogError, Log, LogReader, SnapshotMark, SnapshotReader,
    SnapshotStore, SnapshotWriter, Syncer, Ticket,
};

use crate::error::Error;

/// Metadata slot of the vote, a promise: never forgotten in favour of an older one.
const VOTE: u64 = 1;
/// Metadata slot of the last committed id: ordered like entries.
const COMMITTED: u64 = 2;
/// Bytes of payload that one limited read returns, at least one entry.
pub(crate) const READ_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Shelf {
    log: Mutex<Log>,
    reader: LogReader,
    syncer: Syncer,
    snapshots: SnapshotStore,
    /// The log has no threads: sync in each call that promises durability.
    inline: bool,
}

impl Shelf {
    pub(crate) fn new(log: Log, inline: bool) -> Arc<Self> {
        let (reader, syncer, snapshots) = (log.reader(), log.syncer(), log.snapshots());
        Arc::new(Self { log: Mutex::new(log), reader, syncer, snapshots, inline })
    }

    pub(crate) fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    #[cfg(feature = "v0_10")]
    pub(crate) fn snapshots(&self) -> &SnapshotStore {
        &self.snapshots
    }

    /// Id before the window, and of the last entry (or the same where there is none).
    pub(crate) fn ids(&self) -> (Option<EntryId>, Option<EntryId>) {
        // One lock, so that no write comes between the two.
        let log = self.log();
        (log.prev_id(), log.last_id())
    }

    /// Grows at each open of the log.
    #[cfg(feature = "v0_9")]
    pub(crate) fn incarnation(&self) -> u64 {
        self.log().incarnation()
    }

    // ---- writing

    /// Appends entries: readable when this returns. `done` is called once they are durable, or will
    /// never be. Of entries that were purged, which are applied, nothing is kept.
    pub(crate) async fn append(
        self: &Arc<Self>,
        mut entries: Vec<Entry>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<(), Error> {
        if let Some(purged) = self.reader.prev_id() {
            entries.retain(|entry| entry.index() > purged.index);
        }
        self.begin_anywhere(&entries).await?;
        let mut batch = Batch::new();
        batch.append(entries.iter().cloned());
        let ticket = match self.try_write(&batch) {
            // Larger than a batch, or there is none free now: in several, and on another thread.
            Err(LogError::WouldBlock | LogError::TooLarge { .. }) => {
                self.elsewhere(move |shelf| shelf.log().append(&entries)).await??
            }
            written => written?,
        };
        self.syncer.notify(ticket, move |result| done(result.map_err(|e| Error::from(e).into())));
        self.sync_inline()
    }

    /// A log that has never held an entry begins where openraft's first one lies.
    async fn begin_anywhere(self: &Arc<Self>, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first().map(Entry::index) else { return Ok(()) };
        let begins_elsewhere = {
            let log = self.log();
            log.last_id().is_none()
                && log.last_log_index().is_none()
                && log.next_log_index() != first
        };
        if begins_elsewhere {
            let mut batch = Batch::new();
            batch.reset(first, None);
            self.write(batch).await?;
        }
        Ok(())
    }

    /// Drops everything behind `last`, or everything.
    ///
    /// DURABILITY: not synced. What is appended next is behind it in the log, and cannot be durable
    /// without it.
    pub(crate) async fn truncate_after(self: &Arc<Self>, last: Option<u64>) -> Result<(), Error> {
        let (first, next) = (self.reader.first_log_index(), self.reader.next_log_index());
        let from = last.map_or(first, |last| last.saturating_add(1)).max(first);
        if from >= next {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.truncate_from(from);
        self.write(batch).await.map(drop)
    }

    /// Drops everything up to `id`, which is applied, and remembers it. Past the end the log goes on
    /// right behind it. Where the log holds another entry at this index, that and all behind it
    /// belong to a history that lost, and go too.
    ///
    /// DURABILITY: not synced. A purge that a crash forgets leaves entries that are purged again.
    pub(crate) async fn purge(self: &Arc<Self>, id: EntryId) -> Result<(), Error> {
        let mut batch = Batch::new();
        match self.reader.id_at(id.index) {
            Err(LogError::Trimmed { first, .. }) if first.checked_sub(1) != Some(id.index) => {
                return Ok(());
            }
            Ok(held) if held != id => {
                batch.truncate_from(id.index);
            }
            _ => {}
        }
        batch.trim_through(id);
        self.write(batch).await.map(drop)
    }

    /// Sets the vote; durable when this returns.
    pub(crate) async fn save_vote(self: &Arc<Self>, vote: Vec<u8>) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.meta(VOTE, Class::Promise, vote);
        let ticket = self.write(batch).await?;
        self.durable(ticket).await
    }

    pub(crate) fn vote(reader: &LogReader) -> Option<bytes::Bytes> {
        reader.meta(VOTE)
    }

    /// Sets the committed id.
    ///
    /// DURABILITY: not synced, as openraft allows: an older one is applied again from there.
    pub(crate) async fn save_committed(self: &Arc<Self>, id: Vec<u8>) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.meta(COMMITTED, Class::Ordered, id);
        self.write(batch).await.map(drop)
    }

    pub(crate) fn committed(&self) -> Option<bytes::Bytes> {
        self.reader.meta(COMMITTED)
    }

    async fn write(self: &Arc<Self>, batch: Batch) -> Result<Ticket, Error> {
        match self.try_write(&batch) {
            Err(LogError::WouldBlock) => {
                Ok(self.elsewhere(move |shelf| shelf.log().write(&batch)).await??)
            }
            written => Ok(written?),
        }
    }

    fn try_write(&self, batch: &Batch) -> hardlog::Result<Ticket> {
        if self.inline { self.log().write(batch) } else { self.log().try_write(batch) }
    }

    /// Waits until the write is durable, for one sync with all others who wait.
    async fn durable(&self, ticket: Ticket) -> Result<(), Error> {
        let (told, durable) = oneshot::channel();
        // Nobody hears it where the caller has gone: fine.
        self.syncer.notify(ticket, move |result| drop(told.send(result)));
        self.sync_inline()?;
        Ok(durable.await.map_err(|_| Error::Closed)??)
    }

    fn sync_inline(&self) -> Result<(), Error> {
        // DURABILITY: without threads of the log nobody else would sync and call back.
        if self.inline { Ok(self.syncer.sync()?) } else { Ok(()) }
    }

    /// Runs `work` on a thread of its own.
    pub(crate) async fn elsewhere<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.inline {
            return Ok(work(self));
        }
        let shelf = Arc::clone(self);
        let (told, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("hardlog-openraft".to_owned())
            .spawn(move || {
                let result = work(&shelf);
                // Before the caller goes on: it may close the log, and open it again.
                drop(shelf);
                drop(told.send(result));
            })
            .map_err(Error::Thread)?;
        result.await.map_err(|_| Error::Closed)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // A log is consistent after each call, also after one that panicked.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- snapshots

    /// Writes a snapshot and marks it in the log; both are durable when this returns.
    pub(crate) async fn keep_snapshot(
        self: &Arc<Self>,
        id: EntryId,
        meta: Vec<u8>,
        fill: impl FnOnce(&mut SnapshotWriter) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let mark = self.elsewhere(move |shelf| {
            let mut writer = shelf.snapshots.begin(id, &meta)?;
            fill(&mut writer).map_err(Error::App)?;
            Ok::<_, Error>(writer.commit()?)
        });
        self.mark_snapshot(mark.await??).await
    }

    /// Marks a snapshot that lies in the store; durable when this returns.
    pub(crate) async fn mark_snapshot(self: &Arc<Self>, mark: SnapshotMark) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.snapshot_mark(mark);
        let ticket = self.write(batch).await?;
        self.durable(ticket).await
    }

    /// The snapshot that the log marks, or an older one that serves where that one is damaged. Reads
    /// the file whole.
    pub(crate) fn usable_snapshot(&self) -> Result<Option<EntryId>, Error> {
        let Some(mark) = self.reader.snapshot_mark() else { return Ok(None) };
        let info = self.snapshots.usable(mark.id, self.reader.first_log_index())?;
        Ok(Some(info.id))
    }

    pub(crate) fn open_snapshot(&self, id: EntryId) -> Result<SnapshotReader, Error> {
        Ok(self.snapshots.open(id)?)
    }
}

/// The entries of `range` that the log holds, of one version of it, within `max` bytes of payload but
/// at least one.
pub(crate) fn read(
    reader: &LogReader,
    range: &impl RangeBounds<u64>,
    max: u64,
) -> Result<Vec<Entry>, Error> {
    let mut start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    loop {
        let mut entries = Vec::new();
        match reader.entries(start..end, max).try_for_each(|entry| {
            entries.push(entry?);
            Ok(())
        }) {
            // Purged before, or just now.
            Err(LogError::Trimmed { first, .. }) if first > start => start = first,
            Err(e) => return Err(e.into()),
            Ok(()) => return Ok(entries),
        }
    }
}
