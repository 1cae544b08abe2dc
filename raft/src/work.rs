//! What the driver has others do, and what they report back.
//!
//! The driver never touches the state machine nor a snapshot file: both may take long, and a leader
//! must not miss a heartbeat. It hands out jobs in an order that matters (a restore between the
//! commands before and after it) and takes reports whenever they come.

use bytes::Bytes;
use hardlog::{EntryId, Index, LogId, SnapshotMark, Term};

use crate::{
    call::Call,
    core::Configuration,
    error::Error,
    message::{NodeId, SnapshotChunk},
};

/// A proposal that is in the log and whose caller waits.
pub(crate) struct Waiting {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) call: Call<Bytes>,
}

/// For the thread that owns the state machine.
pub(crate) enum Apply {
    /// Apply the entries up to here and answer those who wait for them.
    Entries { to: Index, waiting: Vec<Waiting> },
    /// Everything that the reads need is applied by the jobs before this one.
    Reads(Vec<Call<()>>),
    /// Take a snapshot now, whether one is due or not.
    Snapshot,
    /// Replace the state by this snapshot, which is installed.
    Restore(EntryId),
}

/// For the thread that moves snapshots between nodes.
pub(crate) enum Carry {
    /// Begin to send the snapshot.
    Offer { to: NodeId, id: EntryId },
    /// Send the bytes from `offset` on.
    Piece { to: NodeId, id: EntryId, offset: u64 },
    /// The transfer is over, one way or the other.
    Forget { to: NodeId },
    /// A leader sent this.
    Received { from: NodeId, chunk: SnapshotChunk },
}

/// What the node's other threads tell the driver.
#[derive(Debug)]
pub(crate) enum Report {
    /// A snapshot of this node's own state is complete on disk.
    Taken(SnapshotMark),
    /// A piece of a snapshot is read and can be sent.
    Piece { to: NodeId, chunk: SnapshotChunk },
    /// The snapshot cannot be read any more.
    Unreadable { to: NodeId },
    /// A piece was stored; the next one begins at `offset`.
    Stored { from: NodeId, id: EntryId, offset: u64 },
    /// A leader's snapshot is complete on disk, and not marked yet.
    Complete { from: NodeId, mark: SnapshotMark, configuration: Configuration },
    /// A peer said hello, and it is the node it was.
    Met { peer: NodeId, log_id: LogId, incarnation: u64 },
    /// A peer knows this node with another log, or with this one when it held more.
    Disowned { by: NodeId },
    /// The node cannot go on.
    Failed(Error),
}
