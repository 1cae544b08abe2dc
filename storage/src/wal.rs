//! The chain of segments: append a batch, sync, publish what readers see.
//!
//! ```text
//!   Log ──ops──▶ write ──one pwrite──▶ active segment ──▶ publish a Version
//!                  │                        │
//!                  ╰─ no room: rotate       ╰─ sync lane: one fdatasync ──▶ durable watermark
//! ```
//!
//! Above: `log`, which owns the one writer; `sync`, which owns who waits. Below: `segment`, `fs`.
//! `succeed` makes the next segment; `keeper` prepares ahead.
//!
//! INVARIANT (lock order): lane, then writer, then recent or published. No fdatasync of batches
//! happens with the writer locked. What a sync covers is read before the call.
//! INVARIANT: after a failed write or sync the active segment takes no byte more (`spent`); the log
//! goes on in a successor that holds again all that was not proven durable, or it stops.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;

use crate::{
    batch::{HEAD_LEN, Op, PAGE, Seal, SnapshotMark, encode, marker_at, promises, seal},
    entry::LogId,
    error::{Error, Result},
    fs::{Fs, SyncPoint},
    gather::Gathered,
    index::{Map, Summary, file::Identity},
    keeper::{STEP, Wake},
    meaning::{Step, place, plan, resolve_trims, steps_of_ops},
    metrics,
    options::Options,
    places::Places,
    recent::{Kept, Recent},
    reuse::Retired,
    segment::Segment,
    snapshot::SnapshotStore,
    state::LogState,
    sync::Watermark,
};

/// One version of the log, as readers see it. It never changes.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) state: LogState,
    pub(crate) map: Map,
    pub(crate) seq: u64,
}

/// A place up to which everything is proven durable: where a successor would take over.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) end: u64,
    pub(crate) version: Arc<Version>,
}

/// A trim, a reset or a mark after which files may go once it is provably durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) seq: u64,
    pub(crate) first: u64,
    /// The newest mark as of then, and whether it was made then.
    pub(crate) mark: Option<SnapshotMark>,
    pub(crate) marked: bool,
}

/// Why nothing can be written.
#[derive(Clone, Debug)]
pub(crate) enum Halt {
    /// The active segment takes no byte more; a successor is tried at the next write.
    Spent(String),
    /// Nothing goes on until the log is opened again.
    Poisoned(String),
}

/// What belongs to the one who writes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) segment: Arc<Segment>,
    /// End of the last batch or marker.
    pub(crate) offset: u64,
    pub(crate) version: Arc<Version>,
    pub(crate) durable_seq: u64,
    pub(crate) durable_end: u64,
    /// First byte written since the last good sync.
    pub(crate) dirty_from: Option<u64>,
    /// The last batch that is no longer in `recent`, or State.
    pub(crate) base: Base,
    /// Highest sequence that a marker or State in the active segment says is durable.
    pub(crate) stated: u64,
    /// The same, of markers that are durable themselves.
    pub(crate) stated_synced: u64,
    /// All segment files, oldest first, the active one last.
    pub(crate) chain: Vec<Arc<Segment>>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) halt: Option<Halt>,
    /// A segment file prepared in `tmp/`.
    pub(crate) spare: Option<crate::succeed::Spare>,
    /// Files of trimmed segments in `tmp/`, to be spares again.
    pub(crate) retired: Retired,
    /// Sealed segments whose index file is not written yet.
    pub(crate) unindexed: Vec<(Arc<Segment>, Identity, Summary)>,
    /// Somebody who may not wait found the segment full or spent: the keeper makes the successor.
    pub(crate) rotate_due: bool,
    /// Somebody who may not wait found the write window full: the keeper syncs.
    pub(crate) sync_due: bool,
    /// Writes so far, for the keeper to see a pause.
    pub(crate) activity: u64,
    /// Offset and activity when the keeper was last woken for the way the writer went.
    pub(crate) looked: (u64, u64),
    /// An fdatasync is under way without the writer's lock; batches are gathered until it returns.
    pub(crate) syncing: bool,
    pub(crate) gathered: Gathered,
}

