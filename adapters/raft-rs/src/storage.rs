//! LogStorage: raft-rs's `Storage` over a log, and what a node needs around it.
//!
//! Above: `RawNode`, which owns it and reads through the trait; the embedder, who writes through
//! `node.mut_store()`. Below: `hardlog`. The write side is in `write`, snapshots in `snapshot`.
//!
//! INVARIANT: what was written is read at once, durable or not: that is what raft-rs asks for
//! before `advance_append_async`.
//! INVARIANT: commit is never below the index before the first, nor below the newest marked
//! snapshot: raft-rs does not start from such a state.
//! Errors come where the crate's own memory storage has them; what it panics about when *writing*
//! (a gap, entries below the window) is an error here.

use std::sync::atomic::AtomicU64;

use hardlog::{Index, Log, Ticket};
use tikv_raft::{
    GetEntriesContext, RaftState, Storage,
    eraftpb::{ConfState, Entry, Snapshot},
    util::limit_size,
};

use crate::{
    convert,
    error::{Error, Result},
    snapshot::SnapshotData,
};

/// The metadata slot of the log that holds the membership. All others are free.
pub const CONF_STATE_SLOT: u64 = 1;

/// A log as raft-rs's storage.
///
/// See the [crate's page](crate) for how a node is driven with it.
#[derive(Debug)]
pub struct LogStorage {
    pub(crate) log: Log,
    pub(crate) snapshot_data: SnapshotData,
    /// The last write that must be durable before its Ready counts as persisted.
    pub(crate) must: Ticket,
    /// One more than the lowest index a snapshot was asked for; 0 while none is.
    pub(crate) wanted: AtomicU64,
}

impl LogStorage {
    /// Takes a log over, new or old. A new one must be [bootstrapped](Self::bootstrap), unless the
    /// node joins a group that exists: then it gets everything from its leader.
    ///
    /// Look at `RecoveryReport::maybe_lost` before: power cuts set it too, but where entries that
    /// this node acknowledged may be gone, it has to be removed from the group and added again.
    ///
    /// # Errors
    /// `IndexZero`; `ForeignConfState` where slot [`CONF_STATE_SLOT`] holds something else.
    pub fn new(log: Log) -> Result<Self> {
        if log.first_log_index() == 0 {
            return Err(Error::IndexZero);
        }
        let must = log.written();
        let snapshot_data = SnapshotData::default();
        let storage = Self { log, snapshot_data, must, wanted: AtomicU64::new(0) };
        storage.conf_state()?;
        Ok(storage)
    }

    /// Chooses how the bytes of snapshots travel.
    #[must_use]
    pub fn with_snapshot_data(self, snapshot_data: SnapshotData) -> Self {
        Self { snapshot_data, ..self }
    }

    /// Whether the node knows a membership: from a bootstrap, a snapshot or a change.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.log.meta(CONF_STATE_SLOT).is_some()
    }

    /// The membership, and the index of the entry or snapshot that made it so; 0 and nobody in a
    /// new log.
    ///
    /// While entries are applied again after a restart, the membership is ahead of them: leave out
    /// `apply_conf_change` for a change at or below this index.
    ///
    /// # Errors
    /// `ForeignConfState`, which [`LogStorage::new`] has excluded.
    pub fn conf_state(&self) -> Result<(Index, ConfState)> {
        let slot = self.log.meta(CONF_STATE_SLOT);
        slot.map_or_else(|| Ok((0, ConfState::default())), |bytes| convert::read_members(&bytes))
    }

    /// The log: for its reader, syncer, window and metadata.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, to write what is the embedder's own: metadata slots other than
    /// [`CONF_STATE_SLOT`], or [`Log::reclaim`]. Entries and hard state belong to raft-rs.
    #[must_use]
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Ends in order: see [`Log::close`].
    ///
    /// # Errors
    /// As [`Log::close`].
    pub fn close(self) -> Result<()> {
        Ok(self.log.close()?)
    }

    /// # Errors
    /// `Trimmed` and `BeyondEnd`, which become `Compacted` and `Unavailable`.
    fn term_at(&self, index: Index) -> Result<u64> {
        // Before the first entry of all there is nothing, and nothing has term 0.
        if index == 0 && self.log.first_log_index() == 1 {
            return Ok(0);
        }
        Ok(self.log.term_at(index)?)
    }

    fn entries_between(&self, low: Index, high: Index, max: Option<u64>) -> Result<Vec<Entry>> {
        let (first, next) = (self.log.first_log_index(), self.log.next_log_index());
        if low < first {
            return Err(hardlog::Error::Trimmed { index: low, first }.into());
        }
        assert!(high <= next, "entries up to {high} were asked for, and the log ends at {next}");
        // The limit is meant for encoded entries, which are larger than payloads: cut again below.
        let kept = self.log.entries(low..high, max.unwrap_or(u64::MAX));
        let read = kept.map(|entry| convert::to_raft(entry?));
        let mut entries = read.collect::<Result<Vec<_>>>()?;
        limit_size(&mut entries, max);
        Ok(entries)
    }
}

/// Reads. Errors but `Compacted`, `Unavailable` and `SnapshotTemporarilyUnavailable` (of damage, of
/// the disk) end in a panic of raft-rs: it has no way to go on without its log.
impl Storage for LogStorage {
    fn initial_state(&self) -> tikv_raft::Result<RaftState> {
        let hard_state = convert::raft_hard_state(self.log.hard_state());
        Ok(RaftState::new(hard_state, self.conf_state()?.1))
    }

    /// Never asynchronous: the context is not looked at.
    ///
    /// # Panics
    /// If `high` lies beyond the end, as the trait says.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> tikv_raft::Result<Vec<Entry>> {
        Ok(self.entries_between(low, high, max_size.into())?)
    }

    fn term(&self, index: u64) -> tikv_raft::Result<u64> {
        Ok(self.term_at(index)?)
    }

    fn first_index(&self) -> tikv_raft::Result<u64> {
        Ok(self.log.first_log_index())
    }

    fn last_index(&self) -> tikv_raft::Result<u64> {
        // INVARIANT: the first index is at least 1.
        Ok(self.log.next_log_index() - 1)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> tikv_raft::Result<Snapshot> {
        self.snapshot_for(request_index)
    }
}
