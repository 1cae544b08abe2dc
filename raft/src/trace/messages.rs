//! What a trace says of a message.
//!
//! Above: the transport and the simulator's network. Below: the messages themselves, of which
//! nothing but numbers gets into a trace.

use super::{Sent, Text, What};
use crate::message::{AppendReply, Body, Message, NodeId};

/// Names a message between running nodes: by its sender, by how often the sender's log had been
/// opened, and by a number that the sender counts. Below 2^53, so that it is exact wherever numbers
/// are floating-point; the same for different messages only where nodes are 64 apart, or one was
/// opened 1,024 times within a trace.
#[must_use]
pub fn message_id(from: NodeId, incarnation: u64, number: u64) -> u64 {
    ((from % 64) << 47) | ((incarnation % 1024) << 37) | (number % (1 << 37))
}

/// A message leaves under this id.
pub(crate) fn sent(m: u64, message: &Message) -> What {
    let Message { to, term, .. } = *message;
    let sent = Sent { m, to, term, kind: kind(&message.body), ..Sent::default() };
    What::Send(match &message.body {
        Body::PreVote { last } | Body::Vote { last, .. } => Sent { last: Some(last.index), ..sent },
        Body::PreVoteReply { granted } | Body::VoteReply { granted } => {
            Sent { reject: Some(!granted), ..sent }
        }
        Body::Append { prev, entries, commit } => Sent {
            prev: Some(prev.index),
            first: entries.first().map(hardlog::Entry::index),
            last: entries.last().map(hardlog::Entry::index),
            commit: Some(*commit),
            bytes: (!entries.is_empty())
                .then(|| entries.iter().map(|entry| entry.payload.len() as u64).sum()),
            ..sent
        },
        Body::AppendReply(AppendReply::Accepted { matched }) => {
            Sent { last: Some(*matched), reject: Some(false), ..sent }
        }
        Body::AppendReply(AppendReply::Rejected { prev, conflict_term, conflict_index }) => Sent {
            prev: Some(*prev),
            reject: Some(true),
            conflict_term: *conflict_term,
            conflict_index: Some(*conflict_index),
            ..sent
        },
        Body::Heartbeat { commit, .. } => Sent { commit: Some(*commit), ..sent },
        Body::HeartbeatReply { .. } | Body::TimeoutNow => sent,
        Body::Snapshot(chunk) => Sent {
            last: Some(chunk.offer.id.index),
            offset: Some(chunk.offset),
            bytes: Some(chunk.data.len() as u64),
            ..sent
        },
        Body::SnapshotReply { id, offset } => {
            Sent { last: Some(id.index), offset: Some(*offset), ..sent }
        }
    })
}

/// A message that left under this id came.
pub(crate) fn received(m: u64, message: &Message) -> What {
    What::Recv { m, from: message.from, kind: kind(&message.body) }
}

fn kind(body: &Body) -> Text {
    Text::Borrowed(match body {
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteReply { .. } => "pre-vote-reply",
        Body::Vote { .. } => "vote",
        Body::VoteReply { .. } => "vote-reply",
        Body::Append { .. } => "append",
        Body::AppendReply(_) => "append-reply",
        Body::Heartbeat { .. } => "heartbeat",
        Body::HeartbeatReply { .. } => "heartbeat-reply",
        Body::Snapshot(_) => "snapshot",
        Body::SnapshotReply { .. } => "snapshot-reply",
        Body::TimeoutNow => "timeout-now",
    })
}
