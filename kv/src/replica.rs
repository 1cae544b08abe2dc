//! What the server needs of the replicated log, and nothing more.
//!
//! The layer above is a connection's exchange; below is a Raft node (or, in the server's own tests,
//! a stand-in without one). Both calls answer through a callback, which may run on the log's
//! threads: it must be short and may not call back.
//!
//! INVARIANT: a write's callback says Ok only after its entry was durable on a majority and
//! applied here; a read's callback says Ok only when the store here holds every write that was
//! acknowledged, by any node, before the read was asked for.

#[cfg(test)]
pub(crate) mod alone;
pub mod raft;

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    members::{Member, Members},
    resp::Reply,
    slot,
};

/// Called once with the encoded [`crate::outcome::Outcome`] of a write.
pub type WriteDone = Box<dyn FnOnce(Result<Bytes, Refusal>) + Send>;
/// Called once when the store may be read.
pub type ReadDone = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// A write on its way to the log.
pub struct Proposal {
    /// An encoded [`crate::op::Op`].
    pub entry: Bytes,
    /// Told what became of it.
    pub done: WriteDone,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal").field("len", &self.entry.len()).finish_non_exhaustive()
    }
}

/// One node's part in the replication.
pub trait Replica: Send + Sync + 'static {
    /// Asks for writes, in this order and as one batch where the log can take them so.
    fn propose(&self, proposals: Vec<Proposal>);
    /// Asks when the store here is recent enough for a linearizable read.
    fn read(&self, done: ReadDone);
    /// How the node stands.
    fn status(&self) -> Status;
    /// Whether the node gets on with its work; never waits for it.
    fn health(&self) -> Health;
    /// Who belongs to the cluster now, by what this node knows; `known` are the addresses that it
    /// was started with.
    fn members(&self, known: &Members) -> Members;
    /// How far the others are, while this node leads.
    fn peers(&self) -> Vec<Peer>;
    /// Carries out an operator's order.
    fn order(&self, order: Order, done: OrderDone);
    /// Takes a snapshot soon.
    fn take_snapshot(&self);
}

/// What an operator may order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A node joins: it learns, and votes as soon as it has caught up, unless it is to learn only.
    Add {
        /// Its number, never used before.
        id: u64,
        /// Where it is.
        member: Member,
        /// Whether it is to vote.
        votes: bool,
    },
    /// A node leaves; it may be the leader.
    Remove {
        /// Its number.
        id: u64,
    },
    /// Another node is to lead; the one that has most of the log if none is named.
    Transfer {
        /// Its number.
        to: Option<u64>,
    },
}

/// Called once: with the index of the entry, or the number of the new leader, or why not.
pub type OrderDone = Box<dyn FnOnce(Result<u64, OrderRefusal>) + Send>;

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderRefusal {
    /// As for a write.
    Refused(Refusal),
    /// It makes no sense, or not now; nothing was done.
    Senseless(String),
}

/// Another node in the leader's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: u64,
    /// Whether it votes.
    pub votes: bool,
    /// Up to where its log equals the leader's; `None` on a node that does not lead.
    pub matched: Option<u64>,
    /// Whether the leader heard from it lately.
    pub active: bool,
}

/// Why a request was not carried out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node leads, or none is known to; nothing was done.
    NotLeader {
        /// Who does, if known.
        leader: Option<u64>,
    },
    /// The write was begun, and leadership ended before its outcome was known.
    Unknown,
    /// The command does not fit a log entry; nothing was done.
    TooLarge,
    /// It was done, and there was no room for its reply.
    NotKept,
    /// Too much is in flight; nothing was done.
    Busy,
    /// The node is stopping, or its log has failed; nothing was done.
    Stopped,
}

/// What a node is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
}

/// Whether a node gets on with its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its disk has not answered a sync for so long that it counts as hung.
    pub disk_hangs: bool,
    /// How long ago its thread last came round.
    pub silent: Duration,
}

/// How a node stands, for INFO and CLUSTER.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its number.
    pub id: u64,
    /// What it is to the others.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index applied to the store.
    pub applied: u64,
    /// First index of its log.
    pub first: u64,
    /// Last index of its log; below `first` while the log is empty.
    pub last: u64,
    /// Number of its log's active segment: grows at each open and rotation.
    pub incarnation: u64,
    /// Index of its newest snapshot, 0 without one.
    pub snapshot: u64,
}

/// Whether a request could have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It cannot.
    Read,
    /// It can.
    Write,
}

impl Refusal {
    /// The reply that tells a client what to do: go elsewhere, come again, or find out.
    #[must_use]
    pub fn reply(self, kind: Kind, slot: u16, own_id: u64, members: &Members) -> Reply {
        match (self, kind) {
            (Self::NotLeader { leader }, _) => {
                match leader.filter(|id| *id != own_id).and_then(|id| members.client(id)) {
                    Some(to) => slot::moved(slot, to),
                    None => Reply::error("CLUSTERDOWN no leader is known; nothing was done"),
                }
            }
            (Self::Unknown, Kind::Write) => Reply::error(
                "UNKNOWN outcome: leadership ended while this write was under way; \
                 it may or may not take effect",
            ),
            (Self::Unknown, Kind::Read) => {
                Reply::error("TRYAGAIN leadership ended during this read; nothing was done")
            }
            (Self::TooLarge, _) => Reply::error("ERR the command does not fit a log entry"),
            (Self::NotKept, _) => Reply::error(
                "NOTKEPT it was done; its reply found no room among those that wait for clients",
            ),
            (Self::Busy, _) => Reply::error("TRYAGAIN too much is in flight; nothing was done"),
            (Self::Stopped, _) => {
                Reply::error("CLUSTERDOWN this node is stopping; nothing was done")
            }
        }
    }
}
