//! What can go wrong between openraft and the log.
//!
//! openraft 0.10 takes `io::Error`, in which this error is the source; 0.9 takes its own
//! `StorageError`, which says what was read or written and keeps this error's text.

use std::io;

use hardlog::Index;

use crate::codec::BoxError;

/// Why a call of openraft could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused or failed; see [`hardlog::Error`].
    #[error(transparent)]
    Log(#[from] hardlog::Error),
    /// The codec refuses what the log holds.
    #[error("{what} cannot be decoded: {source}")]
    Decode {
        /// What was to be decoded.
        what: What,
        /// What the codec says.
        source: BoxError,
    },
    /// The codec refuses what openraft wants to be written; nothing was written.
    #[error("{what} cannot be encoded: {source}")]
    Encode {
        /// What was to be encoded.
        what: What,
        /// What the codec says.
        source: BoxError,
    },
    /// The bytes of an entry decode to an entry of another index or leader.
    #[error("entry {index} holds the bytes of another entry")]
    OtherEntry {
        /// Index of the entry that was read.
        index: Index,
    },
    /// The leader id does not fit the two numbers of an entry's header, or they are none.
    #[error("the leader id at index {index} is not a term and a tag of 64 bits each")]
    Leader {
        /// Index of the entry.
        index: Index,
    },
    /// Writing, reading or restoring the application's state failed.
    #[error("the application's state: {0}")]
    App(io::Error),
    /// The system gave no thread.
    #[error("no thread for what would have to wait: {0}")]
    Thread(io::Error),
    /// The log was closed while the call waited.
    #[error("the log was closed")]
    Closed,
}

/// What a codec was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The entry of this index.
    Entry(Index),
    /// The vote.
    Vote,
    /// The id of the last committed entry.
    Committed,
    /// What stands beside a snapshot.
    SnapshotMeta,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(index) => write!(f, "entry {index}"),
            Self::Vote => f.write_str("the vote"),
            Self::Committed => f.write_str("the committed id"),
            Self::SnapshotMeta => f.write_str("the metadata of a snapshot"),
        }
    }
}

impl Error {
    pub(crate) fn decode(what: What, source: impl Into<BoxError>) -> Self {
        Self::Decode { what, source: source.into() }
    }

    pub(crate) fn encode(what: What, source: impl Into<BoxError>) -> Self {
        Self::Encode { what, source: source.into() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Log(hardlog::Error::Io { source, .. }) => source.kind(),
            Error::Log(hardlog::Error::Full { .. }) => io::ErrorKind::StorageFull,
            Error::Log(hardlog::Error::Corrupt(_))
            | Error::Decode { .. }
            | Error::OtherEntry { .. } => io::ErrorKind::InvalidData,
            Error::App(source) | Error::Thread(source) => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
