//! Connections that peers open: accept, hear the hello, hand each frame's message over.
//!
//! A peer has one connection for each lane; a new one replaces the old, which may be the half-open
//! rest of a machine that vanished.
//! Connections that have not introduced themselves are few and short-lived, and where too many come
//! the oldest of them goes: idle ones cannot keep a peer out.
//! A connection that says what no correct node says is ended with the reason in the log and in
//! [`Refusals`]; the other connections do not notice.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufReader},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Deliver, Lane, Refusals, Security, Socket, WRITE_TIMEOUT, Wire, frame,
    guard::Guard,
    handshake::{Acquaintance, Hello},
};
use crate::{
    codec::{Bincode, Codec},
    message::NodeId,
    metrics::{self, Incoming},
    trace::{self, Voice},
};

/// For everything up to the answer to the hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that have not said hello yet.
pub(super) const STRANGERS_MAX: usize = 32;
const READ_BUFFER: usize = 64 << 10;

pub(super) struct Inbound {
    acquaintance: Arc<Acquaintance>,
    message_bytes_max: u32,
    deliver: Deliver,
    security: Option<Arc<dyn Security>>,
    voice: Voice,
    stopped: AtomicBool,
    connections: Mutex<Connections>,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Connections {
    /// Where the acceptor listens, to wake it.
    listener: Option<SocketAddr>,
    count: u64,
    open: BTreeMap<(NodeId, Lane), (u64, TcpStream)>,
    /// Those that have not introduced themselves, oldest first.
    strangers: VecDeque<(u64, TcpStream)>,
}

impl Inbound {
    pub(super) fn new(
        acquaintance: Arc<Acquaintance>,
        message_bytes_max: u32,
        deliver: Deliver,
        security: Option<Arc<dyn Security>>,
        voice: Voice,
    ) -> Self {
        Self {
            acquaintance,
            message_bytes_max,
            deliver,
            security,
            voice,
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
            refusals: Mutex::default(),
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
        for (_, stream) in connections.open.values().chain(&connections.strangers) {
            // It fails only if the connection is gone already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
        if let Some(address) = connections.listener {
            // The acceptor waits in `accept`: a connection wakes it.
            let _woken = TcpStream::connect_timeout(&address, HELLO_TIMEOUT);
        }
    }

    /// Connections that were ended for what they said.
    pub(super) fn refusals(&self) -> Refusals {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, peer: Option<NodeId>, error: &io::Error) {
        tracing::warn!(peer, %error, "a connection is refused");
        metrics::refused();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.count += 1;
        refusals.last = Some((peer, error.to_string()));
    }

    /// Ends the connections of a peer that is one no more.
    pub(super) fn dismiss(&self, peer: NodeId) {
        for ((of, _), (_, socket)) in &self.connections().open {
            if *of == peer {
                let _gone = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Takes note of a fresh connection; its number.
    fn meet(&self, stream: &TcpStream) -> io::Result<u64> {
        let mut connections = self.connections();
        if connections.strangers.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = connections.strangers.pop_front()
        {
            let _gone = oldest.shutdown(Shutdown::Both);
        }
        connections.count += 1;
        let number = connections.count;
        connections.strangers.push_back((number, stream.try_clone()?));
        Ok(number)
    }

    fn part(&self, number: u64) {
        self.connections().strangers.retain(|(of, _)| *of != number);
    }

    /// Makes a connection the one of a peer's lane; false if the transport is stopping.
    fn register(&self, key: (NodeId, Lane), number: u64, stream: TcpStream) -> bool {
        let mut connections = self.connections();
        if self.is_stopped() {
            return false;
        }
        if let Some((_, old)) = connections.open.insert(key, (number, stream)) {
            let _gone = old.shutdown(Shutdown::Both);
        }
        true
    }

    /// Whether the connection was still that of its peer's lane.
    fn forget(&self, peer: NodeId, lane: Lane, number: u64) -> bool {
        let mut connections = self.connections();
        let own = connections.open.get(&(peer, lane)).is_some_and(|(open, _)| *open == number);
        if own {
            connections.open.remove(&(peer, lane));
        }
        own
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
        if let Err(error) = welcome(inbound, stream) {
            tracing::warn!(%error, "a connection is not served");
        }
    }
}

fn welcome(inbound: &Arc<Inbound>, stream: TcpStream) -> io::Result<()> {
    let number = inbound.meet(&stream)?;
    let of_thread = Arc::clone(inbound);
    let serve = move || {
        if let Err(error) = serve(&of_thread, stream, number) {
            tracing::debug!(%error, "connection ended");
        }
    };
    let spawned = thread::Builder::new().name("from".to_owned()).spawn(serve);
    spawned.map(|_detached| ()).inspect_err(|_| inbound.part(number))
}

fn serve(inbound: &Inbound, stream: TcpStream, number: u64) -> io::Result<()> {
    let introduced = introduction(inbound, stream);
    inbound.part(number);
    let (hello, mut wire) = introduced.inspect_err(|error| inbound.refuse(None, error))?;
    let key = (hello.from, hello.lane);
    wire.socket().settle(WRITE_TIMEOUT)?;
    if !inbound.register(key, number, wire.socket().handle()?) {
        return Ok(());
    }
    let meter = Incoming::from(hello.from);
    if hello.lane == Lane::Control {
        meter.connected();
    }
    let ended = receive(inbound, &hello, wire, &meter);
    if inbound.forget(key.0, key.1, number) && hello.lane == Lane::Control {
        meter.disconnected();
    }
    if let Err(error) = &ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        inbound.refuse(Some(key.0), error);
    }
    ended
}

/// Who is there, shown as far as it can be shown.
fn introduction(inbound: &Inbound, stream: TcpStream) -> io::Result<(Hello, Box<dyn Wire>)> {
    let socket = Socket::new(stream, HELLO_TIMEOUT)?;
    let mut wire: Box<dyn Wire> = match &inbound.security {
        Some(security) => security.accept(socket)?,
        None => Box::new(socket),
    };
    let hello = inbound.acquaintance.receive(&mut wire)?;
    Ok((hello, wire))
}

fn receive(
    inbound: &Inbound,
    peer: &Hello,
    wire: Box<dyn Wire>,
    meter: &Incoming,
) -> io::Result<()> {
    let codec = Bincode::new(u64::from(inbound.message_bytes_max));
    let mut stream = BufReader::with_capacity(READ_BUFFER, wire);
    let mut guard = Guard::default();
    let mut body = Vec::new();
    while let Some(number) = frame::read(&mut stream, &mut body, inbound.message_bytes_max)? {
        meter.bytes.increment((frame::HEAD_LEN + body.len()) as u64);
        let message = codec.decode(&body).map_err(|error| frame::bad(error.to_string()))?;
        if message.from != peer.from || message.to != inbound.acquaintance.id {
            return Err(frame::bad(format!(
                "node {} sent a message of node {}",
                peer.from, message.from
            )));
        }
        guard.look(&message).map_err(|why| frame::bad(why.to_string()))?;
        let m = || trace::message_id(peer.from, peer.incarnation, number);
        inbound.voice.note(|| trace::received(m(), &message));
        if inbound.is_stopped() || !(inbound.deliver)(message) {
            return Ok(());
        }
        body.shrink_to(READ_BUFFER.max(body.len()));
    }
    Ok(())
}
