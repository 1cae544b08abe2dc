//! Repair: what can be done about a log that an open refuses, said first and done then.
//!
//! ```text
//!   plan ─▶ Plan: what is wrong, what would be done, what would be lost, a digest of all that
//!     ╰─▶ apply: lock ─ plan again, same digest? ─ rails ─ backup ─ quarantine
//!               ─ new segment in tmp/, synced ─ RENAME ─ old files go ─ open ─ verify
//! ```
//!
//! No byte of a file that is there is ever rewritten. A repair writes one new segment, as every open
//! does: State, then the entries that the segments before it do not hold soundly, then a marker. Its
//! rename is the only commit point, so a repair that is cut off anywhere is planned and run again.
//! Sound older segments stay as they are and are the new one's predecessors.
//!
//! Above: `wal-tool`, and services that repair in process. Below: `inspect` (what is wrong), `salvage`
//! (what each entry is worth), `build` (the new segment).
//! INVARIANT: planning takes no lock and writes nothing. The same directory gives the same plan.
//! INVARIANT: an entry that is not whole, or that a lost batch may have replaced, is never called
//! sound; what cannot be proven is dropped by name or fetched from a replica, never guessed.
//! INVARIANT: an entry that can still be read is dropped only where the caller names exactly the range.
//! What it does not do: make a node safe that has lost what it acknowledged. `maybe_lost` stands in
//! the log then, and [`Plan::ways_out`] says what an operator may do.

mod apply;
mod backup;
mod build;
mod cursor;
mod ledger;
mod plan;
mod recover;
mod replica;
mod salvage;

use std::{fmt, ops::RangeInclusive};

use crate::{
    entry::{EntryId, Index, LogId},
    error::Error,
    fs::{Fs, LockState},
    inspect::{Finding, Outcome, Trouble},
    layout::SegmentId,
};

pub use self::{
    apply::{Applied, ApplyOptions, apply},
    backup::Linker,
    plan::plan,
    recover::{Recovered, recover},
};

/// What is wanted of a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The directory of a healthy peer, from which lost entries and snapshots are taken.
    pub replica: Option<&'a dyn Fs>,
    /// Drop all entries after this index.
    pub keep_to: Option<Index>,
    /// Drop all entries before this index.
    pub keep_from: Option<Index>,
}

/// Entries that a plan drops, or that are gone already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The first of them.
    pub first: Index,
    /// The last of them; None where nobody knows how many there were.
    pub last: Option<Index>,
    /// How many of them can still be read.
    pub complete: u64,
    /// How many of them were committed, by what the disk says: at least so many.
    pub committed: u64,
}

impl Loss {
    /// The range as it is given to `--accept-loss`: `47102..48230`, or `47102..`.
    #[must_use]
    pub fn range(&self) -> String {
        match self.last {
            Some(last) => format!("{}..{last}", self.first),
            None => format!("{}..", self.first),
        }
    }

    /// Whether `accepted` is exactly this range; an open end is `u64::MAX`.
    #[must_use]
    pub fn is(&self, accepted: &RangeInclusive<Index>) -> bool {
        (*accepted.start(), *accepted.end()) == (self.first, self.last.unwrap_or(Index::MAX))
    }
}

/// One thing that applying a plan does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The file, as it stands, is kept under this name in `quarantine/`.
    Quarantine(String),
    /// A snapshot is copied from the replica: entry, payload bytes.
    FetchSnapshot(EntryId, u64),
    /// The log counts on this snapshot from now on, or on none.
    FallBack(Option<EntryId>),
    /// A new segment is written: its number, the segment it goes on from, the entries written anew.
    Write(SegmentId, Option<SegmentId>, Option<(Index, Index)>),
    /// Entries in the new segment that come from the replica.
    Fetch(Index, Index),
    /// The file goes; what was bad in it is in quarantine.
    Remove(String),
    /// The log is opened once, which heals what opening heals.
    Open,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantine(name) => write!(f, "keep {name} in quarantine/ as it is"),
            Self::FetchSnapshot(id, len) => write!(
                f,
                "copy the snapshot of entry {} (term {}), {len} bytes, from the replica",
                id.index, id.term
            ),
            Self::FallBack(Some(id)) => {
                write!(f, "count on the older snapshot of entry {} (term {})", id.index, id.term)
            }
            Self::FallBack(None) => {
                f.write_str("count on no snapshot: the log goes back to its beginning")
            }
            Self::Write(id, after, entries) => {
                write!(f, "write segment {id}")?;
                match after {
                    Some(after) => write!(f, " behind segment {after}")?,
                    None => f.write_str(" in the place of all others")?,
                }
                match entries {
                    Some((first, last)) => write!(f, ", with entries {first}..{last}"),
                    None => f.write_str(", without entries"),
                }
            }
            Self::Fetch(first, last) => write!(f, "take entries {first}..{last} from the replica"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Open => f.write_str("open the log once, and close it"),
        }
    }
}

