//! Connections that peers open: accept, hear the hello, hand each frame's message over.
//!
//! A peer has one connection for each lane; a new one replaces the old, which may be the half-open
//! rest of a machine that vanished. Connections that have not said hello are few and short-lived.

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Deliver, Lane,
    codec::{Bincode, Codec},
    frame,
    handshake::Acquaintance,
};
use crate::message::NodeId;

const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that have not said hello yet.
const STRANGERS_MAX: usize = 32;
const READ_BUFFER: usize = 64 << 10;

pub(super) struct Inbound {
    acquaintance: Arc<Acquaintance>,
    message_bytes_max: u32,
    deliver: Deliver,
    stopped: AtomicBool,
    strangers: AtomicUsize,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    /// Where the acceptor listens, to wake it.
    listener: Option<SocketAddr>,
    count: u64,
    open: BTreeMap<(NodeId, Lane), (u64, TcpStream)>,
}

impl Inbound {
    pub(super) fn new(
        acquaintance: Arc<Acquaintance>,
        message_bytes_max: u32,
        deliver: Deliver,
    ) -> Self {
        Self {
            acquaintance,
            message_bytes_max,
            deliver,
            stopped: AtomicBool::new(false),
            strangers: AtomicUsize::new(0),
            connections: Mutex::default(),
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Ends all connections and the acceptor.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let connections = self.connections();
        for (_, stream) in connections.open.values() {
            // It fails only if the connection is gone already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
        if let Some(address) = connections.listener {
            // The acceptor waits in `accept`: a connection wakes it.
            let _woken = TcpStream::connect_timeout(&address, HELLO_TIMEOUT);
        }
    }

    /// Takes note of a connection; its number, or none if the transport is stopping.
    fn register(&self, peer: NodeId, lane: Lane, stream: &TcpStream) -> io::Result<Option<u64>> {
        let mut connections = self.connections();
        if self.is_stopped() {
            return Ok(None);
        }
        connections.count += 1;
        let number = connections.count;
        let old = connections.open.insert((peer, lane), (number, stream.try_clone()?));
        if let Some((_, old)) = old {
            let _gone = old.shutdown(Shutdown::Both);
        }
        Ok(Some(number))
    }

    fn forget(&self, peer: NodeId, lane: Lane, number: u64) {
        let mut connections = self.connections();
        if connections.open.get(&(peer, lane)).is_some_and(|(open, _)| *open == number) {
            connections.open.remove(&(peer, lane));
        }
    }
}

pub(super) fn spawn(inbound: &Arc<Inbound>, listener: TcpListener) -> io::Result<JoinHandle<()>> {
    inbound.connections().listener = Some(listener.local_addr()?);
    let inbound = Arc::clone(inbound);
    thread::Builder::new().name("accept".to_owned()).spawn(move || accept(&inbound, &listener))
}

fn accept(inbound: &Arc<Inbound>, listener: &TcpListener) {
    while !inbound.is_stopped() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others will close some.
                tracing::warn!(%error, "accept failed");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if inbound.is_stopped() {
            return;
        }
        if inbound.strangers.fetch_add(1, Ordering::SeqCst) >= STRANGERS_MAX {
            inbound.strangers.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let of_thread = Arc::clone(inbound);
        let spawned = thread::Builder::new().name("from".to_owned()).spawn(move || {
            if let Err(error) = serve(&of_thread, stream) {
                tracing::debug!(%error, "connection ended");
            }
        });
        if let Err(error) = spawned {
            inbound.strangers.fetch_sub(1, Ordering::SeqCst);
            tracing::warn!(%error, "no thread for a connection");
        }
    }
}

fn serve(inbound: &Inbound, mut stream: TcpStream) -> io::Result<()> {
    let hello = stream
        .set_read_timeout(Some(HELLO_TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(HELLO_TIMEOUT)))
        .and_then(|()| inbound.acquaintance.receive(&mut stream));
    inbound.strangers.fetch_sub(1, Ordering::SeqCst);
    let hello = hello.inspect_err(|error| tracing::warn!(%error, "a connection is refused"))?;
    stream.set_read_timeout(None)?;
    let (peer, lane) = (hello.from, hello.lane);
    let Some(number) = inbound.register(peer, lane, &stream)? else { return Ok(()) };
    let ended = receive(inbound, peer, stream);
    inbound.forget(peer, lane, number);
    ended
}

fn receive(inbound: &Inbound, peer: NodeId, stream: TcpStream) -> io::Result<()> {
    let codec = Bincode::new(u64::from(inbound.message_bytes_max));
    let mut stream = BufReader::with_capacity(READ_BUFFER, stream);
    let mut body = Vec::new();
    while frame::read(&mut stream, &mut body, inbound.message_bytes_max)? {
        let message = codec.decode(&body).map_err(|error| frame::bad(error.to_string()))?;
        if message.from != peer || message.to != inbound.acquaintance.id {
            return Err(frame::bad(format!("node {peer} sent a message of node {}", message.from)));
        }
        if inbound.is_stopped() || !(inbound.deliver)(message) {
            return Ok(());
        }
        body.shrink_to(READ_BUFFER.max(body.len()));
    }
    Ok(())
}
