//! What can go wrong, in three families: the world failed, the data is damaged, the request cannot
//! be met.

use std::{io, path::PathBuf};

use crate::{
    entry::{EntryId, Index},
    hard_state::HardStateError,
};

/// Result of the engine's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the engine could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- the world failed
    /// The operating system said no. Whether a write or sync that failed took effect is unknown.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was being done.
        op: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room: ENOSPC, a quota, or a file size limit. The log stays readable, can be trimmed and
    /// can vote; appends go on once there is room.
    #[error("{op} {}: no room: {source}", path.display())]
    Full {
        /// What was being done.
        op: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    // ---- the data is damaged
    /// Bytes that were durable are damaged. Nothing was changed on disk.
    #[error("{0}")]
    Corrupt(Box<Damage>),
    /// The entry's id is known and its bytes are bad (`OnDamage::Faulty`): ask a peer for it and
    /// hand it to `Log::refill`.
    #[error("entry {} of term {} is faulty: its bytes are damaged", id.index, id.term)]
    Faulty {
        /// Which entry.
        id: EntryId,
    },

    // ---- the request cannot be met
    /// The index lies below the window.
    #[error("index {index} was trimmed: the log begins at {first}")]
    Trimmed {
        /// What was asked for.
        index: Index,
        /// First index of the window.
        first: Index,
    },
    /// The index lies beyond the last entry.
    #[error("index {index} is beyond the end: the next entry is {next}")]
    BeyondEnd {
        /// What was asked for.
        index: Index,
        /// One past the last entry.
        next: Index,
    },
    /// Somebody has the log open.
    #[error("{} is locked{}", path.display(), holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    Locked {
        /// The log's directory.
        path: PathBuf,
        /// What the holder says of itself.
        holder: Option<String>,
    },
    /// The entry or batch is larger than the log takes; nothing was written.
    #[error("{len} bytes are too many: the limit is {max}")]
    TooLarge {
        /// Bytes needed.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// An earlier write or sync failed and the log could not go on: reopen it. Reads still work.
    #[error("the log stopped after an earlier failure ({why}); reopen it")]
    Poisoned {
        /// The first failure.
        why: String,
    },
    /// `try_write` would have had to wait.
    #[error("the write would have to wait")]
    WouldBlock,
    /// The directory holds a log already, or leftovers of one.
    #[error("{} holds a log already ({found})", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// There is no log in the directory.
    #[error("{} holds no log", path.display())]
    NotALog {
        /// The directory.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("{}: format {found} is newer than {supported}, the newest this version reads", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this version reads.
        supported: String,
    },
    /// The hard state may not change like that.
    #[error("the hard state may not change like that: {0:?}")]
    HardState(HardStateError),
    /// The batch does not fit the log; nothing was written.
    #[error("the batch does not fit the log: {0}")]
    Invalid(Misfit),
    /// An option is out of range.
    #[error("{what}")]
    Options {
        /// Which, and its range.
        what: &'static str,
    },
}

/// Why a batch does not fit the log as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Entries must begin right after the last one.
    #[error("entry {found} where {expected} was expected")]
    Gap {
        /// Index of the entry.
        found: Index,
        /// Index it should have had.
        expected: Index,
    },
    /// Terms never go back from one entry to the next.
    #[error("term goes back from {before} to {found}")]
    TermWentBack {
        /// Term of the entry before.
        before: u64,
        /// Term of the entry.
        found: u64,
    },
    /// What is committed is never truncated.
    #[error("truncation from {from} would drop entries committed up to {commit}")]
    Committed {
        /// First index to be dropped.
        from: Index,
        /// Commit index.
        commit: Index,
    },
    /// Indexes end at `u64::MAX - 1`.
    #[error("the index space is exhausted")]
    IndexSpace,
    /// The index to trim or truncate to lies outside the window.
    #[error("index {index} lies outside the window {first}..{next}")]
    OutsideWindow {
        /// What was asked for.
        index: Index,
        /// First index of the window.
        first: Index,
        /// One past the last entry.
        next: Index,
    },
    /// The id before the window does not lie just below it, or contradicts the one that the log
    /// holds there.
    #[error("the id before the window must lie just below it, and be the one that the log knows")]
    BadPrevious,
    /// At most 16 slots of at most 4 KiB each.
    #[error("metadata slots: at most 16, of at most 4096 bytes")]
    Slots,
    /// A slot's class is fixed when it is first written.
    #[error("the class of metadata slot {0} may not change")]
    SlotClass(u64),
    /// Only a faulty entry can be refilled, and only with its own id.
    #[error("entry {0} is not faulty, or the id differs")]
    NotFaulty(Index),
    /// A piece of a snapshot came before those ahead of it.
    #[error("a snapshot's bytes from {offset} on, where those from {accepted} on come next")]
    SnapshotGap {
        /// Where the piece begins, in payload bytes.
        offset: u64,
        /// Payload bytes received so far.
        accepted: u64,
    },
    /// More or fewer bytes of a snapshot than were announced.
    #[error("{len} bytes of a snapshot that was announced with {total}")]
    SnapshotLen {
        /// Payload bytes received.
        len: u64,
        /// Payload bytes announced.
        total: u64,
    },
    /// The bytes received are not those that were announced.
    #[error("the received snapshot has checksum {found:08x} where {expected:08x} was announced")]
    SnapshotCrc {
        /// CRC of the payload received.
        found: u32,
        /// CRC announced.
        expected: u32,
    },
}

