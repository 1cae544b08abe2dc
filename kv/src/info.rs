//! The text of INFO: sections of `name:value` lines.
//!
//! The names in `server` that begin with `redis_` are there for client libraries, which look at
//! them to know what they may send.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::{
    replica::{Role, Status},
    server::Shared,
};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Redis whose commands these are, of those that are there.
const REDIS_VERSION: &str = "7.0.0";

const SECTIONS: [&str; 6] = ["server", "clients", "replication", "log", "cluster", "keyspace"];

/// The sections asked for, or all of them; unknown ones are left out, as Redis does.
pub(crate) fn text(asked: &[Bytes], shared: &Shared) -> String {
    let every = |name: &Bytes| {
        [&b"all"[..], b"everything", b"default"].iter().any(|all| name.eq_ignore_ascii_case(all))
    };
    let all = asked.is_empty() || asked.iter().any(every);
    let wanted = |section: &str| {
        all || asked.iter().any(|name| name.eq_ignore_ascii_case(section.as_bytes()))
    };
    let status = shared.replica.status();
    let mut out = String::new();
    for section in SECTIONS.into_iter().filter(|section| wanted(section)) {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        // Writing into a String cannot fail.
        let _ = match section {
            "server" => server(&mut out, &status, shared),
            "clients" => clients(&mut out, shared),
            "replication" => replication(&mut out, &status, shared),
            "log" => log(&mut out, &status),
            // Client libraries look for it before they ask for the slots.
            "cluster" => write!(out, "# Cluster\r\ncluster_enabled:1\r\n"),
            _ => keyspace(&mut out, shared),
        };
    }
    out
}

fn server(out: &mut String, status: &Status, shared: &Shared) -> std::fmt::Result {
    write!(out, "# Server\r\nhardlog_version:{VERSION}\r\nredis_version:{REDIS_VERSION}\r\n")?;
    write!(out, "redis_mode:cluster\r\nprocess_id:{}\r\n", std::process::id())?;
    write!(out, "node_id:{}\r\n", status.id)?;
    if let Some(member) = shared.members().get(status.id) {
        write!(out, "tcp_port:{}\r\n", member.client_port)?;
    }
    write!(out, "uptime_in_seconds:{}\r\n", shared.started.elapsed().as_secs())
}

fn clients(out: &mut String, shared: &Shared) -> std::fmt::Result {
    let (now, max) = (shared.connected(), shared.clients_max);
    write!(out, "# Clients\r\nconnected_clients:{now}\r\nmaxclients:{max}\r\n")
}

fn replication(out: &mut String, status: &Status, shared: &Shared) -> std::fmt::Result {
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    };
    let leader = status.leader.unwrap_or(0);
    write!(out, "# Replication\r\nrole:{role}\r\nterm:{}\r\nleader:{leader}\r\n", status.term)?;
    if let Some(address) = status.leader.and_then(|id| shared.members().client(id)) {
        write!(out, "leader_address:{address}\r\n")?;
    }
    write!(out, "commit:{}\r\napplied:{}\r\n", status.commit, status.applied)
}

fn log(out: &mut String, status: &Status) -> std::fmt::Result {
    let (first, last, incarnation) = (status.first, status.last, status.incarnation);
    write!(out, "# Log\r\nfirst:{first}\r\nlast:{last}\r\nincarnation:{incarnation}\r\n")?;
    write!(out, "snapshot:{}\r\n", status.snapshot)
}

fn keyspace(out: &mut String, shared: &Shared) -> std::fmt::Result {
    let (keys, bytes) = {
        let keyspace = shared.view.read();
        (keyspace.len(), keyspace.bytes())
    };
    write!(out, "# Keyspace\r\ndb0:keys={keys},expires=0,avg_ttl=0\r\nbytes:{bytes}\r\n")
}
