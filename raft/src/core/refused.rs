//! What the core says no to: what its owner asks for and cannot have, and what no correct peer says.

use hardlog::{Index, Term};

use super::ChangeError;
use crate::message::NodeId;

/// Why a proposal, a read or a change was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This node does not lead; the leader, if it is known, does.
    #[error("this node does not lead (leader: {leader:?})")]
    NotLeader {
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// Too much is on its way already.
    #[error("too much is on its way")]
    Busy,
    /// The command is larger than [`Config::command_bytes_max`](crate::Config::command_bytes_max).
    #[error("the command is too large")]
    TooLarge,
    /// The leader is handing over: nothing new is begun until that is done or given up.
    #[error("the leadership is being handed over")]
    Transferring,
    /// Another change of the membership is not committed yet, or no entry of the leader's own term
    /// is: two leaders could then change different things at once.
    #[error("another change is under way, or the leader has committed nothing yet")]
    ChangeUnderWay,
    /// The node has not caught up: as a voter it would hold everybody up.
    #[error("node {0} has not caught up")]
    NotCaughtUp(NodeId),
    /// The change makes no sense.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The one that was to take over did not in time; this node leads on.
    #[error("the transfer was given up; this node leads on")]
    GivenUp,
}

/// A peer said something that no correct node says; going on could lose what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A leader wants to replace a committed entry.
    #[error("node {from} would replace entry {index}, which is committed up to {commit}")]
    CommittedConflict {
        /// Who.
        from: NodeId,
        /// Which entry.
        index: Index,
        /// The commit index here.
        commit: Index,
    },
    /// Two nodes claim to lead the same term.
    #[error("node {from} claims to lead term {term}, which another node leads")]
    TwoLeaders {
        /// Who.
        from: NodeId,
        /// Which term.
        term: Term,
    },
    /// A leader's configuration cannot be read here: it was made by a newer version, or is garbage.
    #[error("node {from} sent a configuration at {index} that this version cannot read")]
    UnknownConfiguration {
        /// Who.
        from: NodeId,
        /// Where it stands.
        index: Index,
    },
}