/// The engine under [`Log`](crate::Log), shared by its handles and threads.
#[derive(Debug)]
pub(crate) struct Wal {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) options: Options,
    pub(crate) log_id: LogId,
    pub(crate) snapshots: SnapshotStore,
    lane: Mutex<()>,
    writer: Mutex<Writer>,
    published: RwLock<Arc<Version>>,
    recent: Mutex<Recent>,
    /// Where entries of sealed segments lie that were read before.
    pub(crate) places: Places,
    pub(crate) watermark: Watermark,
    pub(crate) wake: Wake,
    pub(crate) scrub_wake: Wake,
    pub(crate) callbacks: Once,
}

/// The sync lane: held during each fdatasync and each rotation.
pub(crate) struct Lane<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, ()>);

/// A batch ready to be written.
struct Draft {
    steps: Vec<Step>,
    bytes: Vec<u8>,
    after: LogState,
    /// The marker's ops, if the batch changes a promise.
    vow: Option<Vec<u8>>,
    entries: bool,
}

impl Wal {
    pub(crate) fn new(
        (fs, options): (Arc<dyn Fs>, Options),
        log_id: LogId,
        writer: Writer,
        recent: Recent,
    ) -> Self {
        let snapshots = SnapshotStore::new(Arc::clone(&fs), log_id, &options);
        let published = RwLock::new(Arc::clone(&writer.version));
        let places = Places::new(usize::try_from(options.recent_max / 2).unwrap_or(usize::MAX));
        Self {
            snapshots,
            watermark: Watermark::new(writer.durable_seq),
            fs,
            options,
            log_id,
            lane: Mutex::new(()),
            writer: Mutex::new(writer),
            published,
            recent: Mutex::new(recent),
            places,
            wake: Wake::default(),
            scrub_wake: Wake::default(),
            callbacks: Once::new(),
        }
    }

