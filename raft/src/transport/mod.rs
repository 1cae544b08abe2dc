//! Carries messages between nodes over TCP.
//!
//! ```text
//!   node ── send ──▶ Outbox (peer, lane) ──▶ thread: connect, hello, frames ──▶ socket
//!   node ◀─ deliver ── thread: frames ◀── hello ◀── accept ◀── socket
//! ```
//! Above: the node, which hands messages over without waiting and is handed those that come in.
//! Below: the standard library's sockets, one thread for each connection, no runtime.
//!
//! Each pair of nodes has three lanes in each direction, each a connection of its own, so that a
//! heartbeat or a vote never waits behind entries, nor entries behind a snapshot.
//! A message may be lost at any time and nothing here repeats it: Raft does. Messages of one lane
//! do not overtake each other while a connection lasts.
//!
//! INVARIANT: memory is bounded by [`Settings`], never by what a peer claims or sends.
//! Without [`Settings::security`] there is neither encryption nor authentication, and addresses
//! beyond loopback are refused unless [`Settings::insecure`] says otherwise.

mod frame;
mod guard;
mod handshake;
mod inbound;
mod outbound;
mod outbox;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hardlog::LogId;

pub(crate) use self::handshake::{Acquaintance, Past, Verdict};
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
pub use self::{
    handshake::VERSION,
    wire::{Security, Socket, Wire},
};
use self::{
    inbound::Inbound,
    outbox::{Bounds, Losses, Numbered, Outbox},
};
pub use crate::codec::{Bincode, Codec, CodecError};
use crate::{
    message::{Body, Message, NodeId},
    metrics::Outgoing,
    trace::{self, Tracer},
};

/// A peer that takes no byte for this long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// One of the connections between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Heartbeats, votes, answers.
    Control = 0,
    /// Entries.
    Log = 1,
    /// Snapshots.
    Snapshot = 2,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Control, Self::Log, Self::Snapshot];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| *lane as u8 == byte)
    }

    fn for_body(body: &Body) -> Self {
        match body {
            Body::Append { .. } => Self::Log,
            Body::Snapshot(_) => Self::Snapshot,
            Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::Vote { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply(_)
            | Body::Heartbeat { .. }
            | Body::HeartbeatReply { .. }
            | Body::SnapshotReply { .. }
            | Body::TimeoutNow => Self::Control,
        }
    }

    fn bounds(self, bytes: u64) -> Bounds {
        match self {
            Self::Control => Bounds { messages: 1024, bytes: 1 << 20 },
            Self::Log => Bounds { messages: 1024, bytes },
            Self::Snapshot => Bounds { messages: 4, bytes },
        }
    }
}

/// Who this node is and whom it talks to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub id: NodeId,
    /// The cluster; nodes of another one are refused.
    pub cluster: u64,
    /// Names its log for ever.
    pub log_id: LogId,
    /// How often the log was opened.
    pub incarnation: u64,
    /// All nodes; its own address is not used.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// Largest message, in bytes, below 4 GiB.
    pub message_bytes_max: u32,
    /// Bytes that may wait for one lane of one peer.
    pub outbox_bytes_max: u64,
    /// What protects connections and shows who is at the other end.
    pub security: Option<Arc<dyn Security>>,
    /// Allow addresses beyond loopback without that.
    pub insecure: bool,
    /// Where messages that leave, come or get lost are told.
    pub tracer: Tracer,
}

impl Settings {
    fn allows(&self, address: &SocketAddr) -> bool {
        address.ip().is_loopback() || self.security.is_some() || self.insecure
    }
}

/// Connections that this node ended for what they said, since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// Who it was the last time, if it had said, and why.
    pub last: Option<(Option<NodeId>, String)>,
}

/// What becomes of a message that came in. May wait: the peer then waits too. False ends the
/// connection.
pub(crate) type Deliver = Arc<dyn Fn(Message) -> bool + Send + Sync>;