/// Damage with everything an operator needs to decide.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Entries concerned, first and last, where they are known.
    pub indexes: Option<(Index, Index)>,
    /// What is wrong.
    pub reason: Reason,
    /// Why this is damage and not a torn write.
    pub evidence: Evidence,
}

/// What is wrong with damaged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Neither copy of the segment's header is valid.
    Header,
    /// The two copies of the header are valid and differ.
    HeaderCopiesDiffer,
    /// A file of another log.
    ForeignLog,
    /// The State batch that begins a segment is missing or bad.
    State,
    /// A batch's head does not check.
    BatchHead,
    /// A payload does not check; the entry is known.
    Payload,
    /// A batch or marker is missing.
    MissingBatch,
    /// A segment is missing or is not the predecessor that its successor names.
    MissingSegment,
    /// The entries have a hole, or begin elsewhere than after the last.
    Entries,
    /// A snapshot is marked in the log and there is no such file.
    MissingSnapshot,
    /// A snapshot file does not check.
    Snapshot,
    /// A valid batch says something no version of this log writes.
    Meaning,
}

/// What proves that the damaged bytes were durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evidence {
    /// The segment's own header states them durable before the file had its name (`born_end`).
    BornEnd(u64),
    /// The successor states that the segment was durable up to here.
    SealedEnd(u64),
    /// The index file says that the segment was sealed, and its successor is gone.
    IndexWithoutSuccessor,
    /// A later batch, at this offset, states that the sequence was durable.
    LaterBatch {
        /// Offset of that batch.
        offset: u64,
        /// Highest sequence it states durable.
        durable: u64,
    },
    /// The chain of segments, or what is said about it, does not fit.
    Chain,
    /// The bytes were verified when they were read before, or lie in a sealed file.
    Sealed,
    /// The file carries a checksum of all its bytes.
    WholeFile,
    /// The log marks the snapshot, and writes a mark only when the snapshot is durable.
    Marked,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is corrupt at offset {:#x}: {}",
            self.file.display(),
            self.offset,
            self.reason
        )?;
        if let Some((first, last)) = self.indexes {
            write!(f, ", entries {first}..={last}")?;
        }
        // A snapshot lies one directory below the log.
        let dir = self.file.parent().filter(|dir| !dir.ends_with("snapshots"));
        let dir = dir.or_else(|| self.file.parent()?.parent()).unwrap_or(&self.file).display();
        write!(f, "; proof: {}; nothing was changed; next: wal-tool verify {dir}", self.evidence)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "both copies of the header are bad",
            Self::HeaderCopiesDiffer => "the two copies of the header differ",
            Self::ForeignLog => "the file belongs to another log",
            Self::State => "the State batch is bad",
            Self::BatchHead => "a batch's head does not check",
            Self::Payload => "a payload does not check",
            Self::MissingBatch => "a batch is missing",
            Self::MissingSegment => "a segment is missing",
            Self::Entries => "the entries do not follow each other",
            Self::MissingSnapshot => "a marked snapshot is missing",
            Self::Snapshot => "the snapshot does not check",
            Self::Meaning => "a valid batch means nothing that this log writes",
        })
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BornEnd(end) => {
                write!(f, "all before offset {end:#x} was synced before the file got its name")
            }
            Self::SealedEnd(end) => {
                write!(f, "the successor states this file durable up to offset {end:#x}")
            }
            Self::IndexWithoutSuccessor => {
                f.write_str("the index file says that a successor existed, and it is gone")
            }
            Self::LaterBatch { offset, durable } => {
                write!(
                    f,
                    "the batch at offset {offset:#x} states everything up to sequence {durable} durable"
                )
            }
            Self::Chain => f.write_str("the chain of segments does not fit"),
            Self::Sealed => f.write_str("the bytes lie in a sealed, synced file"),
            Self::WholeFile => f.write_str("the file's own checksum"),
            Self::Marked => f.write_str("the log marks it, which it does only once it is durable"),
        }
    }
}

impl Error {
    /// Wraps an error of the system, telling a full disk from the rest.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if crate::fs::is_full(&source) {
            Self::Full { op, path, source }
        } else {
            Self::Io { op, path, source }
        }
    }
}