    pub(crate) fn lane(&self) -> Lane<'_> {
        Lane(self.lane.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version.
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.published())
    }

    /// The newest version, for a look that waits for nothing: publishing waits meanwhile.
    pub(crate) fn published(&self) -> RwLockReadGuard<'_, Arc<Version>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, version: &Arc<Version>) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        *published = Arc::clone(version);
    }

    /// Writes one batch; returns its sequence. `wait` says whether it may wait for a sync, a
    /// rotation, or the lane.
    pub(crate) fn write(&self, ops: &[Op<'_>], wait: bool) -> Result<u64> {
        // Without a keeper nobody would make room meanwhile.
        let wait = wait || !self.options.background;
        let mut writer = self.writer();
        writer.check_poison()?;
        let draft = self.draft(&writer, ops)?;
        loop {
            match self.room(&writer, &draft)? {
                Room::Here => break,
                room if !wait => {
                    writer.sync_due = matches!(room, Room::AfterSync);
                    writer.rotate_due = matches!(room, Room::InSuccessor);
                    self.wake.now();
                    return Err(Error::WouldBlock);
                }
                Room::AfterSync => {
                    drop(writer);
                    self.sync_and_settle()?;
                }
                Room::InSuccessor => {
                    drop(writer);
                    self.rotate()?;
                }
            }
            writer = self.writer();
            writer.check_poison()?;
        }
        match self.put(&mut writer, draft) {
            Ok(seq) => Ok(seq),
            Err(e) => {
                writer.halt = Some(Halt::Spent(e.to_string()));
                drop(writer);
                // The log goes on in a successor if it can; this batch's fate is unknown either way.
                if wait && let Err(next) = self.rotate() {
                    tracing::warn!(error = %next, "no successor after a failed write yet");
                }
                Err(e)
            }
        }
    }

    fn draft(&self, writer: &Writer, ops: &[Op<'_>]) -> Result<Draft> {
        let Version { state, map, .. } = &*writer.version;
        let ids = |index| map.id(index);
        let resolved;
        let ops = if ops.iter().any(|op| matches!(op, Op::TrimBefore { .. })) {
            let mut owned = ops.to_vec();
            resolve_trims(&mut owned, state, ids)?;
            resolved = owned;
            &resolved
        } else {
            ops
        };
        let steps = steps_of_ops(ops);
        let after = plan(state, &steps, true, ids)?;
        let bytes = encode(ops, self.options.batch_max)?;
        let vow = (!after.same_promises(state))
            .then(|| encode(&promises(&after), u64::MAX))
            .transpose()?;
        let entries = ops.iter().any(|op| matches!(op, Op::Entries(_) | Op::Refill(_)));
        Ok(Draft { steps, bytes, after, vow, entries })
    }

    /// Whether the draft fits where the writer stands; prepares space up to there.
    fn room(&self, writer: &Writer, draft: &Draft) -> Result<Room> {
        if writer.halt.is_some() {
            return Ok(Room::InSuccessor);
        }
        let len = draft.len_at(writer.offset);
        let unsynced = writer.dirty_from.map_or(0, |from| writer.offset.saturating_sub(from));
        if unsynced > 0 && unsynced + len > self.options.write_window {
            return Ok(Room::AfterSync);
        }
        let segment = &writer.segment;
        let reserve = if draft.entries { self.options.reserve() } else { 0 };
        let end = writer.offset + len + reserve;
        let size = self.options.segment_size.max(segment.fence());
        if end > size && writer.offset > segment.header.born_end {
            return Ok(Room::InSuccessor);
        }
        while segment.fence() < end {
            // A whole number of pages: any other length shows that a file was cut.
            segment.fill_step(size.max(end).next_multiple_of(PAGE), writer.ahead())?;
        }
        Ok(Room::Here)
    }

    /// The one positioned write of a batch, its marker and the zero head behind them.
    fn put(&self, writer: &mut Writer, draft: Draft) -> Result<u64> {
        let Draft { steps, mut bytes, after, vow, .. } = draft;
        let (offset, salt) = (writer.offset, writer.segment.header.salt);
        let (seq, durable) = (writer.version.seq + 1, writer.durable_seq);
        seal(&mut bytes, Seal { salt, offset, seq, durable, marker: false });
        let len = bytes.len();
        let mut end = offset + len as u64;
        let batch_end = end;
        if let Some(mut marker) = vow {
            let at = marker_at(end);
            seal(&mut marker, Seal { salt, offset: at, seq, durable, marker: true });
            bytes.resize(usize::try_from(at - offset).expect("within a segment"), 0);
            bytes.extend_from_slice(&marker);
            end = at + marker.len() as u64;
            writer.stated = durable;
        }
        bytes.resize(bytes.len() + HEAD_LEN, 0);
        writer.dirty_from.get_or_insert(offset);
        self.give(writer, &bytes, offset)?;

        let before = Arc::clone(&writer.version);
        let mut map = before.map.clone();
        place(&mut map, &before.state, &steps, offset);
        if steps.iter().any(|s| matches!(s, Step::Trim(..) | Step::Reset(..) | Step::Mark(_))) {
            let marked = after.mark != before.state.mark;
            writer.removals.push(Removal { seq, first: after.first, mark: after.mark, marked });
            self.wake.now();
        }
        let version = Arc::new(Version { state: after, map, seq });
        let kept = Kept {
            segment: writer.segment.id(),
            offset,
            end: batch_end,
            seq,
            bytes: Bytes::from(bytes).slice(..len),
            after: Arc::clone(&version),
        };
        self.keep(writer, kept);
        writer.version = version;
        writer.offset = end;
        writer.activity += 1;
        if writer.is_look_due() {
            self.wake.now();
        }
        self.publish(&writer.version);
        metrics::batch_written(len);
        Ok(seq)
    }

    fn keep(&self, writer: &mut Writer, kept: Kept) {
        let mut recent = self.recent();
        recent.push(kept);
        // What is over the limit goes with the next sync, with no lock held; but not much more.
        let max = self.options.recent_max;
        drop(evict(writer, &mut recent, max + max / 16));
    }

    /// Writes a batch, or keeps it back while a sync is under way: see `gather`.
    fn give(&self, writer: &mut Writer, bytes: &[u8], offset: u64) -> Result<()> {
        let Writer { segment, gathered, syncing, .. } = writer;
        let keep = *syncing || self.options.gather_always;
        if !keep && gathered.is_empty() {
            return write_at(segment, bytes, offset);
        }
        let keep = keep && gathered.takes(bytes.len());
        gathered.add(bytes, offset);
        if keep { Ok(()) } else { gathered.give(|bytes, at| write_at(segment, bytes, at)) }
    }

    /// Writes what was kept back; a spent segment takes none of it. After an error it is spent.
    pub(crate) fn give_gathered(&self, writer: &mut Writer) -> Result<()> {
        let Writer { segment, gathered, halt, .. } = writer;
        if halt.is_some() {
            gathered.forget();
        }
        gathered.give(|bytes, at| write_at(segment, bytes, at)).inspect_err(|e| {
            writer.halt = Some(Halt::Spent(e.to_string()));
        })
    }

    /// Writes a marker that states what is durable by now. Not synced. False where none fits.
    pub(crate) fn marker(&self, writer: &mut Writer) -> Result<bool> {
        if writer.halt.is_some() {
            return Ok(false);
        }
        let at = marker_at(writer.offset);
        let (salt, seq) = (writer.segment.header.salt, writer.version.seq);
        let mut bytes = encode(&promises(&writer.version.state), u64::MAX)?;
        let durable = writer.durable_seq;
        seal(&mut bytes, Seal { salt, offset: at, seq, durable, marker: true });
        let end = at + bytes.len() as u64;
        bytes.resize(bytes.len() + HEAD_LEN, 0);
        let (need, size) = (at + bytes.len() as u64, self.options.segment_size);
        // Where nothing prepares space ahead, a segment that is not full has room for it all the same.
        while writer.segment.fence() < need && need <= size {
            if let Err(e) = writer.segment.fill_step(size, STEP) {
                tracing::debug!(error = %e, "no room for a marker");
                return Ok(false);
            }
        }
        if need > writer.segment.fence() {
            return Ok(false);
        }
        // DURABILITY: no sync here: the marker only adds evidence about what is durable already.
        writer.dirty_from.get_or_insert(at);
        if let Err(e) = self.give(writer, &bytes, at) {
            writer.halt = Some(Halt::Spent(e.to_string()));
            return Err(e);
        }
        writer.offset = end;
        writer.stated = writer.durable_seq;
        Ok(true)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// `Poisoned` and what the disk says; what was written is then unknown.
    pub(crate) fn sync(&self) -> Result<()> {
        let lane = self.lane();
        self.sync_in(&lane)
    }

    pub(crate) fn sync_in(&self, lane: &Lane<'_>) -> Result<()> {
        let (segment, seq, end, stated) = {
            let mut writer = self.writer();
            writer.check_poison()?;
            if writer.halt.is_some() {
                let nothing_to_do = writer.durable_seq == writer.version.seq;
                return if nothing_to_do { Ok(()) } else { self.go_on(lane, &mut writer) };
            }
            if writer.dirty_from.is_none() {
                return Ok(());
            }
            if self.give_gathered(&mut writer).is_err() {
                return self.go_on(lane, &mut writer);
            }
            writer.syncing = true;
            (Arc::clone(&writer.segment), writer.version.seq, writer.offset, writer.stated)
        };
        let started = std::time::Instant::now();
        // DURABILITY: the fdatasync on which every acknowledged batch rests. What it covers was
        // read above, from writes that had returned.
        let result = self.sync_file(&segment, SyncPoint::Batches);
        metrics::fsync(started.elapsed());
        let mut writer = self.writer();
        writer.syncing = false;
        let gone = match result {
            Ok(()) => self.synced(&mut writer, seq, end, stated),
            Err(e) => return self.sync_failed(lane, &mut writer, &e),
        };
        if let Err(e) = self.give_gathered(&mut writer) {
            // What this sync was asked for is durable; what was kept back goes on in a successor, now
            // or when it is to be synced.
            tracing::warn!(error = %e, "what was gathered could not be written");
            let _ = self.go_on(lane, &mut writer);
        }
        drop(writer);
        drop(gone);
        Ok(())
    }

    /// Records that a sync covered everything before `end`. Returns what is no longer kept in memory,
    /// for the caller to drop where nobody waits for it.
    pub(crate) fn synced(&self, writer: &mut Writer, seq: u64, end: u64, stated: u64) -> Vec<Kept> {
        writer.durable_seq = seq;
        writer.durable_end = end;
        writer.dirty_from = (writer.offset > end).then_some(end);
        writer.stated_synced = stated;
        let gone = evict(writer, &mut self.recent(), self.options.recent_max);
        self.watermark.advance(seq);
        self.remove_files(writer);
        gone
    }

    /// A failed sync ends the file; the log goes on in a successor or stops.
    pub(crate) fn sync_failed(
        &self,
        lane: &Lane<'_>,
        writer: &mut Writer,
        e: &Error,
    ) -> Result<()> {
        tracing::error!(error = %e, segment = writer.segment.id(), "sync failed");
        metrics::sync_failed();
        writer.halt = Some(Halt::Spent(e.to_string()));
        if let Err(next) = self.go_on(lane, writer) {
            self.poison(writer, &format!("{e}; then {next}"));
            return Err(next);
        }
        Ok(())
    }

    pub(crate) fn poison(&self, writer: &mut Writer, why: &str) {
        tracing::error!(why, "the log stops until it is opened again");
        writer.halt = Some(Halt::Poisoned(why.to_owned()));
        self.watermark.fail(why);
    }

    /// fdatasync, unless a campaign leaves this one out to see that somebody notices.
    pub(crate) fn sync_file(&self, segment: &Segment, point: SyncPoint) -> Result<()> {
        if self.options.omit_sync == Some(point) {
            return Ok(());
        }
        // DURABILITY: each caller says which promise rests on this call.
        segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))
    }

    /// Why nothing can be written right now, if so.
    pub(crate) fn halted(&self) -> Option<String> {
        self.writer().halt.as_ref().map(|halt| match halt {
            Halt::Spent(why) | Halt::Poisoned(why) => why.clone(),
        })
    }

    /// Where the log is, for messages.
    pub(crate) fn root(&self) -> PathBuf {
        self.fs.root().to_path_buf()
    }
}

