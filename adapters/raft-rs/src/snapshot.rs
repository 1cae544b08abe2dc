//! Snapshots: raft-rs's message ↔ a file of the SnapshotStore, and the mark in the log.
//!
//! ```text
//!  begin_snapshot ─▶ SnapshotWriter ─ write, commit ─▶ mark_snapshot ─▶ compact
//!  Storage::snapshot ◀─ newest marked file, or SnapshotTemporarilyUnavailable and snapshot_wanted
//!  restore ◀─ at a restart: what the state machine begins with
//! ```
//!
//! Above: `storage` (reads), `write` (installs), the embedder. Below: `hardlog::SnapshotStore`.
//!
//! INVARIANT: the membership stands in the snapshot's own file, and goes from there into the log in
//! the batch of the mark.

use std::{
    io::{Read, Write},
    sync::atomic::Ordering,
};

use hardlog::{Batch, Class, EntryId, Index, SnapshotMark, SnapshotReader, SnapshotWriter, Ticket};
use tikv_raft::{
    StorageError,
    eraftpb::{ConfState, Snapshot, SnapshotMetadata},
};

use crate::{
    convert,
    error::{Error, Result},
    storage::{CONF_STATE_SLOT, LogStorage},
    write::{Installed, commit_to},
};

/// How the bytes of a snapshot get from the leader to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotData {
    /// In raft-rs's own message, whole and in memory, up to so many bytes; 64 MiB by default.
    InMessage {
        /// Largest snapshot, in bytes.
        max: u64,
    },
    /// The message carries only the metadata. The embedder moves the file from
    /// `SnapshotStore::open` (its `offer`) to `SnapshotStore::receive` and its `commit`, and only
    /// then steps the message at the follower.
    Aside,
}

impl Default for SnapshotData {
    fn default() -> Self {
        Self::InMessage { max: 64 << 20 }
    }
}

