//! Log: what Raft sees. Window, append, truncation, hard state, batches, tickets.
//!
//! Above: the embedder. Below: `wal` (writes), `reader` (reads), `recovery` (opens).
//! One owner writes (`&mut self`); any number of [`LogReader`]s read meanwhile; any thread may wait
//! for a [`Ticket`] through a [`Syncer`].

use std::{any::Any, borrow::Cow, ops::Range, path::Path, sync::Arc, thread::JoinHandle};

use bytes::Bytes;

use crate::{
    batch::{Batch, Class, Op, SnapshotMark},
    entry::{Entry, EntryId, Index, LogId, Term},
    error::{Error, Misfit, Result},
    fs::{Fs, disk::DiskFs},
    hard_state::HardState,
    options::Options,
    reader::{Entries, LogReader},
    recovery::{self, Opened},
    report::RecoveryReport,
    scrub,
    snapshot::SnapshotStore,
    wal::Wal,
};

/// Names a write. Tickets rise; a ticket at or below [`Log::durable`] survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

impl Ticket {
    /// Its number: one more for each batch over the life of the log.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0
    }
}

/// The durable log of one Raft server.
///
/// Writes are visible at once and durable after [`Log::sync`] or [`Syncer::wait`]. An error from a
/// write or a sync means *unknown*: what was written may or may not be there after a restart.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("n1");
/// use hardlog::{Batch, Entry, HardState, Log, Options};
///
/// let mut log = Log::create(&path, Options::new())?;
/// let mut batch = Batch::new();
/// batch
///     .hard_state(HardState { term: 1, vote: Some(1), commit: 0 })
///     .append([Entry::new(1, 1, "set x 1"), Entry::new(2, 1, "set y 2")]);
/// log.write(&batch)?; // one write, all or nothing
/// log.sync()?; // now it survives a power cut
/// log.close()?;
///
/// let (log, report) = Log::open(&path, Options::new())?;
/// assert_eq!(log.at(2)?.payload, "set y 2");
/// assert_eq!(report.maybe_lost, None);
/// # Ok::<(), hardlog::Error>(())
/// ```
#[derive(Debug)]
pub struct Log {
    reader: LogReader,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the log is open.
    _lock: Box<dyn Any + Send + Sync>,
}

impl Log {
    /// Makes a new log. The directory may be missing, be empty, or hold what a creation that was cut
    /// off left behind. When this returns, the log itself survives a power cut.
    ///
    /// # Errors
    /// `Exists` where the directory holds a segment, index, snapshot or quarantined file; `Locked`;
    /// `Io`, `Full`, `Options`.
    pub fn create(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::create_on(Arc::new(DiskFs::new(dir.as_ref())), options)
    }

    /// As [`Log::create`], on any file system.
    ///
    /// # Errors
    /// As [`Log::create`].
    pub fn create_on(fs: Arc<dyn Fs>, options: Options) -> Result<Self> {
        let opened = recovery::create(fs, options.checked()?)?;
        Ok(Self::start(opened).0)
    }

