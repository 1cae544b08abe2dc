//! What is done ahead and behind: prepare the next segment, fill space, write index files and idle
//! markers, remove trimmed files.
//!
//! With `Options::background` a thread does it; without, the calls that need it do. Nothing here is
//! needed for correctness, only for speed and space, but for one thing: files go only after the
//! record that allows it is provably durable.
//!
//! Above: nobody waits for the keeper. Below: `wal`, `succeed`.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{
    batch::SnapshotMark,
    error::{Error, Result},
    fs::{Dir, SyncPoint, write_full},
    index::file::encode as encode_index,
    layout::{index_name, segment_name},
    segment::{Segment, fill},
    succeed::Spare,
    wal::{Base, Halt, Removal, Wal, Writer},
};

/// Zeros given to the disk at once; and while there is something to prepare the keeper looks at the
/// writer each time it went this far,
pub(crate) const STEP: u64 = 64 << 10;
/// but not before this many writes: where they are large, most syncs should meet no zeros at all.
const STEP_WRITES: u64 = 16;
/// How far the writer goes at most between two looks.
const STRIDE: u64 = 1 << 20;
/// Zeros given at once where so much is due, and waited for: what a sync of batches can meet.
const ROUND: u64 = 256 << 10;
/// And where the writer runs away, so that it finds a whole spare all the same: when this much is due,
const FAR: u64 = 8 << 20;
/// this much at once.
const ROUND_MAX: u64 = 1 << 20;
/// Space prepared ahead of the writer in a segment that began small: as much as was written to it,
/// and this at least.
const AHEAD_MIN: u64 = 256 << 10;
/// And this at most.
const AHEAD_MAX: u64 = 8 << 20;

/// Wakes the keeper before its pause is over.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    state: Mutex<WakeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WakeState {
    due: bool,
    stopped: bool,
}

impl Wake {
    pub(crate) fn now(&self) {
        self.lock().due = true;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits until woken, or for `pause`. False once stopped.
    pub(crate) fn wait(&self, pause: Duration) -> bool {
        let state = self.lock();
        let idle = |state: &mut WakeState| !state.due && !state.stopped;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, pause, idle)
            .unwrap_or_else(PoisonError::into_inner);
        state.due = false;
        !state.stopped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, WakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// How much space should be prepared beyond the last batch: little at first, since the next
    /// sync takes along what was prepared.
    pub(crate) fn ahead(&self) -> u64 {
        let written = self.offset.saturating_sub(self.segment.header.born_end);
        (AHEAD_MIN + written).min(AHEAD_MAX)
    }

    /// Whether the keeper has to look again, now that the writer stands where it does.
    pub(crate) fn is_look_due(&mut self) -> bool {
        let (offset, activity) = self.looked;
        let many = self.activity - activity >= STEP_WRITES;
        let step = if self.spare.is_none() && many { STEP } else { STRIDE };
        // A lower place than before is one of another segment.
        let due = self.offset.checked_sub(offset).is_none_or(|far| far >= step);
        if due {
            self.looked = (self.offset, self.activity);
        }
        due
    }
}

/// How many zeros come next where `due` of them are, and whether the keeper waits for the disk then.
/// A writer that comes back from a pause, being `idle`, should not meet the longest rounds.
const fn round(due: u64, idle: bool) -> (u64, bool) {
    if due < ROUND {
        (STEP, false)
    } else if due < FAR || idle {
        (ROUND, true)
    } else {
        (ROUND_MAX, true)
    }
}

/// What the keeper knows from one round to the next.
struct Seen {
    /// The activity it saw last, and when.
    activity: u64,
    at: Instant,
    /// A spare in the making; its length is what is filled and synced.
    spare: Option<Spare>,
}

/// The keeper's thread. It holds the log only while it works, so that the log can end.
pub(crate) fn run(wal: &Weak<Wal>) {
    let mut seen = Seen { activity: 0, at: Instant::now(), spare: None };
    loop {
        let Some(wal) = wal.upgrade() else { return };
        if !wal.wake.wait(wal.options.idle_marker.min(Duration::from_millis(100))) {
            return;
        }
        if let Err(e) = wal.keep_house(&mut seen) {
            // Nothing depends on it: what cannot be prepared ahead is done when it is needed.
            tracing::debug!(error = %e, "the keeper could not do all of its work");
        }
    }
}

impl Wal {
    /// One round of the keeper's work.
    fn keep_house(&self, seen: &mut Seen) -> Result<()> {
        self.make_room()?;
        {
            let mut writer = self.writer();
            if writer.halt.is_some() {
                return Ok(());
            }
            if writer.activity != seen.activity {
                (seen.activity, seen.at) = (writer.activity, Instant::now());
            }
            let unsynced = writer.offset - writer.durable_end.min(writer.offset);
            if unsynced > self.options.write_window / 2 {
                drop(writer);
                self.sync_and_settle()?;
            } else if seen.at.elapsed() >= self.options.idle_marker
                && writer.durable_seq > writer.stated
            {
                self.marker(&mut writer)?;
            }
        }
        self.fill_ahead()?;
        self.prepare_spare(seen)?;
        let queue = std::mem::take(&mut self.writer().unindexed);
        for (segment, identity, summary) in &queue {
            self.write_index(segment.id(), &encode_index(identity, summary));
            // The segment may have been removed meanwhile, and its index file before it was there.
            if !self.writer().chain.iter().any(|kept| kept.id() == segment.id()) {
                let _ = self.fs.unlink(Dir::Root, &index_name(segment.id()));
            }
        }
        if self.has_superfluous_files() {
            self.reclaim()?;
        }
        Ok(())
    }

