//! One lane to one peer: connect when there is something to say, say hello, send frames; after a
//! failure wait longer and longer before the next attempt.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Lane, Security, Socket, WRITE_TIMEOUT, Wire, frame,
    handshake::Acquaintance,
    outbox::{Numbered, Outbox},
};
use crate::{
    codec::{Bincode, Codec},
    message::NodeId,
};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// For everything up to the answer to the hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// Frames are gathered up to here before they go to the socket.
const GATHER_BYTES: usize = 256 << 10;

pub(super) struct Link {
    pub(super) acquaintance: Arc<Acquaintance>,
    pub(super) peer: NodeId,
    pub(super) address: SocketAddr,
    pub(super) lane: Lane,
    pub(super) outbox: Arc<Outbox>,
    pub(super) codec: Bincode,
    pub(super) security: Option<Arc<dyn Security>>,
}

pub(super) fn spawn(link: Link) -> io::Result<JoinHandle<()>> {
    let name = format!("to-{}-{:?}", link.peer, link.lane).to_lowercase();
    thread::Builder::new().name(name).spawn(move || run(&link))
}

fn run(link: &Link) {
    let mut stream = None;
    let mut buffer = Vec::new();
    let mut retry = RETRY_MIN;
    let mut told = false;
    // Met early, so that each node remembers every other, though some may never have to talk:
    // one that comes back without its disk is then known to all.
    while link.lane == Lane::Control && stream.is_none() && link.outbox.is_idle() {
        stream = connect(link).ok();
        if stream.is_none() && !link.outbox.pause(retry) {
            return;
        }
        retry = if stream.is_some() { RETRY_MIN } else { (retry * 2).min(RETRY_MAX) };
    }
    while let Some(messages) = link.outbox.take() {
        let (count, numbers) = (messages.len(), link.outbox.numbers(&messages));
        let connected = match stream.take() {
            Some(stream) => Ok(stream),
            None => connect(link),
        };
        match connected.and_then(|mut s| send(link, &mut s, messages, &mut buffer).map(|()| s)) {
            Ok(connected) => {
                stream = Some(connected);
                retry = RETRY_MIN;
                told = false;
            }
            Err(error) => {
                link.outbox.lost(count, &numbers);
                // Once for each time that the peer goes away, not for each attempt.
                if !told {
                    tracing::info!(peer = link.peer, lane = ?link.lane, %error, "not reachable");
                    told = true;
                }
                if !link.outbox.pause(retry) {
                    return;
                }
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

fn connect(link: &Link) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect_timeout(&link.address, CONNECT_TIMEOUT)?;
    let socket = Socket::new(stream, HELLO_TIMEOUT)?;
    let mut wire: Box<dyn Wire> = match &link.security {
        Some(security) => security.connect(socket, link.peer, link.acquaintance.cluster)?,
        None => Box::new(socket),
    };
    link.acquaintance.introduce(&mut wire, link.peer, link.lane)?;
    wire.socket().settle(WRITE_TIMEOUT)?;
    Ok(wire)
}

fn send(
    link: &Link,
    stream: &mut Box<dyn Wire>,
    messages: impl IntoIterator<Item = Numbered>,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    for Numbered { number, message } in messages {
        if let Err(error) = frame::append(buffer, number, |to| link.codec.encode(&message, to)) {
            tracing::error!(peer = link.peer, %error, "a message is not sent");
        }
        if buffer.len() >= GATHER_BYTES {
            stream.write_all(buffer)?;
            link.outbox.sent(buffer.len());
            buffer.clear();
        }
    }
    stream.write_all(buffer)?;
    stream.flush()?;
    link.outbox.sent(buffer.len());
    buffer.shrink_to(4 * GATHER_BYTES);
    Ok(())
}