    /// Locks the directory, recovers what is in it and says what it found. Never creates a log,
    /// unless [`Options::create_if_missing`] allows it.
    ///
    /// # Errors
    /// `NotALog`, `Locked`, `NewerFormat`, `Corrupt` (nothing was changed then), `Io`, `Full`.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Self, RecoveryReport)> {
        Self::open_on(Arc::new(DiskFs::new(dir.as_ref())), options)
    }

    /// As [`Log::open`], on any file system.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(fs: Arc<dyn Fs>, options: Options) -> Result<(Self, RecoveryReport)> {
        let options = options.checked()?;
        match recovery::open(Arc::clone(&fs), options.clone()) {
            Err(Error::NotALog { .. }) if options.create_if_missing => {
                Ok(Self::start(recovery::create(fs, options)?))
            }
            opened => Ok(Self::start(opened?)),
        }
    }

    fn start(opened: Opened) -> (Self, RecoveryReport) {
        let Opened { wal, lock, report } = opened;
        let wal = Arc::new(wal);
        let mut threads = Vec::new();
        if wal.options.background {
            let keeper = Arc::downgrade(&wal);
            threads.extend(spawn("hardlog-keeper", move || crate::keeper::run(&keeper)));
            let scrubber = Arc::downgrade(&wal);
            threads.extend(spawn("hardlog-scrub", move || scrub::run(&scrubber)));
        }
        (Self { reader: LogReader { wal }, threads, _lock: lock }, report)
    }

    pub(crate) fn wal(&self) -> &Arc<Wal> {
        &self.reader.wal
    }

    // ---- reading: the same as through a reader

    /// First index of the window. While the window is empty, the index of the next entry.
    #[must_use]
    pub fn first_log_index(&self) -> Index {
        self.reader.first_log_index()
    }

    /// Last index; None while the window is empty.
    #[must_use]
    pub fn last_log_index(&self) -> Option<Index> {
        self.reader.last_log_index()
    }

    /// One past the last index.
    #[must_use]
    pub fn next_log_index(&self) -> Index {
        self.reader.next_log_index()
    }

    /// Id of the last entry; of the one just before the window while that is empty.
    #[must_use]
    pub fn last_id(&self) -> Option<EntryId> {
        self.reader.last_id()
    }

    /// Id of the entry just before the window, if known.
    #[must_use]
    pub fn prev_id(&self) -> Option<EntryId> {
        self.reader.prev_id()
    }

    /// Term, vote and commit as last written.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.reader.hard_state()
    }

    /// A metadata slot.
    #[must_use]
    pub fn meta(&self, key: u64) -> Option<Bytes> {
        self.reader.meta(key)
    }

    /// The newest snapshot mark.
    #[must_use]
    pub fn snapshot_mark(&self) -> Option<SnapshotMark> {
        self.reader.snapshot_mark()
    }

    /// Lowest index that an earlier open may have lost, until [`Log::acknowledge_loss`] or a trim
    /// past it.
    #[must_use]
    pub fn maybe_lost(&self) -> Option<Index> {
        self.reader.maybe_lost()
    }

    /// The entry at `index`; see [`LogReader::at`].
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`, `Faulty`, `Corrupt`, `Io`.
    pub fn at(&self, index: Index) -> Result<Entry> {
        self.reader.at(index)
    }

    /// Term of the entry at `index`, also of the one just before the window.
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`.
    pub fn term_at(&self, index: Index) -> Result<Term> {
        self.reader.term_at(index)
    }

    /// Id of the entry at `index`, also of the one just before the window.
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`.
    pub fn id_at(&self, index: Index) -> Result<EntryId> {
        self.reader.id_at(index)
    }

    /// The entries of `range`; see [`LogReader::entries`].
    #[must_use]
    pub fn entries(&self, range: Range<Index>, max_bytes: u64) -> Entries {
        self.reader.entries(range, max_bytes)
    }

    /// Logical bytes of the window; see [`LogReader::live_bytes`].
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.reader.live_bytes()
    }

    /// A reader for other threads.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Names this log for ever.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.wal().log_id
    }

    /// Largest batch in bytes, head and tables included; an entry must fit one.
    #[must_use]
    pub fn batch_max(&self) -> u64 {
        self.wal().options.batch_max
    }

    /// Number of the active segment: grows at each open, and with each rotation. A peer that has
    /// seen a higher one talks to a directory that was put back to an older copy.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.wal().writer().segment.id()
    }

    /// The snapshot files beside the log.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        self.wal().snapshots.clone()
    }

    // ---- writing

    /// Appends entries. A list larger than a batch is split into several, in order.
    ///
    /// # Errors
    /// `TooLarge` for an entry that fits no batch (nothing is written then); `Invalid`; `Full`,
    /// `Io`, `Poisoned`. After an error in the middle of a split list the window tells how much
    /// was written.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Ticket> {
        let max = self.wal().options.batch_max;
        let mut rest = entries;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(fitting(rest, max)?);
            parts.push(part);
            rest = after;
        }
        let mut ticket = self.written();
        for part in parts {
            ticket = self.put(&[Op::Entries(Cow::Borrowed(part))])?;
        }
        Ok(ticket)
    }

    /// Drops everything from `from` on.
    ///
    /// # Errors
    /// `Invalid` outside the window or at or below the commit index; `Full`, `Io`, `Poisoned`.
    pub fn trim_tail(&mut self, from: Index) -> Result<Ticket> {
        self.put(&[Op::TruncateFrom(from)])
    }

    /// Drops everything before `to`. Beyond the end it resets the window, which is empty then and
    /// begins at `to`. Files go once the trim is provably durable; [`Log::reclaim`] sees to it now.
    ///
    /// # Errors
    /// `Full`, `Io`, `Poisoned`. Trimming below the window does nothing.
    pub fn trim_prefix(&mut self, to: Index) -> Result<Ticket> {
        if to <= self.first_log_index() {
            return Ok(self.written());
        }
        self.put(&[Op::TrimBefore { first: to, prev: None }])
    }

    /// Drops all entries and goes on at `first`; `prev` is the id just before it, if there is one.
    ///
    /// # Errors
    /// `Invalid` if `prev` does not lie just before `first`; `Full`, `Io`, `Poisoned`.
    pub fn reset(&mut self, first: Index, prev: Option<EntryId>) -> Result<Ticket> {
        self.put(&[Op::Reset { first, prev }])
    }

    /// Supplies the bytes of a faulty entry, fetched from a peer.
    ///
    /// # Errors
    /// `Invalid` unless the log holds an entry of exactly this id whose bytes are bad.
    pub fn refill(&mut self, entry: &Entry) -> Result<Ticket> {
        let index = entry.id.index;
        match self.at(index) {
            Err(Error::Faulty { id }) if id == entry.id => self.put(&[Op::Refill(entry.clone())]),
            _ => Err(Error::Invalid(Misfit::NotFaulty(index))),
        }
    }

    /// Replaces term, vote and commit.
    ///
    /// # Errors
    /// `HardState` where Figure 2 forbids the change; `Full`, `Io`, `Poisoned`.
    pub fn save_hard_state(&mut self, hard_state: HardState) -> Result<Ticket> {
        self.put(&[Op::HardState(hard_state)])
    }

    /// Sets a metadata slot.
    ///
    /// # Errors
    /// `Invalid` beyond 16 slots or 4096 bytes, or if the slot's class would change; `Full`, `Io`.
    pub fn save_meta(&mut self, key: u64, class: Class, value: &[u8]) -> Result<Ticket> {
        self.put(&[Op::Meta { key, class, value: Bytes::copy_from_slice(value) }])
    }

    /// Records a snapshot that is complete under its name. Older ones beyond the number to keep go
    /// once this is provably durable.
    ///
    /// # Errors
    /// `Full`, `Io`, `Poisoned`.
    pub fn mark_snapshot(&mut self, mark: SnapshotMark) -> Result<Ticket> {
        self.put(&[Op::SnapshotMark(mark)])
    }

    /// Takes note of [`Log::maybe_lost`].
    ///
    /// # Errors
    /// `Full`, `Io`, `Poisoned`.
    pub fn acknowledge_loss(&mut self) -> Result<Ticket> {
        self.put(&[Op::AcknowledgeLoss])
    }

    /// Writes a batch: all of it or nothing, in order, visible at once, durable after a sync. Waits
    /// for a sync or a rotation where it must. An empty batch writes nothing. While another thread
    /// syncs, a small batch reaches the file only once that sync has ended.
    ///
    /// # Errors
    /// `Invalid`, `HardState`, `TooLarge`: nothing was written. `Full`: nothing was written, go on
    /// once there is room. `Io`: unknown. `Poisoned`.
    pub fn write(&mut self, batch: &Batch) -> Result<Ticket> {
        self.put(&batch.ops)
    }

    /// As [`Log::write`], for threads that must not miss a heartbeat.
    ///
    /// # Errors
    /// `WouldBlock` where it would have to wait: nothing was written, and the keeper is at it.
    pub fn try_write(&mut self, batch: &Batch) -> Result<Ticket> {
        if batch.is_empty() {
            return Ok(self.written());
        }
        self.wal().write(&batch.ops, false).map(Ticket)
    }

    fn put(&mut self, ops: &[Op<'_>]) -> Result<Ticket> {
        if ops.is_empty() {
            return Ok(self.written());
        }
        self.wal().write(ops, true).map(Ticket)
    }

    // ---- durability

    /// Makes everything written so far durable, in this thread.
    ///
    /// # Errors
    /// `Io`, `Full`, `Poisoned`: what was written since the last sync is unknown.
    pub fn sync(&self) -> Result<()> {
        self.syncer().sync()
    }

    /// The durable watermark: the last write known to survive a crash.
    #[must_use]
    pub fn durable(&self) -> Ticket {
        Ticket(self.wal().watermark.durable())
    }

    /// The last write.
    #[must_use]
    pub fn written(&self) -> Ticket {
        Ticket(self.wal().version().seq)
    }

    /// A handle with which any thread can wait for durability.
    #[must_use]
    pub fn syncer(&self) -> Syncer {
        Syncer { wal: Arc::clone(self.wal()) }
    }

    /// Why nothing can be written right now, if so: after a failure, until a new segment could be
    /// made (the next write tries) or the log is opened again.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.wal().halted()
    }

    /// Makes trims durable and removes the files they have made superfluous.
    ///
    /// # Errors
    /// `Io`, `Full`, `Poisoned`.
    pub fn reclaim(&mut self) -> Result<()> {
        self.wal().reclaim()
    }

    /// Writes the marker that a pause would bring. False where none fits. For the campaigns.
    ///
    /// # Errors
    /// `Io`, `Full`.
    #[doc(hidden)]
    pub fn marker_now(&mut self) -> Result<bool> {
        let mut writer = self.wal().writer();
        self.wal().marker(&mut writer)
    }

    /// Goes on in a new segment, as when this one is full. For the campaigns.
    ///
    /// # Errors
    /// `Io`, `Full`, `Poisoned`.
    #[doc(hidden)]
    pub fn rotate_now(&mut self) -> Result<()> {
        self.wal().rotate()
    }

    /// Syncs, writes a last marker so that even the last batch is provable, syncs that, and ends.
    /// Where old bytes stand behind the last batch ([`Options::reuse_files`]) the log goes on in a
    /// new file first, which ends in zeros: so the next open finds a clean end. The only place where a last sync can fail; dropping a log syncs nothing.
    ///
    /// # Errors
    /// `Io`, `Full`, `Poisoned`.
    pub fn close(self) -> Result<()> {
        self.wal().settle_for_good()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.wal().shut();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr; nothing of the log depends on it.
            let _ = thread.join();
        }
    }
}

impl Wal {
    fn settle_for_good(&self) -> Result<()> {
        self.sync_and_settle()?;
        let reused = {
            let mut writer = self.writer();
            self.end_reuse(&mut writer);
            writer.segment.header.reused
        };
        if reused && let Err(e) = self.rotate() {
            self.writer().check_poison()?;
            // Nothing is lost, but the next open cannot know that.
            tracing::warn!(error = %e, "closed in a file that was used before");
        }
        let stated = {
            let mut writer = self.writer();
            writer.check_poison()?;
            writer.stated_synced >= writer.version.seq || !self.marker(&mut writer)?
        };
        // DURABILITY: the marker itself, so that the last batch stays provable.
        if stated { Ok(()) } else { self.sync_and_settle() }
    }
}

/// How many of `entries`, at least one, fit a batch.
fn fitting(entries: &[Entry], max: u64) -> Result<usize> {
    const FIXED: u64 = 40 + 8;
    const SECTION: u64 = 16 + 32;
    let mut len = FIXED;
    let mut before = None;
    for (at, entry) in entries.iter().enumerate() {
        let run = (entry.id.term, entry.id.tag);
        let section = if before == Some(run) { 0 } else { SECTION };
        before = Some(run);
        len += section + 8 + entry.payload.len() as u64;
        if len > max {
            return if at == 0 { Err(Error::TooLarge { len, max }) } else { Ok(at) };
        }
    }
    Ok(entries.len())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.inspect_err(|e| tracing::warn!(error = %e, name, "no thread")).ok()
}

/// Waits for durability on behalf of any thread: one fdatasync serves all who wait.
#[derive(Clone, Debug)]
pub struct Syncer {
    wal: Arc<Wal>,
}

impl Syncer {
    /// Blocks until the write is durable.
    ///
    /// # Errors
    /// `Io`, `Full`, `Poisoned`: whether the write survives is unknown.
    pub fn wait(&self, ticket: Ticket) -> Result<()> {
        self.wal.watermark.wait(ticket.0, &|| self.wal.sync())
    }

    /// Makes everything written so far durable, in this thread.
    ///
    /// # Errors
    /// As [`Syncer::wait`].
    pub fn sync(&self) -> Result<()> {
        let result = self.wal.sync_and_settle();
        if !self.wal.options.background {
            self.wal.watermark.run_callbacks();
        }
        result
    }

    /// The durable watermark.
    #[must_use]
    pub fn durable(&self) -> Ticket {
        Ticket(self.wal.watermark.durable())
    }

    /// Calls `callback` once the write is durable, or will never be. Callbacks run in the order of
    /// their tickets, once each, on a thread of the log (without `Options::background`: in the next
    /// [`Syncer::sync`]). They may not call into the log.
    pub fn notify(&self, ticket: Ticket, callback: impl FnOnce(Result<()>) + Send + 'static) {
        self.wal.watermark.notify(ticket.0, Box::new(callback));
        if self.wal.options.background {
            self.wal.callbacks.call_once(|| {
                let wal = Arc::clone(&self.wal);
                // Not joined: it ends once the log is closed and the last callback has run.
                drop(spawn("hardlog-sync", move || wal.watermark.serve(&|| wal.sync())));
            });
        }
    }
}

#[cfg(test)]
mod tests;
