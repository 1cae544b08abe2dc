//! What a connection remembers of its client, and the commands that only concern the two.
//!
//! The layer above is [`crate::connection`]; below are [`crate::replica`] for how the node stands
//! and [`crate::info`] for the text of INFO. Besides PING and HELLO these are what redis-cli,
//! redis-benchmark and client libraries say when they connect; each is answered as far as it has a
//! true answer here, and refused otherwise.

use bytes::Bytes;

use crate::{
    command::Local,
    info,
    members::Member,
    replica::{Role, Status},
    resp::{Protocol, Reply},
    server::Shared,
    slot::{SLOT_COUNT, slot},
};

/// The state of one connection beyond its bytes.
#[derive(Debug)]
pub(crate) struct Session {
    /// Number of the connection.
    id: i64,
    /// What the client calls itself.
    name: Bytes,
    /// Version of RESP for replies.
    pub(crate) protocol: Protocol,
    /// Whether reads are answered from this node's own state, however old.
    pub(crate) read_only: bool,
    /// Whether the client said goodbye.
    pub(crate) quit: bool,
}

impl Session {
    pub(crate) fn new(id: i64) -> Self {
        let protocol = Protocol::default();
        Self { id, name: Bytes::new(), protocol, read_only: false, quit: false }
    }

    /// Answers a command. May change the session, so earlier replies must be encoded before.
    pub(crate) fn answer(&mut self, command: Local, shared: &Shared) -> Reply {
        match command {
            Local::Ping(None) => Reply::Simple(Bytes::from_static(b"PONG")),
            Local::Ping(Some(text)) | Local::Echo(text) => Reply::Bulk(text),
            Local::Hello(arguments) => self.hello(&arguments, shared),
            Local::Info(sections) => Reply::Bulk(info::text(&sections, shared).into()),
            Local::Client(arguments) => self.client(&arguments),
            Local::Cluster(arguments) => cluster(&arguments, shared),
            Local::Command(arguments) => match subcommand(&arguments).as_slice() {
                b"COUNT" => Reply::Integer(0),
                b"DOCS" => Reply::Map(Vec::new()),
                _ => Reply::Array(Vec::new()),
            },
            Local::Config(arguments) => config(&arguments),
            Local::ReadOnly(read_only) => {
                self.read_only = read_only;
                Reply::OK
            }
            Local::Select(database) if database.as_ref() == b"0" => Reply::OK,
            Local::Select(_) => Reply::error("ERR DB index is out of range; there is only 0"),
            Local::Quit => {
                self.quit = true;
                Reply::OK
            }
        }
    }

