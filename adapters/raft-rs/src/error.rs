//! What can go wrong beside the log itself, and how raft-rs is told.

use hardlog::Index;
use tikv_raft::StorageError;

/// Result of the write side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a write, or what was read, cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine said no. After `Full`, `TooLarge`, `Invalid`, `HardState` or `Trimmed` from
    /// [`write`](crate::LogStorage::write) nothing was written and the same Ready can be written
    /// again; after anything else the node must stop and open its log anew.
    #[error(transparent)]
    Log(#[from] hardlog::Error),
    /// Bytes of a snapshot could not be written or read.
    #[error("snapshot: {0}")]
    Snapshot(#[from] std::io::Error),
    /// The snapshot lies before what the log has given up already.
    #[error("snapshot at {index} is out of date: the log begins at {first}")]
    SnapshotOutOfDate {
        /// Last entry that the snapshot covers.
        index: Index,
        /// First index of the log.
        first: Index,
    },
    /// [`bootstrap`](crate::LogStorage::bootstrap) of a log that holds something.
    #[error("the log is not new")]
    NotNew,
    /// The log begins at index 0, which raft-rs keeps for "nothing".
    #[error("the log begins at index 0; raft-rs counts from 1")]
    IndexZero,
    /// An entry's tag or payload is nothing that this adapter writes.
    #[error("entry {0} was not written by this adapter")]
    ForeignEntry(Index),
    /// The membership beside the log or a snapshot is nothing that this adapter writes.
    #[error("the membership was not written by this adapter: {0}")]
    ForeignConfState(String),
}

impl From<Error> for tikv_raft::Error {
    /// `Compacted`, `Unavailable` and `SnapshotOutOfDate` where they fit; all else is `Other`.
    fn from(error: Error) -> Self {
        Self::Store(match error {
            Error::Log(hardlog::Error::Trimmed { .. }) => StorageError::Compacted,
            Error::Log(hardlog::Error::BeyondEnd { .. }) => StorageError::Unavailable,
            Error::SnapshotOutOfDate { .. } => StorageError::SnapshotOutOfDate,
            other => StorageError::Other(Box::new(other)),
        })
    }
}
