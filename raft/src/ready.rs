//! What the core wants done: saved, sent, applied, in which order.
//!
//! A driver takes a [`Ready`], hands its save to the log as one batch, sends what may leave at
//! once, keeps the promises until the log's watermark covers them, and tells the core.
//! The order of the first two does not matter: a leader's AppendEntries run in parallel with its
//! own disk write.

use hardlog::{Entry, EntryId, HardState, Index};

use crate::{
    core::Configuration,
    durable::{Promise, SaveNumber},
    message::{Message, NodeId, SnapshotChunk},
};

/// One round of work.
#[derive(Debug, Default)]
#[must_use]
pub struct Ready {
    /// To be written as one batch; the core keeps it until [`Core::saved`](crate::Core::saved).
    pub save: Option<Save>,
    /// May leave at once.
    pub send: Vec<Message>,
    /// May leave once the log's watermark covers them.
    pub promises: Vec<Promise<Message>>,
    /// Highest index that is committed and durable here: may be applied.
    pub apply_to: Index,
    /// Reads whose index is known to be current.
    pub reads: Vec<ReadReady>,
    /// Reads that this node can no longer answer, since it does not lead.
    pub reads_lost: Vec<ReadToken>,
    /// What concerns snapshots.
    pub snapshots: Snapshots,
}

/// Snapshots that are wanted or come in. The core decides who needs one and which counts; it never
/// sees their bytes.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Followers that need entries which are trimmed here: send them a snapshot.
    pub wanted: Vec<NodeId>,
    /// Answers of followers to chunks: who, which snapshot, where to go on.
    pub chunks_wanted: Vec<(NodeId, EntryId, u64)>,
    /// Chunks that came from the leader.
    pub chunks: Vec<(NodeId, SnapshotChunk)>,
}

/// Names a read for whoever asked.
pub type ReadToken = u64;

/// A read may be answered once `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// Which read.
    pub token: ReadToken,
    /// What must be applied first.
    pub index: Index,
}

/// The difference between what the log holds and what the core holds: one batch, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// Its number; promises refer to it.
    pub number: SaveNumber,
    /// Begin the log anew after this entry, of which an installed snapshot is the state.
    pub reset: Option<EntryId>,
    /// Drop the entries from here on.
    pub truncate_from: Option<Index>,
    /// Append these.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index, if they differ from what was last written.
    pub hard_state: Option<HardState>,
    /// The newest committed configuration and those after it, if they differ from what was last
    /// written. [`Core::restored`](crate::Core::restored) wants them back.
    pub configurations: Option<Vec<Configuration>>,
}
