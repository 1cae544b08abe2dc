//! The network between servers in real time: every connection goes through this process, which cuts
//! links, loses and delays messages, and counts them.
//!
//! ```text
//!   node a ──▶ listener in the place of b ── hello, frames ──▶ node b, wherever it listens now
//!                          └─ each frame: counted, lost, late? ─┘
//! ```
//! A link that is cut swallows what is sent over it; its connections stay, as those of a cable that
//! is pulled do. Messages of one connection keep their order, as TCP keeps it; with reordering,
//! answers that are late are overtaken by others.
//!
//! Above: `processes`. Below: sockets, and of the protocol only hello and frames.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hardlog::fs::sim::Rng;
use hardlog_raft::{
    NodeId,
    message::{Body, Message},
    transport::{Bincode, Codec},
};

/// Bytes of a hello; at 16 who says it, at 24 to whom.
const HELLO_LEN: usize = 62;
/// Bytes before each message: length, checksum and number.
const HEAD_LEN: usize = 16;
const MESSAGE_MAX: u64 = 64 << 20;

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) snapshots: u64,
}

/// The network of one cluster.
pub(super) struct Net {
    shared: Arc<Shared>,
}

struct Shared {
    /// By how much everything is faster than the original.
    scale: u32,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    unplugged: BTreeSet<NodeId>,
    muted: BTreeSet<NodeId>,
    unreliable: bool,
    reordering: bool,
    /// Where each node listens, while it runs.
    targets: BTreeMap<NodeId, SocketAddr>,
    traffic: Traffic,
    rng: Rng,
    late: BinaryHeap<Reverse<Late>>,
    closed: bool,
}

type Sink = Arc<Mutex<TcpStream>>;

/// A message that arrives later.
struct Late {
    at: Instant,
    number: u64,
    link: (NodeId, NodeId),
    frame: Vec<u8>,
    to: Sink,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked has failed the test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    pub(super) fn new(scale: u32, seed: u64) -> Self {
        let state = State {
            unplugged: BTreeSet::new(),
            muted: BTreeSet::new(),
            unreliable: false,
            reordering: false,
            targets: BTreeMap::new(),
            traffic: Traffic::default(),
            rng: Rng::new(seed),
            late: BinaryHeap::new(),
            closed: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { scale, state, changed });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || of_thread.deliver());
        Self { shared }
    }

    /// A place for a node; the address that others know it by.
    pub(super) fn place(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                if lock(&shared.state).closed {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A connection that ends is nothing new to either side.
                thread::spawn(move || shared.carry(stream).map_or((), |()| ()));
            }
        });
        Ok(address)
    }

    /// Where the node listens from now on, if it runs.
    pub(super) fn set_target(&self, node: NodeId, target: Option<SocketAddr>) {
        let mut state = lock(&self.shared.state);
        match target {
            Some(target) => drop(state.targets.insert(node, target)),
            None => drop(state.targets.remove(&node)),
        }
    }

    pub(super) fn connect(&self, node: NodeId) {
        lock(&self.shared.state).unplugged.remove(&node);
    }

    pub(super) fn disconnect(&self, node: NodeId) {
        lock(&self.shared.state).unplugged.insert(node);
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        !lock(&self.shared.state).unplugged.contains(&node)
    }

    pub(super) fn mute(&self, node: NodeId) {
        lock(&self.shared.state).muted.insert(node);
    }

    pub(super) fn unmute(&self) {
        lock(&self.shared.state).muted.clear();
    }

    pub(super) fn set_unreliable(&self, unreliable: bool) {
        lock(&self.shared.state).unreliable = unreliable;
    }

    pub(super) fn set_reordering(&self, reordering: bool) {
        lock(&self.shared.state).reordering = reordering;
    }

    pub(super) fn traffic(&self) -> Traffic {
        lock(&self.shared.state).traffic
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.changed.notify_all();
    }
}

impl State {
    fn lets_through(&self, (from, to): (NodeId, NodeId)) -> bool {
        let unplugged = self.unplugged.contains(&from) || self.unplugged.contains(&to);
        !unplugged && !self.muted.contains(&from)
    }

    fn count(&mut self, message: &Message, bytes: usize) {
        self.traffic.bytes += bytes as u64;
        self.traffic.requests += u64::from(!is_reply(&message.body));
        self.traffic.snapshots += u64::from(matches!(message.body, Body::Snapshot(_)));
    }

