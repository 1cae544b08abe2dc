//! From a request's words to what is to be done.
//!
//! Pure: it checks the name, the number of arguments and the limits, and sorts commands by how
//! they are answered: a [`Op`] goes through the log, a [`Query`] reads the store once the replica
//! says it may, a [`Local`] is answered by the connection's own session.
//!
//! INVARIANT: whatever comes out of [`Command::parse`] keeps to [`crate::limits`], so the log and
//! the snapshot take it.

use bytes::Bytes;

use crate::{
    limits::{KEY_MAX, REPLY_MAX},
    op::Op,
    resp::Reply,
    slot,
    store::Keyspace,
};

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq)]
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
    /// Is answered by the session.
    Local(Local),
}

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The value of a key.
    Get(Bytes),
    /// The values of keys.
    MGet(Vec<Bytes>),
    /// How many of the keys are there; one named twice counts twice.
    Exists(Vec<Bytes>),
    /// How many keys there are.
    DbSize,
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
    /// QUIT.
    Quit,
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
        let name = request.remove(0);
        let upper = name.get(..name.len().min(16)).unwrap_or_default().to_ascii_uppercase();
        if name.len() > upper.len() {
            return Err(unknown(&name));
        }
        let arguments = request;
        let arity = |fits: bool| if fits { Ok(()) } else { Err(wrong_arity(&name)) };
        let count = arguments.len();
        match upper.as_slice() {
            b"GET" | b"EXISTS" | b"MGET" | b"DBSIZE" => {
                return parse_read(&upper, &name, arguments);
            }
            b"SET" | b"MSET" | b"DEL" | b"INCR" => return parse_write(&upper, &name, arguments),
            b"PING" => arity(count <= 1).map(|()| Local::Ping(arguments.into_iter().next())),
            b"ECHO" => arity(count == 1).map(|()| Local::Echo(first(arguments))),
            b"SELECT" => arity(count == 1).map(|()| Local::Select(first(arguments))),
            b"HELLO" => Ok(Local::Hello(arguments)),
            b"INFO" => Ok(Local::Info(arguments)),
            b"CLIENT" => arity(count >= 1).map(|()| Local::Client(arguments)),
            b"CLUSTER" => arity(count >= 1).map(|()| Local::Cluster(arguments)),
            b"CONFIG" => arity(count >= 1).map(|()| Local::Config(arguments)),
            b"COMMAND" => Ok(Local::Command(arguments)),
            b"READONLY" => arity(count == 0).map(|()| Local::ReadOnly(true)),
            b"READWRITE" => arity(count == 0).map(|()| Local::ReadOnly(false)),
            b"QUIT" => Ok(Local::Quit),
            _ => Err(unknown(&name)),
        }
        .map(Self::Local)
    }
}

fn parse_read(upper: &[u8], name: &[u8], arguments: Vec<Bytes>) -> Result<Command, Reply> {
    let fits = match upper {
        b"GET" => arguments.len() == 1,
        b"DBSIZE" => arguments.is_empty(),
        _ => !arguments.is_empty(),
    };
    if !fits {
        return Err(wrong_arity(name));
    }
    arguments.iter().try_for_each(check_key)?;
    let slot = arguments.first().map_or(0, |key| slot::slot(key));
    let query = match upper {
        b"GET" => Query::Get(first(arguments)),
        b"MGET" => Query::MGet(arguments),
        b"EXISTS" => Query::Exists(arguments),
        _ => Query::DbSize,
    };
    Ok(Command::Read { query, slot })
}

fn parse_write(upper: &[u8], name: &[u8], mut arguments: Vec<Bytes>) -> Result<Command, Reply> {
    let fits = match upper {
        b"SET" if arguments.len() > 2 => {
            return Err(Reply::error("ERR SET takes a key and a value; its options are not known"));
        }
        b"SET" => arguments.len() == 2,
        b"INCR" => arguments.len() == 1,
        b"MSET" => !arguments.is_empty() && arguments.len().is_multiple_of(2),
        _ => !arguments.is_empty(),
    };
    if !fits {
        return Err(wrong_arity(name));
    }
    // Of SET and MSET every other argument is a value, which the decoder has bounded.
    let step = if matches!(upper, b"SET" | b"MSET") { 2 } else { 1 };
    arguments.iter().step_by(step).try_for_each(check_key)?;
    let slot = arguments.first().map_or(0, |key| slot::slot(key));
    let op = match upper {
        b"SET" => {
            let value = arguments.pop().unwrap_or_default();
            Op::Set { key: first(arguments), value }
        }
        b"INCR" => Op::Incr { key: first(arguments) },
        b"MSET" => Op::MSet {
            pairs: arguments
                .chunks_exact(2)
                .filter_map(|pair| Some((pair.first()?.clone(), pair.last()?.clone())))
                .collect(),
        },
        _ => Op::Del { keys: arguments },
    };
    Ok(Command::Write { op, slot })
}

impl Query {
    /// The answer of a store.
    #[must_use]
    pub fn answer(&self, keyspace: &Keyspace) -> Reply {
        let count = |n: usize| Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        match self {
            Self::Get(key) => keyspace.get(key).map_or(Reply::Null, Reply::Bulk),
            Self::MGet(keys) => {
                let values: Vec<_> = keys.iter().map(|key| keyspace.get(key)).collect();
                // The same large value may be asked for many times in one small request.
                let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
                if bytes > REPLY_MAX {
                    return Reply::error("ERR the values are longer than 64 MiB together");
                }
                Reply::Array(
                    values
                        .into_iter()
                        .map(|value| value.map_or(Reply::Null, Reply::Bulk))
                        .collect(),
                )
            }
            Self::Exists(keys) => count(keys.iter().filter(|key| keyspace.contains(key)).count()),
            Self::DbSize => count(keyspace.len()),
        }
    }

    /// Bytes of the request that it keeps in memory, about.
    #[must_use]
    pub fn request_len(&self) -> usize {
        match self {
            Self::Get(key) => key.len(),
            Self::MGet(keys) | Self::Exists(keys) => keys.iter().map(|key| key.len() + 32).sum(),
            Self::DbSize => 0,
        }
    }
}

fn check_key(key: &Bytes) -> Result<(), Reply> {
    if key.len() <= KEY_MAX { Ok(()) } else { Err(Reply::error("ERR key longer than 64 KiB")) }
}

fn first(arguments: Vec<Bytes>) -> Bytes {
    arguments.into_iter().next().unwrap_or_default()
}

fn wrong_arity(name: &[u8]) -> Reply {
    let name = String::from_utf8_lossy(name).to_lowercase();
    Reply::error(format!("ERR wrong number of arguments for '{name}' command"))
}

fn unknown(name: &[u8]) -> Reply {
    let shown = String::from_utf8_lossy(name.get(..name.len().min(64)).unwrap_or_default());
    Reply::error(format!("ERR unknown command '{shown}'"))
}

#[cfg(test)]
mod tests;
