//! A client that finds the leader by itself.
//!
//! The layer above is the program's `client` command, the demonstration and the tests; below are
//! plain sockets and [`Reply::read`]. It follows `-MOVED`, and waits and asks again while there is
//! no leader (`-CLUSTERDOWN`, `-TRYAGAIN`, or nobody listens), for as long as its patience.
//!
//! INVARIANT: a write is sent again only after a reply that says nothing was done. When the
//! connection breaks after a write was sent, or the server says the outcome is unknown, the caller
//! is told so: INCR must not count twice behind its back.

use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{command::Command, resp::Reply};

/// How long a server may take for one reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the next try.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody took the request in time; it was not carried out.
    #[error("no node took the request within {} s: {last}", patience.as_secs_f32())]
    Unavailable {
        /// How long was tried.
        patience: Duration,
        /// What the last try met.
        last: String,
    },
    /// The request was sent and the connection broke before its reply.
    #[error(
        "the connection to {address} broke before the reply: the outcome of the write is unknown"
    )]
    Lost {
        /// The node.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
}

/// A connection to a cluster.
#[derive(Debug)]
pub struct Client {
    /// Nodes to begin with, in turn.
    nodes: Vec<SocketAddr>,
    /// Position in `nodes` of the next to try.
    next: usize,
    connected: Option<Connection>,
    patience: Duration,
    reply_timeout: Duration,
}

/// A connection to one node, which follows nothing and repeats nothing.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    socket: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system said; a node that does not answer is given two seconds.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
        socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { address, socket: BufReader::new(socket) })
    }

    /// Sends a command and returns its reply.
    ///
    /// # Errors
    /// The connection broke, or what came is no reply; whether the command was carried out is then
    /// unknown, and the connection is of no more use.
    pub fn call(&mut self, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.exchange(&encode(words))
    }

    /// How long a reply is waited for, half a minute at first.
    ///
    /// # Errors
    /// What the system said, above all to no time at all.
    pub fn set_reply_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.get_ref().set_read_timeout(Some(timeout))
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.socket.get_mut().write_all(request)?;
        Reply::read(&mut self.socket)
    }
}

/// What became of one try.
enum Tried {
    Answered(Reply),
    /// Nothing was done; ask this node next.
    Elsewhere(SocketAddr),
    /// Nothing was done; ask again later.
    Later(String),
}

impl Client {
    /// A client of the cluster these nodes belong to; it connects when it is first used.
    ///
    /// # Panics
    /// When `nodes` is empty.
    #[must_use]
    pub fn new(nodes: Vec<SocketAddr>, patience: Duration) -> Self {
        assert!(!nodes.is_empty(), "a client needs a node to begin with");
        Self { nodes, next: 0, connected: None, patience, reply_timeout: REPLY_TIMEOUT }
    }

    /// The same with another time for a reply than half a minute, for nodes that may stand still.
    #[must_use]
    pub fn with_reply_timeout(self, reply_timeout: Duration) -> Self {
        Self { reply_timeout, ..self }
    }

    /// Sends a command to the leader and returns its reply, which may be an error reply.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`]: not carried out. [`ClientError::Lost`]: nobody knows.
    pub fn call(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Reply, ClientError> {
        let request = encode(words);
        let repeatable = is_repeatable(words);
        let deadline = Instant::now() + self.patience;
        loop {
            let last = match self.attempt(&request, repeatable)? {
                Tried::Answered(reply) => return Ok(reply),
                Tried::Elsewhere(address) => {
                    match self.connect(address) {
                        // Asked at once; two nodes that each point at the other are asked in turn
                        // until the deadline.
                        Ok(()) if Instant::now() < deadline => continue,
                        Ok(()) => "nodes point at each other".to_owned(),
                        Err(error) => format!("{address}: {error}"),
                    }
                }
                Tried::Later(last) => last,
            };
            if Instant::now() >= deadline {
                return Err(ClientError::Unavailable { patience: self.patience, last });
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// The node that answered last.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.connected.as_ref().map(|connected| connected.address)
    }

    fn attempt(&mut self, request: &[u8], repeatable: bool) -> Result<Tried, ClientError> {
        if self.connected.is_none() {
            let address = self.nodes[self.next % self.nodes.len()];
            self.next += 1;
            if let Err(error) = self.connect(address) {
                return Ok(Tried::Later(format!("{address}: {error}")));
            }
        }
        let Some(mut connected) = self.connected.take() else {
            return Ok(Tried::Later("not connected".to_owned()));
        };
        let address = connected.address;
        match connected.exchange(request) {
            Ok(Reply::Error(text)) if text.starts_with(b"MOVED ") => match moved_to(&text) {
                Some(leader) => Ok(Tried::Elsewhere(leader)),
                None => Ok(Tried::Answered(Reply::Error(text))),
            },
            Ok(Reply::Error(text))
                if text.starts_with(b"CLUSTERDOWN") || text.starts_with(b"TRYAGAIN") =>
            {
                // Another node may know more; this connection is given up for it.
                Ok(Tried::Later(format!("{address}: {}", String::from_utf8_lossy(&text))))
            }
            // A write within a session is answered again and not done again.
            Ok(Reply::Error(text)) if repeatable && text.starts_with(b"UNKNOWN") => {
                Ok(Tried::Later(format!("{address}: {}", String::from_utf8_lossy(&text))))
            }
            Ok(reply) => {
                self.connected = Some(connected);
                Ok(Tried::Answered(reply))
            }
            Err(error) if repeatable => Ok(Tried::Later(format!("{address}: {error}"))),
            Err(source) => Err(ClientError::Lost { address, source }),
        }
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        let connected = Connection::open(address)?;
        connected.set_reply_timeout(self.reply_timeout)?;
        self.connected = Some(connected);
        Ok(())
    }
}

/// A request as it goes over the wire.
fn encode(words: &[impl AsRef<[u8]>]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        out.put_slice(format!("${}\r\n", word.len()).as_bytes());
        out.put_slice(word);
        out.put_slice(b"\r\n");
    }
    out
}

/// Whether sending a command twice does no more than sending it once.
fn is_repeatable(words: &[impl AsRef<[u8]>]) -> bool {
    let words = words.iter().map(|word| Bytes::copy_from_slice(word.as_ref())).collect();
    !matches!(Command::parse(words), Ok(Command::Write { .. } | Command::Order(_)))
}

fn moved_to(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests;