    /// What `try_write` could not wait for.
    fn make_room(&self) -> Result<()> {
        let (sync, rotate) = {
            let mut writer = self.writer();
            (std::mem::take(&mut writer.sync_due), std::mem::take(&mut writer.rotate_due))
        };
        if sync {
            self.sync_and_settle()?;
        }
        if rotate { self.rotate() } else { Ok(()) }
    }

    /// Whether proving the last trim or mark would let a file go. Most trims let none go, and a
    /// sync of their own would only compete with the writer's.
    fn has_superfluous_files(&self) -> bool {
        let writer = self.writer();
        let Some(last) = writer.removals.last() else { return false };
        let older = |s: &Arc<Segment>| s.state_empty || s.state_next <= last.first;
        let marked = writer.removals.iter().any(|r| r.marked);
        marked || writer.chain.iter().rposition(older).is_some_and(|at| at > 0)
    }

    fn fill_ahead(&self) -> Result<()> {
        loop {
            let (segment, offset, ahead) = {
                let writer = self.writer();
                (Arc::clone(&writer.segment), writer.offset, writer.ahead())
            };
            let (size, from) = (self.options.segment_size, segment.fence());
            if from >= size.min(offset + ahead) || self.wake.is_stopped() {
                return Ok(());
            }
            // Where much was written already, few syncs that take much along.
            segment.fill_step(size, (ahead / 4).max(STEP))?;
            // DURABILITY: a hint: the next sync of batches has less to do for what is begun now.
            segment.file.write_back(from, segment.fence() - from);
        }
    }

    /// Makes the file that the next rotation will use, in step with the writer: begun when three
    /// eighths of the segment are used, complete at seven, or as soon as the writer pauses. Whatever
    /// is on its way to the disk holds up the writer's next sync, so each step is small, and handed
    /// to the disk at once.
    fn prepare_spare(&self, seen: &mut Seen) -> Result<()> {
        let idle = seen.at.elapsed() >= self.options.idle_marker;
        let Some(due) = self.spare_due(idle) else { return Ok(()) };
        let mut half = match seen.spare.take() {
            Some(half) => half,
            None => match self.reuse(|| self.take_unnamed(&mut self.writer())) {
                Some(spare) => spare,
                None => self.begin_spare()?,
            },
        };
        let len = self.options.segment_size;
        while half.len < due && !self.wake.is_stopped() {
            let (step, is_late) = round(due - half.len, idle);
            let to = len.min(half.len + step);
            let filled = fill(&*half.file, half.len, to).and_then(|()| {
                half.file.write_back(half.len, to - half.len);
                // DURABILITY: for speed only: the zeros are on disk before batches replace them, and
                // no sync of batches waits behind more than one round.
                if is_late || to == len { half.file.sync() } else { Ok(()) }
            });
            if let Err(e) = filled {
                let _ = self.fs.unlink(Dir::Tmp, &half.name);
                let path = self.root().join(Dir::Tmp.name()).join(&half.name);
                return Err(Error::io("prepare", path, e));
            }
            half.len = to;
        }
        if half.len >= len {
            self.writer().spare = Some(half);
        } else {
            seen.spare = Some(half);
        }
        Ok(())
    }

    /// How much of a spare should be made by now; None where none is needed yet.
    fn spare_due(&self, idle: bool) -> Option<u64> {
        let writer = self.writer();
        let size = self.options.segment_size;
        // A segment that is hardly used needs no successor yet.
        let room = size - self.options.reserve();
        let used = writer.offset.checked_sub(3 * room / 8).filter(|_| writer.spare.is_none())?;
        Some(if idle { size } else { (2 * used * size / room).min(size) })
    }

    /// An empty file in `tmp/` that will be a spare.
    fn begin_spare(&self) -> Result<Spare> {
        let name = format!("spare-{}", segment_name(self.writer().segment.id() + 1));
        let path = self.root().join(Dir::Tmp.name()).join(&name);
        // DURABILITY: names in tmp/ need no directory sync; the next open removes what is left there.
        let _ = self.fs.unlink(Dir::Tmp, &name);
        let made = self.fs.create(Dir::Tmp, &name).and_then(|file| {
            file.allocate(self.options.segment_size)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Spare { name, file, len: 0, reused: false }),
            Err(e) => {
                let _ = self.fs.unlink(Dir::Tmp, &name);
                Err(Error::io("create", path, e))
            }
        }
    }

