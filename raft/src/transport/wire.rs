//! What bytes go over: a socket as it is, or one that something protects.
//!
//! Above: `inbound` and `outbound`, which know only [`Wire`]. Below: the socket, or `tls`.
//!
//! A connection that has not introduced itself has a deadline for all of it together: a timeout for
//! each read would let a peer that sends a byte now and then stay for ever.

use std::{
    fmt::Debug,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::message::NodeId;

/// A connection between two nodes, protected or not.
pub trait Wire: Read + Write + Send {
    /// Whether the other end has shown that it is this node of this cluster. Asked before the first
    /// message, after the hello said who it claims to be.
    fn is(&self, node: NodeId, cluster: u64) -> bool;

    /// The socket under it.
    fn socket(&mut self) -> &mut Socket;
}

/// Protects connections; [`Settings::security`](super::Settings::security).
///
/// Implemented by `transport::Tls` under feature `tls`.
pub trait Security: Debug + Send + Sync {
    /// Protects a connection that this node has opened to `node` of `cluster`.
    ///
    /// # Errors
    /// If the other end is not that node, or whatever the socket says.
    fn connect(&self, socket: Socket, node: NodeId, cluster: u64) -> io::Result<Box<dyn Wire>>;

    /// Protects a connection that a peer has opened.
    ///
    /// # Errors
    /// If the peer is refused, or whatever the socket says.
    fn accept(&self, socket: Socket) -> io::Result<Box<dyn Wire>>;
}

/// A TCP connection with a deadline or with timeouts.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    deadline: Option<Instant>,
}

impl Socket {
    /// Everything that is read and written must be done within `within`, until [`Socket::settle`].
    pub(super) fn new(stream: TcpStream, within: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, deadline: Some(Instant::now() + within) })
    }

    /// The other end is known: it may be silent as long as it likes, but a write must not take
    /// longer than `write`.
    pub(super) fn settle(&mut self, write: Duration) -> io::Result<()> {
        self.deadline = None;
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(Some(write))
    }

    /// The same connection once more, to end it from another thread.
    pub(super) fn handle(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// What is left until the deadline.
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = "the connection did not introduce itself in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(Some(left))
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.stream.set_read_timeout(Some(left))?;
        }
        self.stream.read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.stream.set_write_timeout(Some(left))?;
        }
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Without protection the other end is who it says it is: for loopback.
impl Wire for Socket {
    fn is(&self, _node: NodeId, _cluster: u64) -> bool {
        true
    }

    fn socket(&mut self) -> &mut Socket {
        self
    }
}
