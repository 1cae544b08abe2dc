//! From a request's words to what is to be done.
//!
//! Pure: it checks the name, the number of arguments and the limits, and sorts commands by how
//! they are answered: an [`Op`] goes through the log, a [`Query`] reads the store once the replica
//! says it may, a [`Local`] is answered by the connection's own session, and the words around a
//! transaction are the exchange's. `table` knows the names and lengths; `writes` and `reads`
//! understand the arguments.
//!
//! INVARIANT: whatever comes out of [`Command::parse`] keeps to [`crate::limits`], so the log and
//! the snapshot take it.

mod operator;
mod reads;
pub(crate) mod table;
mod writes;

use bytes::Bytes;

use crate::{limits::KEY_MAX, op::Op, query::Query, replica::Order, resp::Reply};

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Goes through the log.
    Write {
        /// What it does.
        op: Op,
        /// Hash slot of its first key.
        slot: u16,
    },
    /// Reads the store.
    Read {
        /// What it asks.
        query: Query,
        /// Hash slot of its first key, 0 if it has none.
        slot: u16,
    },
    /// Begins a transaction: commands are gathered from here on.
    Multi,
    /// Carries out what was gathered.
    Exec,
    /// Forgets what was gathered.
    Discard,
    /// The next transaction is to find these keys as they are now.
    Watch {
        /// Which.
        keys: Vec<Bytes>,
        /// Hash slot of the first.
        slot: u16,
    },
    /// It need not any more.
    Unwatch,
    /// Begins or ends a session, or writes at most once within one.
    Session(Session),
    /// An operator's order.
    Order(Order),
    /// Is answered by the session.
    Local(Local),
}

/// What SESSION asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// A new session.
    Open,
    /// No more of a session.
    Close {
        /// Which.
        client: u64,
    },
    /// A write that is applied at most once.
    Write {
        /// In which session.
        client: u64,
        /// The client's number for it.
        serial: u64,
        /// What it does.
        op: Op,
        /// Hash slot of its first key.
        slot: u16,
    },
}

/// What the session answers without the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// PING, with the text to give back.
    Ping(Option<Bytes>),
    /// ECHO.
    Echo(Bytes),
    /// HELLO, with everything after the name.
    Hello(Vec<Bytes>),
    /// INFO, with the sections asked for.
    Info(Vec<Bytes>),
    /// CLIENT, with its subcommand and arguments.
    Client(Vec<Bytes>),
    /// CLUSTER, with its subcommand and arguments.
    Cluster(Vec<Bytes>),
    /// COMMAND with anything.
    Command(Vec<Bytes>),
    /// CONFIG with its subcommand and arguments.
    Config(Vec<Bytes>),
    /// READONLY (true) and READWRITE: whether this connection reads a follower's own, older state.
    ReadOnly(bool),
    /// SELECT, with the number of the database.
    Select(Bytes),
    /// RAFT with INFO, LEADER, PEERS or SNAPSHOT.
    Raft(Raft),
    /// QUIT.
    Quit,
}

/// What an operator asks of a node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raft {
    /// How it stands.
    Info,
    /// Who leads.
    Leader,
    /// Who takes part.
    Peers,
    /// That it take a snapshot.
    Snapshot,
}

impl Command {
    /// Understands a request.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub fn parse(mut request: Vec<Bytes>) -> Result<Self, Reply> {
        if request.is_empty() {
            return Err(Reply::error("ERR empty request"));
        }
        let words = request.len();
        let name = request.remove(0);
        let upper = name.get(..name.len().min(16)).unwrap_or_default().to_ascii_uppercase();
        let known = if name.len() == upper.len() { table::find(&upper) } else { None };
        let Some(entry) = known else { return Err(unknown(&name)) };
        if !entry.fits(words) || (entry.name == "PING" && words > 2) {
            return Err(wrong_arity(entry.name));
        }
        let arguments = request;
        Ok(Self::Local(match entry.name {
            "MULTI" => return Ok(Self::Multi),
            "EXEC" => return Ok(Self::Exec),
            "DISCARD" => return Ok(Self::Discard),
            "UNWATCH" => return Ok(Self::Unwatch),
            "WATCH" => {
                arguments.iter().try_for_each(check_key)?;
                let slot = arguments.first().map_or(0, |key| crate::slot::slot(key));
                // Kept for long, and a key must not keep the buffer that it came in.
                let keys = arguments.iter().map(|key| Bytes::copy_from_slice(key)).collect();
                return Ok(Self::Watch { keys, slot });
            }
            "PING" => Local::Ping(arguments.into_iter().next()),
            "ECHO" => Local::Echo(first(arguments)),
            "SELECT" => Local::Select(first(arguments)),
            "HELLO" => Local::Hello(arguments),
            "INFO" => Local::Info(arguments),
            "CLIENT" => Local::Client(arguments),
            "CLUSTER" => Local::Cluster(arguments),
            "CONFIG" => Local::Config(arguments),
            "COMMAND" => Local::Command(arguments),
            "READONLY" => Local::ReadOnly(true),
            "READWRITE" => Local::ReadOnly(false),
            "QUIT" => Local::Quit,
            "RAFT" => return operator::raft(&arguments),
            "SESSION" => return operator::session(arguments).map(Self::Session),
            "GET" | "EXISTS" | "MGET" | "DBSIZE" | "STRLEN" | "TYPE" | "SCAN" => {
                return reads::parse(entry.name, arguments);
            }
            _ => return writes::parse(entry.name, arguments),
        }))
    }
}

fn check_key(key: &Bytes) -> Result<(), Reply> {
    if key.len() <= KEY_MAX { Ok(()) } else { Err(Reply::error("ERR key longer than 64 KiB")) }
}

fn first(arguments: Vec<Bytes>) -> Bytes {
    arguments.into_iter().next().unwrap_or_default()
}

fn integer(word: &[u8]) -> Result<i64, Reply> {
    let refused = || Reply::error("ERR value is not an integer or out of range");
    crate::resp::integer(word).ok_or_else(refused)
}

fn wrong_arity(name: &str) -> Reply {
    let name = name.to_lowercase();
    Reply::error(format!("ERR wrong number of arguments for '{name}' command"))
}

fn unknown(name: &[u8]) -> Reply {
    let shown = String::from_utf8_lossy(name.get(..name.len().min(64)).unwrap_or_default());
    Reply::error(format!("ERR unknown command '{shown}'"))
}

fn syntax() -> Reply {
    Reply::error("ERR syntax error")
}

#[cfg(test)]
mod tests;
