//! Receiving a snapshot from a peer, in pieces that may come twice, late, or again after a break.
//!
//! Above: the driver of a Raft node that is being sent a snapshot. Below: `writer`.
//!
//! INVARIANT: how much will come is known before the first byte, and no byte beyond it is taken.
//! INVARIANT: nothing of the peer becomes a name, and the file carries this log's own id.
//! The caller keeps the receiver while connections come and go: a sender goes on at
//! [`SnapshotReceiver::accepted`]. It does not outlive the process: open empties `tmp/`.

use std::io::Write;

use bytes::Bytes;

use super::SnapshotWriter;
use crate::{
    batch::SnapshotMark,
    entry::EntryId,
    error::{Error, Misfit, Result},
};

/// What a sender says of a snapshot before it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotOffer {
    /// Last entry that the snapshot covers.
    pub id: EntryId,
    /// What stands beside the payload; at most 64 KiB.
    pub meta: Bytes,
    /// Payload bytes.
    pub len: u64,
    /// CRC-32 of the payload bytes, compared before the file gets its name, if given.
    pub crc: Option<u32>,
}

/// A snapshot that is being received; see [`SnapshotStore::receive`](super::SnapshotStore::receive).
/// Dropped without `commit` it leaves no trace.
#[derive(Debug)]
pub struct SnapshotReceiver {
    writer: SnapshotWriter,
    offer: SnapshotOffer,
}

impl SnapshotReceiver {
    pub(super) fn new(writer: SnapshotWriter, offer: SnapshotOffer) -> Self {
        Self { writer, offer }
    }

    /// What was offered.
    #[must_use]
    pub fn offer(&self) -> &SnapshotOffer {
        &self.offer
    }

    /// Payload bytes taken so far: where the sender goes on.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.writer.len()
    }

    /// Whether all bytes are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.accepted() == self.offer.len
    }

    /// Takes the payload bytes from `offset` on, and returns [`SnapshotReceiver::accepted`].
    /// Bytes that were taken before are skipped unread, so a piece may come twice or overlap.
    ///
    /// # Errors
    /// `Invalid` where bytes are missing before `offset` or lie beyond the announced end: nothing
    /// was taken, and the receiver goes on. `Full` and `Io` end it: drop it and begin again.
    pub fn write_chunk(&mut self, offset: u64, bytes: &[u8]) -> Result<u64> {
        let (accepted, total) = (self.accepted(), self.offer.len);
        if offset > accepted {
            return Err(Error::Invalid(Misfit::SnapshotGap { offset, accepted }));
        }
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= total);
        if end.is_none() {
            let len = offset.saturating_add(bytes.len() as u64);
            return Err(Error::Invalid(Misfit::SnapshotLen { len, total }));
        }
        // What does not fit a usize lies beyond the bytes, which do.
        let known = usize::try_from(accepted - offset).unwrap_or(usize::MAX);
        let fresh = bytes.get(known..).unwrap_or_default();
        if let Some(why) = self.writer.failure() {
            return Err(Error::Poisoned { why: why.to_owned() });
        }
        let written = self.writer.write_all(fresh);
        written.map_err(|e| Error::io("write", self.writer.tmp_path(), e))?;
        Ok(self.accepted())
    }

    /// As [`SnapshotWriter::commit`], once everything is there and is what was announced.
    ///
    /// # Errors
    /// `Invalid` when bytes are missing or their checksum is not the announced one; and those of
    /// [`SnapshotWriter::commit`]. What was received is gone then.
    pub fn commit(self) -> Result<SnapshotMark> {
        let (len, total) = (self.accepted(), self.offer.len);
        if len != total {
            return Err(Error::Invalid(Misfit::SnapshotLen { len, total }));
        }
        let found = self.writer.payload_crc();
        match self.offer.crc {
            Some(expected) if expected != found => {
                Err(Error::Invalid(Misfit::SnapshotCrc { found, expected }))
            }
            _ => self.writer.commit(),
        }
    }
}