/// The running transport.
pub struct Transport {
    /// With the peers as they are now.
    settings: Settings,
    acquaintance: Arc<Acquaintance>,
    outboxes: BTreeMap<(NodeId, Lane), Arc<Outbox>>,
    /// Messages sent.
    number: AtomicU64,
    inbound: Arc<Inbound>,
    threads: Vec<JoinHandle<()>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Transport {
    /// Listens, and connects to peers as soon as there is something to tell them.
    ///
    /// # Errors
    /// `InvalidInput` for an address beyond loopback without [`Settings::security`] or
    /// [`Settings::insecure`]; whatever the system says about the listener or threads.
    pub fn start(settings: &Settings, listener: TcpListener, deliver: Deliver) -> io::Result<Self> {
        Self::start_after(settings, listener, deliver, Past::default())
    }

    /// As [`Transport::start`], for a node that remembers its peers.
    pub(crate) fn start_after(
        settings: &Settings,
        listener: TcpListener,
        deliver: Deliver,
        past: Past,
    ) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let others = settings.peers.iter().filter(|(id, _)| **id != settings.id);
        let mut addresses = others.map(|(_, address)| *address).chain([local]);
        if let Some(address) = addresses.find(|address| !settings.allows(address)) {
            let why = format!("{address} is not a loopback address, and nothing is encrypted");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let acquaintance = Arc::new(Acquaintance {
            cluster: settings.cluster,
            id: settings.id,
            log_id: settings.log_id,
            incarnation: settings.incarnation,
            peers: Mutex::default(),
            seen: Mutex::new(past.seen),
            met: past.met,
            disowned: past.disowned,
        });
        let inbound = Inbound::new(
            Arc::clone(&acquaintance),
            settings.message_bytes_max,
            deliver,
            settings.security.clone(),
            settings.tracer.of(settings.id),
        );
        let mut transport = Self {
            settings: Settings { peers: BTreeMap::new(), ..settings.clone() },
            acquaintance,
            outboxes: BTreeMap::new(),
            number: AtomicU64::new(0),
            inbound: Arc::new(inbound),
            threads: Vec::new(),
            acceptor: None,
        };
        transport.set_peers(&settings.peers)?;
        transport.acceptor = Some(inbound::spawn(&transport.inbound, listener)?);
        Ok(transport)
    }

    /// From now on these are the nodes to talk to, and nobody else. Connections to those that stay
    /// where they are stay open. A peer at an address that is not allowed is left out.
    ///
    /// # Errors
    /// If there is no thread for a connection.
    pub fn set_peers(&mut self, peers: &BTreeMap<NodeId, SocketAddr>) -> io::Result<()> {
        let old = std::mem::take(&mut self.settings.peers);
        for (id, _) in old.iter().filter(|(id, address)| peers.get(id) != Some(*address)) {
            self.part_from(*id);
        }
        self.threads.retain(|thread| !thread.is_finished());
        let own = self.settings.id;
        for (id, address) in peers.iter().filter(|(id, _)| **id != own) {
            if !self.settings.allows(address) {
                tracing::error!(peer = id, %address, "beyond loopback, and nothing is encrypted");
                continue;
            }
            self.settings.peers.insert(*id, *address);
            if old.get(id) != Some(address) {
                self.acquaintance_peers().insert(*id);
                self.link(*id, *address)?;
            }
        }
        Ok(())
    }

    fn acquaintance_peers(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.acquaintance.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part_from(&mut self, id: NodeId) {
        self.acquaintance_peers().remove(&id);
        self.inbound.dismiss(id);
        for lane in Lane::ALL {
            if let Some(outbox) = self.outboxes.remove(&(id, lane)) {
                outbox.close();
            }
        }
    }

    fn link(&mut self, peer: NodeId, address: SocketAddr) -> io::Result<()> {
        for lane in Lane::ALL {
            let bounds = lane.bounds(self.settings.outbox_bytes_max);
            let outbox = Arc::new(Outbox::new(bounds, self.losses(peer)));
            self.outboxes.insert((peer, lane), Arc::clone(&outbox));
            let link = outbound::Link {
                acquaintance: Arc::clone(&self.acquaintance),
                peer,
                address,
                lane,
                outbox,
                codec: Bincode::new(u64::from(self.settings.message_bytes_max)),
                security: self.settings.security.clone(),
            };
            self.threads.push(outbound::spawn(link)?);
        }
        Ok(())
    }

    /// What is told of messages that do not get to a peer.
    fn losses(&self, peer: NodeId) -> Losses {
        let Settings { id, incarnation, ref tracer, .. } = self.settings;
        let meter = Outgoing::to(peer);
        Losses { voice: tracer.of(id), from: id, incarnation, to: peer, meter }
    }

    /// Hands a message over. Never waits; whether it arrives is not known.
    pub fn send(&self, message: Message) {
        let lane = Lane::for_body(&message.body);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let Settings { id, incarnation, ref tracer, .. } = self.settings;
        let m = || trace::message_id(id, incarnation, number);
        tracer.note(id, || trace::sent(m(), &message));
        match self.outboxes.get(&(message.to, lane)) {
            Some(outbox) => outbox.push(Numbered { number, message }),
            None => self.losses(message.to).of(number, "nobody knows where it is"),
        }
    }

    /// Messages that were dropped because too many waited for their peer.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.outboxes.values().map(|outbox| outbox.dropped()).sum()
    }

    /// Connections that were ended for what they said.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.inbound.refusals()
    }

    /// Ends all connections and threads. What waits is not sent.
    pub fn shutdown(&mut self) {
        self.outboxes.values().for_each(|outbox| outbox.close());
        self.inbound.stop();
        for thread in self.acceptor.take().into_iter().chain(self.threads.drain(..)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the transport panicked");
            }
        }
    }
}

/// What fuzzers try: bytes of a hello and of the frames after it. Not part of the API.
///
/// Whatever decodes must encode to the same bytes again, and what the guard lets through must have
/// numbers with which arithmetic is safe.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    const BYTES_MAX: u32 = 1 << 16;
    let codec = Bincode::new(u64::from(BYTES_MAX));
    let _refused = handshake::Hello::read(&mut &data[..]);
    let mut guard = guard::Guard::default();
    let mut look = |body: &[u8]| {
        let Ok(message) = codec.decode(body) else { return };
        let mut again = Vec::new();
        assert!(codec.encode(&message, &mut again).is_ok(), "decoded, and too large to encode");
        assert_eq!(again, body, "one message in two forms");
        if guard.look(&message).is_ok() {
            assert!(message.term < guard::NUMBER_MAX);
        }
    };
    look(data);
    let (mut from, mut body) = (data, Vec::new());
    while let Ok(Some(_)) = frame::read(&mut from, &mut body, BYTES_MAX) {
        assert!(body.len() <= BYTES_MAX as usize);
        look(&body);
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("outboxes", &self.outboxes.len()).finish_non_exhaustive()
    }
}
