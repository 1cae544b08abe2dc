//! RAFT: how the node and its cluster stand, for an operator.
//!
//! The layer above is [`crate::session`], which answers what only reads; orders (ADD, REMOVE,
//! TRANSFER) wait for the cluster and are the [`crate::exchange`]'s.

use crate::{
    command::Raft,
    info,
    replica::{OrderRefusal, Peer, Refusal},
    resp::Reply,
    server::Shared,
};

/// Answers what an operator asks of this node.
pub(crate) fn answer(asked: Raft, shared: &Shared) -> Reply {
    match asked {
        Raft::Info => {
            let sections = [b"replication", &b"log"[..]].map(bytes::Bytes::from_static);
            Reply::text(info::text(&sections, shared))
        }
        Raft::Leader => leader(shared),
        Raft::Peers => peers(shared),
        Raft::Snapshot => {
            shared.replica.take_snapshot();
            Reply::OK
        }
    }
}

/// Number and address of the leader; nothing while none is known.
fn leader(shared: &Shared) -> Reply {
    let leader = shared.replica.status().leader;
    match leader.and_then(|id| Some((id, shared.members().client(id)?))) {
        None => Reply::Null,
        Some((id, address)) => Reply::Array(vec![number(id), Reply::text(address.to_string())]),
    }
}

/// One map for each node: number, where it is, whether it leads and votes, and, from the leader,
/// how far it is.
fn peers(shared: &Shared) -> Reply {
    let (status, members) = (shared.replica.status(), shared.members());
    let peer = |peer: Peer| {
        let role = match (status.leader == Some(peer.id), peer.votes) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let own = (peer.id == status.id).then_some(status.last);
        let place = members.get(peer.id);
        let text = |text: Option<String>| text.map_or(Reply::Null, Reply::text);
        let pair = |name: &str, value| (Reply::text(name), value);
        Reply::Map(vec![
            pair("id", number(peer.id)),
            pair("client", text(place.map(|member| member.client().to_string()))),
            pair("raft", text(place.map(|member| member.raft().to_string()))),
            pair("role", Reply::text(role)),
            pair("matched", peer.matched.or(own).map_or(Reply::Null, number)),
            pair("active", Reply::Integer(i64::from(peer.active || own.is_some()))),
        ])
    };
    Reply::Array(shared.replica.peers().into_iter().map(peer).collect())
}

/// The reply to an order.
pub(crate) fn ordered(
    result: Result<u64, OrderRefusal>,
    refuse: impl FnOnce(Refusal) -> Reply,
) -> Reply {
    match result {
        Ok(done) => number(done),
        Err(OrderRefusal::Refused(refusal)) => refuse(refusal),
        Err(OrderRefusal::Senseless(why)) => Reply::error(format!("ERR {why}; nothing was done")),
    }
}

fn number(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
