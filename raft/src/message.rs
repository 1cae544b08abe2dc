//! What nodes say to each other: for each message who sends it, when, and why.
//!
//! The names follow Figure 2 and Figure 13 of the paper. Every message carries its sender's term;
//! a node that hears of a later term adopts it before anything else (section 5.1), except through
//! a pre-vote, which only asks what would be.
//! Messages may be lost, doubled, delayed and reordered; nothing here assumes otherwise.
//! Which of them may leave before the disk is done is decided where they are made
//! (see [`crate::durable`]), not here.

use bytes::Bytes;
use hardlog::{Entry, EntryId, Index, SnapshotOffer, Term};
use serde::{Deserialize, Serialize};

/// Names a node for ever. A node whose disk was wiped must come back under another one.
pub type NodeId = u64;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The sender's term; for [`Body::PreVote`] and a granted [`Body::PreVoteReply`] the term that
    /// the candidate would begin.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A follower that hears no leader asks whether it would win, before it begins a term
    /// (dissertation 9.6). Binds nobody.
    PreVote {
        /// Id of the sender's last entry.
        last: EntryId,
    },
    /// The answer to it.
    PreVoteReply {
        /// Whether the sender would vote for it.
        granted: bool,
    },
    /// RequestVote (section 5.2). Leaves only after the candidate's term and its vote for itself
    /// are durable.
    Vote {
        /// Id of the sender's last entry, for the election restriction (section 5.4.1).
        last: EntryId,
        /// The leader itself asked for this election: whoever still hears it votes all the same
        /// (dissertation 4.2.3).
        transfer: bool,
    },
    /// The answer to it. A vote leaves only after it is durable.
    VoteReply {
        /// Whether the sender votes for the receiver in this term.
        granted: bool,
    },
    /// AppendEntries (section 5.3). Leaves at once, in parallel with the leader's own disk write
    /// (dissertation 10.2.1).
    Append {
        /// Id of the entry just before `entries`.
        prev: EntryId,
        /// Entries to store, following each other; none to learn where the logs meet.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to AppendEntries and to a whole snapshot. Leaves only after what it
    /// acknowledges is durable.
    AppendReply(AppendReply),
    /// The leader lives (section 5.2). Apart from AppendEntries, so that it overtakes bulk data.
    Heartbeat {
        /// Highest index that is committed and that the receiver is known to have.
        commit: Index,
        /// Round of leadership confirmation for linearizable reads (dissertation 6.4).
        round: u64,
    },
    /// The answer to it.
    HeartbeatReply {
        /// The round that is confirmed.
        round: u64,
    },
    /// InstallSnapshot (section 7), one chunk of it.
    Snapshot(SnapshotChunk),
    /// Asks for the next chunk.
    SnapshotReply {
        /// Which snapshot.
        id: EntryId,
        /// Offset of the first byte that the sender does not have.
        offset: u64,
    },
    /// The leader hands over: the receiver, whose log equals the leader's, is to campaign at once
    /// (dissertation 3.10).
    TimeoutNow,
}

/// Whether a follower's log now holds what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendReply {
    /// The follower's log equals the leader's up to here: `prev.index + entries.len()` of the
    /// request, or the last index of an installed snapshot.
    Accepted {
        /// That index.
        matched: Index,
    },
    /// The entry before the sent ones differs or is missing.
    Rejected {
        /// `prev.index` of the request.
        prev: Index,
        /// Term of the entry that the follower has there; none where it has no entry.
        conflict_term: Option<Term>,
        /// First index of that term; without a term, the index from which to send.
        conflict_index: Index,
    },
}

/// A piece of a snapshot.
///
/// A chunk without bytes at offset 0 offers the snapshot; the answer says where to go on, so that
/// a transfer that broke off is resumed. The offer stands in every chunk and names the bytes by
/// length and checksum: two leaders may hold snapshots of the same entry that differ, and those are
/// never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Which snapshot.
    pub offer: SnapshotOffer,
    /// Where `data` begins.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

impl Message {
    /// Bytes that the message counts for in limits: its payloads, and something for the rest.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let payload = match &self.body {
            Body::Append { entries, .. } => {
                entries.iter().map(|entry| entry.payload.len() as u64 + 32).sum()
            }
            Body::Snapshot(chunk) => (chunk.data.len() + chunk.offer.meta.len()) as u64,
            _ => 0,
        };
        payload + 64
    }
}

impl Body {
    /// Whether only the leader of the term sends this.
    #[must_use]
    pub fn is_from_leader(&self) -> bool {
        matches!(
            self,
            Self::Append { .. } | Self::Heartbeat { .. } | Self::Snapshot(_) | Self::TimeoutNow
        )
    }
}