impl LogStorage {
    /// Begins a snapshot of the state machine as of `index`, whose membership then was `members`.
    /// The writer may go to another thread; its `commit` returns the mark.
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd` where the log does not know the term of `index`; `Io`, `Full`.
    pub fn begin_snapshot(&self, index: Index, members: &ConfState) -> Result<SnapshotWriter> {
        let id = EntryId::new(index, self.log.term_at(index)?);
        Ok(self.log.snapshots().begin(id, &convert::members(index, members)?)?)
    }

    /// Makes a finished snapshot the one that counts: for [`restore`](Self::restore) and for
    /// followers. Membership and commit follow in the same batch where they are older. One that is
    /// older than the marked one is left alone. What it covers may be [compacted](Self::compact).
    ///
    /// # Errors
    /// `TooLarge` where it fits no message; `ForeignConfState`; `Full`, `Io`, `Poisoned`.
    pub fn mark_snapshot(&mut self, mark: SnapshotMark) -> Result<Ticket> {
        if self.log.snapshot_mark().is_some_and(|newest| mark.id.index < newest.id.index) {
            return Ok(self.log.written());
        }
        let file = self.log.snapshots().open(mark.id)?;
        self.fits_message(file.len())?;
        let (index, _) = convert::read_members(file.meta())?;
        let mut batch = Batch::new();
        commit_to(&mut batch, &self.log, index);
        batch.snapshot_mark(mark);
        if index >= self.conf_state()?.0 {
            batch.meta(CONF_STATE_SLOT, Class::Ordered, file.meta().clone());
        }
        let ticket = self.log.write(&batch)?;
        self.no_longer_wanted(index);
        Ok(ticket)
    }

    /// The index that a snapshot must reach, if raft-rs has asked for one that is not there: make
    /// one and [mark](Self::mark_snapshot) it. Until then a follower waits.
    #[must_use]
    pub fn snapshot_wanted(&self) -> Option<Index> {
        self.wanted.load(Ordering::Relaxed).checked_sub(1)
    }

    /// What the state machine begins with after a restart: the marked snapshot, or an older one
    /// that the log reaches back to where that is damaged. Set `Config::applied` to its index.
    ///
    /// # Errors
    /// `Corrupt`, `Io` where no snapshot serves.
    pub fn restore(&self) -> Result<Option<(SnapshotMetadata, SnapshotReader)>> {
        let Some(mark) = self.log.snapshot_mark() else { return Ok(None) };
        let store = self.log.snapshots();
        let usable = store.usable(mark.id, self.log.first_log_index())?;
        let file = store.open(usable.id)?;
        Ok(Some((metadata(&file)?, file)))
    }

    /// What [`Storage::snapshot`](tikv_raft::Storage::snapshot) answers.
    pub(crate) fn snapshot_for(&self, request_index: Index) -> tikv_raft::Result<Snapshot> {
        match self.newest(request_index) {
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => {}
            // raft-rs would panic. The node can still lead: a new snapshot heals this.
            Err(error) => {
                tracing::warn!(%error, "the snapshot cannot be sent: a new one is wanted")
            }
        }
        self.wanted.fetch_max(request_index.saturating_add(1), Ordering::Relaxed);
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }

    /// The marked snapshot, if it reaches `request_index` and the log goes on from it.
    fn newest(&self, request_index: Index) -> Result<Option<Snapshot>> {
        let floor = request_index.max(self.log.first_log_index().saturating_sub(1));
        let Some(mark) = self.log.snapshot_mark().filter(|mark| mark.id.index >= floor) else {
            return Ok(None);
        };
        let mut file = self.log.snapshots().open(mark.id)?;
        let mut snapshot = Snapshot::default();
        if let SnapshotData::InMessage { .. } = self.snapshot_data {
            self.fits_message(file.len())?;
            let mut data = Vec::new();
            file.read_to_end(&mut data)?;
            snapshot.data = data.into();
        }
        *snapshot.mut_metadata() = metadata(&file)?;
        Ok(Some(snapshot))
    }

    /// Makes the leader's snapshot a durable file of this log, and tells what goes into the batch.
    pub(crate) fn install(&self, snapshot: &Snapshot) -> Result<Installed> {
        let meta = snapshot.get_metadata();
        let id = EntryId::new(meta.index, meta.term);
        let first = self.log.first_log_index();
        let again = self.log.prev_id().is_some_and(|p| (p.index, p.term) == (id.index, id.term));
        if id.index < first && !again {
            return Err(Error::SnapshotOutOfDate { index: id.index, first });
        }
        let members = convert::members(id.index, meta.get_conf_state())?;
        let store = self.log.snapshots();
        let mark = match self.snapshot_data {
            SnapshotData::Aside => store.open(id)?.mark(),
            SnapshotData::InMessage { .. } => {
                // DURABILITY: file and name, by `commit`, before a batch marks them.
                let mut file = store.begin(id, &members)?;
                file.write_all(snapshot.get_data())?;
                file.commit()?
            }
        };
        Ok(Installed { id, mark, members })
    }

    pub(crate) fn no_longer_wanted(&self, index: Index) {
        // The thread of the node is the only one that writes it.
        if self.snapshot_wanted().is_some_and(|wanted| wanted <= index) {
            self.wanted.store(0, Ordering::Relaxed);
        }
    }

    fn fits_message(&self, len: u64) -> Result<()> {
        match self.snapshot_data {
            SnapshotData::InMessage { max } if len > max => {
                Err(hardlog::Error::TooLarge { len, max }.into())
            }
            SnapshotData::InMessage { .. } | SnapshotData::Aside => Ok(()),
        }
    }
}

/// raft-rs's description of a snapshot file.
fn metadata(file: &SnapshotReader) -> Result<SnapshotMetadata> {
    let (_, members) = convert::read_members(file.meta())?;
    let mut made = SnapshotMetadata::default();
    (made.index, made.term) = (file.id().index, file.id().term);
    made.set_conf_state(members);
    Ok(made)
}
