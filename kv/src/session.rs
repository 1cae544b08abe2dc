//! What a connection remembers of its client, and the commands that only concern the two.
//!
//! The layer above is [`crate::connection`]; below are [`crate::replica`] for how the node stands
//! and [`crate::info`] for the text of INFO. Besides PING and HELLO these are what redis-cli,
//! redis-benchmark and client libraries say when they connect; each is answered as far as it has a
//! true answer here, and refused otherwise.

use bytes::Bytes;

use crate::{
    cluster,
    command::{Local, table},
    info, raft_info,
    replica::{Role, Status},
    resp::{Protocol, Reply},
    server::Shared,
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
            // Copied: the text is a slice of a receive buffer, and the reply may wait for long.
            Local::Ping(Some(text)) | Local::Echo(text) => {
                Reply::Bulk(Bytes::copy_from_slice(&text))
            }
            Local::Hello(arguments) => self.hello(&arguments, shared),
            Local::Info(sections) => Reply::Bulk(info::text(&sections, shared).into()),
            Local::Client(arguments) => self.client(&arguments),
            Local::Cluster(arguments) => cluster::answer(&arguments, shared),
            Local::Command(arguments) => described(&arguments),
            Local::Config(arguments) => config(&arguments),
            Local::ReadOnly(read_only) => {
                self.read_only = read_only;
                Reply::OK
            }
            Local::Raft(asked) => raft_info::answer(asked, shared),
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

/// COMMAND: what there is, and for cluster-aware clients where the keys are. No documentation
/// beyond the names: redis-cli then has no hints, and says nothing about it.
fn described(arguments: &[Bytes]) -> Reply {
    let names = arguments.get(1..).unwrap_or_default();
    match (subcommand(arguments).as_slice(), arguments.len()) {
        (_, 0) | (b"INFO", 1) => table::all(),
        (b"INFO", _) => table::some(names.iter().map(Bytes::as_ref)),
        (b"COUNT", 1) => Reply::Integer(i64::try_from(table::COMMANDS.len()).unwrap_or(i64::MAX)),
        (b"LIST", 1) => {
            Reply::Array(table::COMMANDS.iter().map(|entry| Reply::text(entry.name)).collect())
        }
        (b"DOCS", _) => Reply::Map(Vec::new()),
        _ => Reply::error("ERR COMMAND knows COUNT, DOCS, INFO and LIST here"),
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

/// The subcommand in capitals; empty if it is too long to be one.
pub(crate) fn subcommand(arguments: &[Bytes]) -> Vec<u8> {
    let name = arguments.first().map(Bytes::as_ref).unwrap_or_default();
    if name.len() <= 16 { name.to_ascii_uppercase() } else { Vec::new() }
}