/// Takes the oldest batches over `max` bytes out of memory, as far as they are safe on disk.
fn evict(writer: &mut Writer, recent: &mut Recent, max: u64) -> Vec<Kept> {
    let gone = recent.evict(max, writer.segment.id(), writer.durable_end);
    if let Some(last) = gone.last().filter(|last| last.segment == writer.segment.id()) {
        writer.base = Base { end: last.end, version: Arc::clone(&last.after) };
    }
    gone
}

/// One call; a short write is a failed one, never gone on with in this file.
fn write_at(segment: &Segment, bytes: &[u8], offset: u64) -> Result<()> {
    assert!(
        offset + bytes.len() as u64 <= segment.fence(),
        "write up to {} beyond the fence {}",
        offset + bytes.len() as u64,
        segment.fence()
    );
    match segment.file.write_at(bytes, offset) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => {
            let short = std::io::Error::from(std::io::ErrorKind::WriteZero);
            Err(Error::io("write (short) to", &segment.path, short))
        }
        Err(e) => Err(Error::io("write to", &segment.path, e)),
    }
}

enum Room {
    Here,
    AfterSync,
    InSuccessor,
}

impl Draft {
    /// Bytes that it takes at `offset`, marker and zero head included.
    fn len_at(&self, offset: u64) -> u64 {
        let end = offset + self.bytes.len() as u64;
        let end = self.vow.as_ref().map_or(end, |marker| marker_at(end) + marker.len() as u64);
        end + HEAD_LEN as u64 - offset
    }
}

impl Writer {
    /// # Errors
    /// `Poisoned`.
    pub(crate) fn check_poison(&self) -> Result<()> {
        match &self.halt {
            Some(Halt::Poisoned(why)) => Err(Error::Poisoned { why: why.clone() }),
            _ => Ok(()),
        }
    }
}