    /// How late the message is and whether others may overtake it; none if it is lost.
    fn delay(&mut self, message: &Message) -> Option<(Duration, bool)> {
        let mut delay = 0;
        if self.unreliable {
            if self.rng.next_u64().is_multiple_of(10) {
                return None;
            }
            delay = self.rng.next_u64() % 26_000;
        }
        let late = self.reordering && is_reply(&message.body) && self.rng.next_u64() % 1000 < 667;
        if late {
            delay += 200_000 + self.rng.next_u64() % 2_000_000;
        }
        Some((Duration::from_micros(delay), late))
    }
}

fn is_reply(body: &Body) -> bool {
    matches!(
        body,
        Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply(_)
            | Body::HeartbeatReply { .. }
            | Body::SnapshotReply { .. }
    )
}

fn number(bytes: &[u8]) -> NodeId {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Shared {
    /// Carries one connection until either side ends it.
    fn carry(&self, mut source: TcpStream) -> io::Result<()> {
        let mut hello = [0; HELLO_LEN];
        source.set_nodelay(true)?;
        source.set_read_timeout(Some(Duration::from_secs(2)))?;
        source.read_exact(&mut hello)?;
        source.set_read_timeout(None)?;
        let link = (number(&hello[16..24]), number(&hello[24..32]));
        let target = lock(&self.state).targets.get(&link.1).copied();
        let target = target.ok_or(io::ErrorKind::ConnectionRefused)?;
        let mut sink = TcpStream::connect_timeout(&target, Duration::from_millis(500))?;
        sink.set_nodelay(true)?;
        sink.write_all(&hello)?;
        let (mut back_from, mut back_to) = (sink.try_clone()?, source.try_clone()?);
        // The answer to the hello, and then nothing until the connection ends.
        thread::spawn(move || {
            let _ended = io::copy(&mut back_from, &mut back_to);
            let _gone = (back_from.shutdown(Shutdown::Both), back_to.shutdown(Shutdown::Both));
        });
        let closer = sink.try_clone()?;
        let ended = self.frames(&mut source, link, &Arc::new(Mutex::new(sink)));
        let _gone = (source.shutdown(Shutdown::Both), closer.shutdown(Shutdown::Both));
        ended
    }

    fn frames(
        &self,
        source: &mut TcpStream,
        link: (NodeId, NodeId),
        sink: &Sink,
    ) -> io::Result<()> {
        let codec = Bincode::new(MESSAGE_MAX);
        let mut after = Instant::now();
        loop {
            let mut frame = vec![0; HEAD_LEN];
            source.read_exact(&mut frame)?;
            let len = frame.first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
            frame.resize(HEAD_LEN + usize::try_from(len).map_err(io::Error::other)?, 0);
            source.read_exact(&mut frame[HEAD_LEN..])?;
            let message = codec.decode(&frame[HEAD_LEN..]).map_err(io::Error::other)?;
            let now = Instant::now();
            let mut state = lock(&self.state);
            state.count(&message, frame.len() - HEAD_LEN);
            if state.closed {
                return Ok(());
            }
            if !state.lets_through(link) {
                continue;
            }
            let Some((delay, overtaken)) = state.delay(&message) else { continue };
            let mut at = now + delay / self.scale;
            if !overtaken {
                at = at.max(after);
                after = at;
            }
            if delay.is_zero() && at <= now {
                drop(state);
                lock(sink).write_all(&frame)?;
                continue;
            }
            // It grows with each message.
            let number = state.traffic.bytes;
            state.late.push(Reverse(Late { at, number, link, frame, to: Arc::clone(sink) }));
            self.changed.notify_all();
        }
    }

    /// Delivers what is late.
    fn deliver(&self) {
        let mut state = lock(&self.state);
        while !state.closed {
            let now = Instant::now();
            let wait = match state.late.peek() {
                Some(Reverse(next)) => next.at.saturating_duration_since(now),
                None => Duration::from_secs(1),
            };
            if !wait.is_zero() {
                let waited = self.changed.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(Reverse(late)) = state.late.pop()
                && state.lets_through(late.link)
            {
                drop(state);
                // The receiver may be gone by now: then it is lost.
                let _lost = lock(&late.to).write_all(&late.frame);
                state = lock(&self.state);
            }
        }
    }
}
