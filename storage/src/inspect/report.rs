//! What inspection hands out: the summary of a log, a row per segment, and the verdict on it all.
//!
//! Above: callers. Below: `verify` and `status`, which fill it in. Pure.

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;

use crate::{
    batch::{Class, SnapshotMark},
    entry::{EntryId, Index, LogId, Term},
    fs::LockState,
    hard_state::HardState,
    inspect::{
        finding::{Finding, Severity, Trouble},
        snapshots::SnapshotReport,
    },
    layout::SegmentId,
};

/// What a log says of itself as a whole: what an open would find.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Names the log; None where no header of a segment could be read.
    pub log_id: Option<LogId>,
    /// First index of the window and one past the last; None where that is not known.
    pub window: Option<(Index, Index)>,
    /// Id of the entry just before the window, if known.
    pub prev: Option<EntryId>,
    /// Id of the last entry, if known.
    pub last: Option<EntryId>,
    /// Term, vote and commit.
    pub hard_state: HardState,
    /// Metadata slots in use.
    pub slots: usize,
    /// The metadata slots: key, class, value.
    pub meta: Vec<(u64, Class, Bytes)>,
    /// The newest snapshot mark.
    pub mark: Option<SnapshotMark>,
    /// Lowest index that lost bytes can have touched, until somebody acknowledges it.
    pub maybe_lost: Option<Index>,
}

/// What a segment is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The newest one, which is written to while the log is open.
    Active,
    /// It has a successor, which states where it ends.
    Sealed,
    /// The chain does not need it: left behind by a trim or a recovery.
    Leftover,
    /// Neither copy of its header can be read.
    Unreadable,
}

impl Role {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Sealed => "sealed",
            Self::Leftover => "leftover",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A row about one segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentReport {
    /// Its number.
    pub id: SegmentId,
    /// Its file.
    pub file: PathBuf,
    /// What it is to the log.
    pub role: Role,
    /// Bytes of the file.
    pub len: u64,
    /// Where its batches end, in bytes.
    pub end: u64,
    /// When it was begun, since 1970.
    pub created: Duration,
    /// One past the last index when it was begun: where its entries begin.
    pub begins: Option<Index>,
    /// First and last of its entries that the window counts on; None where there are none.
    pub live: Option<(Index, Index)>,
    /// What was counted in it; None where the index file was believed instead.
    pub contents: Option<Contents>,
    /// A good index file stands beside it.
    pub indexed: bool,
}

/// What was counted in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// Lowest and highest index of the entries, truncated ones too.
    pub indexes: Option<(Index, Index)>,
    /// Lowest and highest term of the entries.
    pub terms: Option<(Term, Term)>,
    /// Batches, State and markers left out.
    pub batches: u64,
    /// Markers.
    pub markers: u64,
    /// Entries.
    pub entries: u64,
    /// Payload bytes of the entries.
    pub bytes: u64,
}

/// How a verification ended; the number is the exit code of `wal-tool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong.
    Clean = 0,
    /// Only what opening heals by itself, or what nothing counts on.
    Heals = 1,
    /// Damage that needs an operator.
    Damaged = 3,
    /// Something could not be read.
    Unreadable = 4,
    /// A newer version wrote it.
    NewerFormat = 7,
}

impl Outcome {
    /// The exit code of `wal-tool`.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// A word or two, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "CLEAN",
            Self::Heals => "HEALS ON OPEN",
            Self::Damaged => "DAMAGED",
            Self::Unreadable => "UNREADABLE",
            Self::NewerFormat => "NEWER FORMAT",
        }
    }
}

/// Everything that was found. [`Display`](fmt::Display) is one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The directory.
    pub path: PathBuf,
    /// Who has it open.
    pub lock: LockState,
    /// The log as a whole.
    pub summary: Summary,
    /// A row per segment, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Snapshot files, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// What is wrong, by file and offset.
    pub findings: Vec<Finding>,
    /// Findings that were counted and not kept.
    pub omitted: u64,
    /// What could not be looked at.
    pub troubles: Vec<Trouble>,
    /// Names that are none of this log's.
    pub foreign: Vec<String>,
    /// Bytes of the log's files.
    pub bytes: u64,
    /// Only headers, index files, the last segment and the ends of snapshots were read.
    pub quick: bool,
    /// How long it took.
    pub took: Duration,
}

impl VerifyReport {
    /// The verdict.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let newer = |trouble: &Trouble| matches!(trouble, Trouble::NewerFormat { .. });
        if self.troubles.iter().any(newer) {
            Outcome::NewerFormat
        } else if self.count(Severity::Error) > 0 {
            Outcome::Damaged
        } else if !self.troubles.is_empty() {
            Outcome::Unreadable
        } else if self.count(Severity::Warning) > 0 || self.omitted > 0 {
            Outcome::Heals
        } else {
            Outcome::Clean
        }
    }

    /// How many findings are that bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The errors that concern entries at or below the commit index: those were acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Finding> {
        let commit = self.summary.hard_state.commit;
        self.findings.iter().filter(move |finding| {
            finding.severity == Severity::Error
                && finding.indexes.is_some_and(|(first, _)| first <= commit)
        })
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome().name())?;
        match self.summary.window {
            Some((first, next)) if first < next => write!(f, ": log {first}..={}", next - 1)?,
            Some((first, _)) => write!(f, ": empty log, the next entry is {first}")?,
            None => write!(f, ": window unknown")?,
        }
        let HardState { term, commit, .. } = self.summary.hard_state;
        let segments = self.segments.len();
        write!(f, ", term {term}, commit {commit}, {segments} segments, {} bytes", self.bytes)?;
        let worst = self.findings.iter().max_by_key(|finding| finding.severity);
        match worst.filter(|worst| worst.severity > Severity::Note) {
            Some(worst) => {
                let (errors, warnings) =
                    (self.count(Severity::Error), self.count(Severity::Warning));
                write!(f, ", {errors} errors, {warnings} warnings; {worst}")
            }
            None => match self.troubles.first() {
                Some(trouble) => write!(f, "; {trouble}"),
                None => write!(f, ", nothing is wrong"),
            },
        }
    }
}