    fn hello(&mut self, arguments: &[Bytes], shared: &Shared) -> Reply {
        let (protocol, mut options) = match arguments.split_first() {
            None => (self.protocol, arguments),
            Some((version, rest)) => match version.as_ref() {
                b"2" => (Protocol::Resp2, rest),
                b"3" => (Protocol::Resp3, rest),
                _ => return Reply::error("NOPROTO unsupported protocol version"),
            },
        };
        let mut name = None;
        while let Some((option, rest)) = options.split_first() {
            match (option.to_ascii_uppercase().as_slice(), rest) {
                (b"SETNAME", [given, rest @ ..]) => {
                    name = Some(given.clone());
                    options = rest;
                }
                (b"AUTH", [_, _, ..]) => {
                    return Reply::error("ERR AUTH: this server has no passwords");
                }
                _ => return Reply::error("ERR syntax error in HELLO"),
            }
        }
        if let Some(name) = name
            && let Err(refused) = self.rename(&name)
        {
            return refused;
        }
        self.protocol = protocol;
        let proto = if protocol == Protocol::Resp3 { 3 } else { 2 };
        let role = role_name(&shared.replica.status());
        let pair = |name: &str, value| (Reply::text(name), value);
        Reply::Map(vec![
            pair("server", Reply::text("hardlog-kv")),
            pair("version", Reply::text(info::VERSION)),
            pair("proto", Reply::Integer(proto)),
            pair("id", Reply::Integer(self.id)),
            pair("mode", Reply::text("cluster")),
            pair("role", Reply::text(role)),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    fn client(&mut self, arguments: &[Bytes]) -> Reply {
        match (subcommand(arguments).as_slice(), arguments.get(1..).unwrap_or_default()) {
            (b"ID", []) => Reply::Integer(self.id),
            (b"GETNAME", []) if self.name.is_empty() => Reply::Null,
            (b"GETNAME", []) => Reply::Bulk(self.name.clone()),
            (b"SETNAME", [name]) => {
                self.rename(name).map_or_else(|refused| refused, |()| Reply::OK)
            }
            // What library the client is made with: nobody asks here.
            (b"SETINFO", [_, _]) => Reply::OK,
            _ => Reply::error("ERR CLIENT knows ID, GETNAME, SETNAME and SETINFO here"),
        }
    }

    fn rename(&mut self, name: &Bytes) -> Result<(), Reply> {
        if name.len() > 256 || name.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
            return Err(Reply::error(
                "ERR a client's name is at most 256 printable characters without spaces",
            ));
        }
        // Copied: the argument is a slice of a receive buffer.
        self.name = Bytes::copy_from_slice(name);
        Ok(())
    }
}

/// What HELLO calls a node: the words of Redis, which client libraries look for.
fn role_name(status: &Status) -> &'static str {
    if status.role == Role::Leader { "master" } else { "replica" }
}

/// CONFIG GET of the two settings redis-benchmark prints, and of nothing else.
fn config(arguments: &[Bytes]) -> Reply {
    let [get, names @ ..] = arguments else {
        return Reply::error("ERR CONFIG knows only GET here");
    };
    if !get.eq_ignore_ascii_case(b"GET") || names.is_empty() {
        return Reply::error("ERR CONFIG knows only GET here");
    }
    let known = |name: &Bytes| match name.to_ascii_lowercase().as_slice() {
        b"save" => Some((Reply::text("save"), Reply::text(""))),
        // Every write is in a log and synced before it is answered.
        b"appendonly" => Some((Reply::text("appendonly"), Reply::text("yes"))),
        _ => None,
    };
    Reply::Map(names.iter().filter_map(known).collect())
}

/// As much of CLUSTER as a client needs to find the leader.
fn cluster(arguments: &[Bytes], shared: &Shared) -> Reply {
    let status = shared.replica.status();
    match (subcommand(arguments).as_slice(), arguments.get(1..).unwrap_or_default()) {
        (b"INFO", []) => Reply::text(cluster_info(&status, shared)),
        (b"MYID", []) => Reply::text(node_name(status.id)),
        (b"KEYSLOT", [key]) => Reply::Integer(i64::from(slot(key))),
        (b"SLOTS", []) => cluster_slots(&status, shared),
        (b"NODES", []) => Reply::text(cluster_nodes(&status, shared)),
        _ => Reply::error("ERR CLUSTER knows INFO, MYID, KEYSLOT, SLOTS and NODES here"),
    }
}

fn cluster_info(status: &Status, shared: &Shared) -> String {
    let state = if status.leader.is_some() { "ok" } else { "fail" };
    let slots = if status.leader.is_some() { SLOT_COUNT } else { 0 };
    let (nodes, term) = (shared.members.len(), status.term);
    format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOT_COUNT}\r\n\
         cluster_slots_ok:{slots}\r\ncluster_known_nodes:{nodes}\r\ncluster_size:1\r\n\
         cluster_current_epoch:{term}\r\n"
    )
}

/// All slots in one range, the leader first; no range while there is no leader.
fn cluster_slots(status: &Status, shared: &Shared) -> Reply {
    let Some((id, leader)) = leader(status, shared) else {
        return Reply::Array(Vec::new());
    };
    let node = |id: u64, member: Member| {
        Reply::Array(vec![
            Reply::text(member.ip.to_string()),
            Reply::Integer(i64::from(member.client_port)),
            Reply::text(node_name(id)),
            Reply::Array(Vec::new()),
        ])
    };
    let mut range = vec![Reply::Integer(0), Reply::Integer(i64::from(SLOT_COUNT - 1))];
    range.push(node(id, leader));
    let others = shared.members.iter().filter(|(other, _)| *other != id);
    range.extend(others.map(|(id, member)| node(id, member)));
    Reply::Array(vec![Reply::Array(range)])
}

fn cluster_nodes(status: &Status, shared: &Shared) -> String {
    let leader = leader(status, shared).map(|(id, _)| id);
    let line = |(id, member): (u64, Member)| {
        let myself = if id == status.id { "myself," } else { "" };
        let (role, master, slots) = match leader {
            Some(leader) if leader == id => ("master", "-".to_owned(), " 0-16383"),
            Some(leader) => ("slave", node_name(leader), ""),
            None => ("slave,noaddr", "-".to_owned(), ""),
        };
        format!(
            "{} {}@{} {myself}{role} {master} 0 0 {} connected{slots}\n",
            node_name(id),
            member.client(),
            member.raft_port,
            status.term
        )
    };
    shared.members.iter().map(line).collect()
}

fn leader(status: &Status, shared: &Shared) -> Option<(u64, Member)> {
    let id = status.leader?;
    Some((id, shared.members.get(id)?))
}

/// Forty hexadecimal digits, as clients expect.
fn node_name(id: u64) -> String {
    format!("{id:040x}")
}

/// The subcommand in capitals; empty if it is too long to be one.
fn subcommand(arguments: &[Bytes]) -> Vec<u8> {
    let name = arguments.first().map(Bytes::as_ref).unwrap_or_default();
    if name.len() <= 16 { name.to_ascii_uppercase() } else { Vec::new() }
}