/// What would be done, and what would be lost. It holds for the directory as it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Names the log; None where no header can be read.
    pub log_id: Option<LogId>,
    /// Who has it open.
    pub lock: LockState,
    /// How the log was found.
    pub outcome: Outcome,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub troubles: Vec<Trouble>,
    /// The window, first and one past the last, as far as it is known.
    pub before: Option<(Index, Index)>,
    /// The window afterwards.
    pub after: Option<(Index, Index)>,
    /// Highest commit index that anything on the disk states.
    pub commit: Index,
    /// Entries at the end that are dropped or gone.
    pub loss: Option<Loss>,
    /// Entries at the front that are dropped, where that was asked for.
    pub trimmed: Option<Loss>,
    /// From here on entries may have been lost: nothing proves that they were durable, or that the
    /// replica has all of them.
    pub unproven: Option<Index>,
    /// Lowest index that the log itself will call lost, until that is acknowledged.
    pub maybe_lost: Option<Index>,
    /// A newer term, vote or promise slot may have been lost: the node may vote twice in a term.
    pub vows_doubtful: bool,
    /// Newer metadata may have been lost.
    pub slots_doubtful: bool,
    /// What is done, in order; empty where there is nothing to do.
    pub steps: Vec<Step>,
    /// Why nothing can be done here, if so.
    pub hopeless: Option<String>,
    /// Bytes that are written, the backup left out.
    pub bytes: u64,
    /// Names the plan: 16 hexadecimal digits.
    pub digest: String,
    pub(crate) work: Option<Box<plan::Work>>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.hopeless.is_none()
    }

    /// What has to be named exactly before it is dropped.
    #[must_use]
    pub fn to_accept(&self) -> Option<&Loss> {
        self.loss.as_ref().or(self.trimmed.as_ref())
    }

    /// What an operator can do, the safest first; empty where nothing is lost.
    #[must_use]
    pub fn ways_out(&self) -> Vec<&'static str> {
        if self.loss.is_none() && self.hopeless.is_none() && !self.vows_doubtful {
            return Vec::new();
        }
        let mut ways = vec![
            "copy what is lost from a healthy replica: --from-replica DIR; entries are checked by index, term and checksum",
            "rebuild the node under a new id: remove it from the cluster, empty the directory, add it again",
        ];
        if self.hopeless.is_none() {
            ways.push(
                "accept the loss: only safe while every committed entry is on a majority without this node; \
                 until it has caught up it must neither vote nor be counted",
            );
        }
        ways
    }
}

/// Why a repair was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// A rail: nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The log, or a disk.
    #[error(transparent)]
    Log(#[from] Error),
}

impl From<Refusal> for RepairError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A rail that holds a repair back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The directory is not as it was when the plan was made.
    #[error("the plan has the digest {now} now, not {given}: read it again")]
    PlanChanged {
        /// The digest that was given.
        given: String,
        /// The digest of the plan as it would be now.
        now: String,
    },
    /// Entries would be dropped, and their range was not named exactly.
    #[error("entries {0} would be dropped: that needs --accept-loss {0}")]
    LossNotAccepted(String),
    /// A loss was accepted that the plan does not have.
    #[error("the plan drops {planned}, and {given} was accepted")]
    OtherLoss {
        /// What the plan drops.
        planned: String,
        /// What was accepted.
        given: String,
    },
    /// There is nothing that this could do.
    #[error("{0}")]
    Hopeless(String),
    /// The disk has no room.
    #[error("{needed} bytes are needed in {place} and {free} are free")]
    NoRoom {
        /// Where.
        place: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The replica holds another entry than this log.
    #[error("the replica conflicts: its entry {index} is {theirs}, and here it is {ours}")]
    ReplicaConflicts {
        /// Index of the entry.
        index: Index,
        /// Term and checksum here.
        ours: String,
        /// Term and checksum there.
        theirs: String,
    },
    /// The place for the backup, or for the recovered log, is taken.
    #[error("{0} holds something else already")]
    PlaceTaken(String),
}
