//! CLUSTER: as much of Redis Cluster as a client needs to find the leader.
//!
//! The layer above is [`crate::session`]. To a cluster-aware client this is one shard of all slots
//! whose master is the leader and whose replicas are the other nodes; when another node is elected,
//! that looks like a failover. While no leader is known no slot is served.
//!
//! It says what this node knows, which may be a little old; a client that is sent to the wrong node
//! gets `-MOVED` there.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    members::Member,
    replica::Status,
    resp::Reply,
    server::Shared,
    session::subcommand,
    slot::{SLOT_COUNT, slot},
};

/// Answers CLUSTER.
pub(crate) fn answer(arguments: &[Bytes], shared: &Shared) -> Reply {
    let status = shared.replica.status();
    match (subcommand(arguments).as_slice(), arguments.get(1..).unwrap_or_default()) {
        (b"INFO", []) => Reply::text(info(&status, shared)),
        (b"MYID", []) => Reply::text(node_name(status.id)),
        (b"KEYSLOT", [key]) => Reply::Integer(i64::from(slot(key))),
        (b"SLOTS", []) => slots(&status, shared),
        (b"SHARDS", []) => shards(&status, shared),
        (b"NODES", []) => Reply::text(nodes(&status, shared)),
        _ => Reply::error("ERR CLUSTER knows INFO, MYID, KEYSLOT, SLOTS, SHARDS and NODES here"),
    }
}

fn info(status: &Status, shared: &Shared) -> String {
    let (state, slots) = if status.leader.is_some() { ("ok", SLOT_COUNT) } else { ("fail", 0) };
    let (nodes, term) = (shared.members().len(), status.term);
    format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOT_COUNT}\r\n\
         cluster_slots_ok:{slots}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{nodes}\r\ncluster_size:1\r\ncluster_current_epoch:{term}\r\n\
         cluster_my_epoch:{term}\r\n"
    )
}

/// All slots in one range, the leader first; no range while there is no leader.
fn slots(status: &Status, shared: &Shared) -> Reply {
    let Some(leader) = leader(status, shared) else { return Reply::Array(Vec::new()) };
    let node = |(id, member): (u64, Member)| {
        Reply::Array(vec![
            Reply::text(member.ip.to_string()),
            port(member.client()),
            Reply::text(node_name(id)),
            Reply::Array(Vec::new()),
        ])
    };
    let mut range = vec![Reply::Integer(0), Reply::Integer(i64::from(SLOT_COUNT - 1))];
    range.push(node(leader));
    let members = shared.members();
    let others = members.iter().filter(|(other, _)| *other != leader.0);
    range.extend(others.map(node));
    Reply::Array(vec![Reply::Array(range)])
}

/// The same as one shard; without a leader the shard has no slots.
fn shards(status: &Status, shared: &Shared) -> Reply {
    let leader = leader(status, shared).map(|(id, _)| id);
    let pair = |name: &str, value| (Reply::text(name), value);
    let node = |(id, member): (u64, Member)| {
        let role = if leader == Some(id) { "master" } else { "replica" };
        // What others have applied is not known here.
        let offset = if id == status.id { status.applied } else { 0 };
        Reply::Map(vec![
            pair("id", Reply::text(node_name(id))),
            pair("port", port(member.client())),
            pair("ip", Reply::text(member.ip.to_string())),
            pair("endpoint", Reply::text(member.ip.to_string())),
            pair("role", Reply::text(role)),
            pair("replication-offset", Reply::Integer(i64::try_from(offset).unwrap_or(i64::MAX))),
            pair("health", Reply::text("online")),
        ])
    };
    let range = || vec![Reply::Integer(0), Reply::Integer(i64::from(SLOT_COUNT - 1))];
    let slots = leader.map(|_| range()).unwrap_or_default();
    let nodes = shared.members().iter().map(node).collect();
    Reply::Array(vec![Reply::Map(vec![
        pair("slots", Reply::Array(slots)),
        pair("nodes", Reply::Array(nodes)),
    ])])
}

fn nodes(status: &Status, shared: &Shared) -> String {
    let leader = leader(status, shared).map(|(id, _)| id);
    let line = |(id, member): (u64, Member)| {
        let myself = if id == status.id { "myself," } else { "" };
        let (role, master, slots) = match leader {
            Some(leader) if leader == id => ("master", "-".to_owned(), " 0-16383"),
            Some(leader) => ("slave", node_name(leader), ""),
            None => ("slave", "-".to_owned(), ""),
        };
        format!(
            "{} {}@{} {myself}{role} {master} 0 0 {} connected{slots}\n",
            node_name(id),
            member.client(),
            member.raft_port,
            status.term
        )
    };
    shared.members().iter().map(line).collect()
}

fn leader(status: &Status, shared: &Shared) -> Option<(u64, Member)> {
    let id = status.leader?;
    Some((id, shared.members().get(id)?))
}

fn port(address: SocketAddr) -> Reply {
    Reply::Integer(i64::from(address.port()))
}

/// Forty hexadecimal digits, as clients expect.
pub(crate) fn node_name(id: u64) -> String {
    format!("{id:040x}")
}