    /// Writes the index files of all segments sealed since the last time.
    pub(crate) fn write_indexes(&self, writer: &mut Writer) {
        for (segment, identity, summary) in std::mem::take(&mut writer.unindexed) {
            self.write_index(segment.id(), &encode_index(&identity, &summary));
        }
    }

    fn write_index(&self, id: u64, bytes: &[u8]) {
        let name = index_name(id);
        let written = (|| {
            let _ = self.fs.unlink(Dir::Tmp, &name);
            let file = self.fs.create(Dir::Tmp, &name)?;
            write_full(&*file, bytes, 0)?;
            // DURABILITY: no sync of file or directory is needed for correctness: an index that is
            // torn or missing is made again from the segment. This one spares the next open a scan.
            file.sync()?;
            self.fs.rename((Dir::Tmp, &name), (Dir::Root, &name))
        })();
        if let Err(e) = written {
            let _ = self.fs.unlink(Dir::Tmp, &name);
            tracing::debug!(segment = id, error = %e, "no index file");
        }
    }

    /// Syncs what is needed so that trimmed files may go, and removes them.
    pub(crate) fn reclaim(&self) -> Result<()> {
        let _span = tracing::debug_span!("reclaim").entered();
        if self.options.omit_sync != Some(SyncPoint::Trim) {
            self.sync_and_settle()?;
        }
        if matches!(self.options.omit_sync, Some(SyncPoint::Trim | SyncPoint::TrimMarker)) {
            let mut writer = self.writer();
            writer.stated_synced = writer.version.seq;
            self.remove_files(&mut writer);
            return Ok(());
        }
        {
            let mut writer = self.writer();
            writer.check_poison()?;
            let Some(last) = writer.removals.last() else { return Ok(()) };
            if writer.stated < last.seq && !self.marker(&mut writer)? {
                drop(writer);
                // No room for a marker: the successor's State says it as well.
                return self.rotate();
            }
        }
        self.sync_and_settle()
    }

    /// Removes what the provably durable trims, resets and marks have made superfluous, oldest
    /// first. Called with the writer locked, after `stated_synced` has risen.
    pub(crate) fn remove_files(&self, writer: &mut Writer) {
        let stated = writer.stated_synced;
        let Some(proven) = writer.removals.iter().rfind(|r| r.seq <= stated).copied() else {
            return;
        };
        writer.removals.retain(|r| r.seq > stated);
        let chain = &writer.chain;
        let oldest = chain.iter().rposition(|s| s.state_empty || s.state_next <= proven.first);
        let Some(oldest) = oldest.filter(|&at| at > 0) else { return self.retire(proven.mark) };
        let gone: Vec<Arc<Segment>> = writer.chain.drain(..oldest).collect();
        self.let_go(writer, &proven);
        for segment in gone {
            segment.leave();
            let id = segment.id();
            // DURABILITY: no directory sync: a name that comes back lies below the chain and is
            // recognised as a leftover.
            if !self.put_by(writer, &segment)
                && let Err(e) = self.fs.unlink(Dir::Root, &segment_name(id))
            {
                tracing::warn!(segment = id, error = %e, "a trimmed segment could not be removed");
                break;
            }
            let _ = self.fs.unlink(Dir::Root, &index_name(id));
        }
        self.retire(proven.mark);
    }

    /// Closes the files that were removed, as far as no reader holds them: else their space would
    /// not come free before enough was written to push old versions out of memory.
    fn let_go(&self, writer: &mut Writer, proven: &Removal) {
        let id = writer.segment.id();
        let trim = (proven.seq, proven.first);
        if let Some(last) = self.recent().release(trim, id, writer.durable_end) {
            writer.base = Base { end: last.end, version: last.after };
        }
        if writer.base.version.seq < proven.seq {
            Arc::make_mut(&mut writer.base.version).map.trim(proven.first);
        }
    }

    /// Removes snapshots older than `proven`, a mark that is provably durable.
    pub(crate) fn retire(&self, proven: Option<SnapshotMark>) {
        let Some(mark) = proven else { return };
        if let Err(e) = self.snapshots.remove_older(mark.id, self.options.snapshots_kept) {
            tracing::warn!(error = %e, "older snapshots could not be removed");
        }
    }

    /// Syncs, then wakes whoever waited for it, with no lock held.
    pub(crate) fn sync_and_settle(&self) -> Result<()> {
        let result = self.sync();
        self.watermark.settle();
        result
    }

    /// The log's owner is gone: nothing is written or synced any more.
    pub(crate) fn shut(&self) {
        self.wake.stop();
        self.scrub_wake.stop();
        {
            // Not lost with this process's memory, nor written after the lock is gone.
            let mut writer = self.writer();
            if let Err(e) = self.give_gathered(&mut writer) {
                tracing::warn!(error = %e, "what was gathered could not be written");
            }
            writer.halt = Some(Halt::Poisoned("the log was closed".to_owned()));
        }
        self.watermark.close();
    }
}

#[cfg(test)]
mod tests;
