//! What stands between the nodes of a test: a proxy on loopback through which each of them reaches
//! the others, and which cuts, holds, slows and tears what goes from one to another.
//!
//! ```text
//!   node 1 ── to node 2's front ──▶ proxy ──▶ node 2's own port
//! ```
//! Who connects is read from the hello with which every connection begins. A rule is for one
//! direction between two nodes; what comes back on the same connection obeys the other one.
//! Everything ends with the [`Proxy`].

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes of the hello, and where in it the sender's number stands.
const HELLO_LEN: usize = 62;
const FROM: std::ops::Range<usize> = 16..24;
/// How often a thread that waits looks whether it still has to.
const LOOK: Duration = Duration::from_millis(5);

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// They wait until the rule is lifted, and arrive late then.
    Hold,
    /// Connections end, and new ones too.
    Cut,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// Now and then a piece arrives in part, and then its connection ends: in the middle of a frame.
    Tear,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<BTreeMap<(u64, u64), Rule>>,
    ended: AtomicBool,
    /// Makes torn pieces differ from each other.
    torn: AtomicU64,
}

impl Shared {
    fn rule(&self, from: u64, to: u64) -> Option<Rule> {
        self.rules.lock().unwrap().get(&(from, to)).copied()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The fronts of all nodes.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    fronts: BTreeMap<u64, u16>,
    acceptors: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Stands before nodes that listen on these ports.
    pub(crate) fn before(nodes: impl IntoIterator<Item = (u64, u16)>) -> Self {
        let shared = Arc::new(Shared::default());
        let (mut fronts, mut acceptors) = (BTreeMap::new(), Vec::new());
        for (id, port) in nodes {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            fronts.insert(id, listener.local_addr().unwrap().port());
            let shared = Arc::clone(&shared);
            acceptors.push(thread::spawn(move || accept(&shared, &listener, id, port)));
        }
        Self { shared, fronts, acceptors }
    }

    /// Where each node is reached.
    pub(crate) fn fronts(&self) -> BTreeMap<u64, u16> {
        self.fronts.clone()
    }

    /// From now on this happens to what `from` sends to `to`.
    pub(crate) fn set(&self, from: u64, to: u64, rule: Rule) {
        self.shared.rules.lock().unwrap().insert((from, to), rule);
    }

    /// The same between a node and all others: what it sends, what it is sent, or both.
    pub(crate) fn set_around(&self, node: u64, sent: bool, received: bool, rule: Rule) {
        for other in self.fronts.keys().filter(|other| **other != node) {
            if sent {
                self.set(node, *other, rule);
            }
            if received {
                self.set(*other, node, rule);
            }
        }
    }

    /// Nothing happens to anything any more.
    pub(crate) fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Connections that were torn.
    pub(crate) fn torn(&self) -> u64 {
        self.shared.torn.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for acceptor in self.acceptors.drain(..) {
            // A panic in it was printed.
            let _ = acceptor.join();
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, to: u64, port: u16) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((socket, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || drop(carry(&shared, socket, to, port)));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Carries one connection, in both directions, until it ends.
fn carry(shared: &Arc<Shared>, mut near: TcpStream, to: u64, port: u16) -> std::io::Result<()> {
    near.set_nonblocking(false)?;
    near.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut hello = [0; HELLO_LEN];
    near.read_exact(&mut hello)?;
    let from = u64::from_le_bytes(hello[FROM].try_into().unwrap());
    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for socket in [&near, &far] {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
    }
    let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
    let back = Arc::clone(shared);
    thread::spawn(move || pump(&back, back_from, back_to, (to, from)));
    if pass(shared, &hello, &mut far, (from, to)) {
        pump(shared, near, far, (from, to));
    } else {
        near.shutdown(Shutdown::Both)?;
        far.shutdown(Shutdown::Both)?;
    }
    Ok(())
}

fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream, link: (u64, u64)) {
    let mut piece = vec![0; 64 << 10];
    loop {
        if shared.has_ended() || shared.rule(link.0, link.1) == Some(Rule::Cut) {
            break;
        }
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(len) if pass(shared, &piece[..len], &mut to, link) => {}
            Ok(_) => break,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    for socket in [from, to] {
        // Ended already is as good.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// Sends a piece on as the rule says; false when the connection is to end.
fn pass(shared: &Shared, piece: &[u8], to: &mut TcpStream, (from, target): (u64, u64)) -> bool {
    while shared.rule(from, target) == Some(Rule::Hold) {
        if shared.has_ended() {
            return false;
        }
        thread::sleep(LOOK);
    }
    match shared.rule(from, target) {
        Some(Rule::Cut) => return false,
        Some(Rule::Slow(pause)) => thread::sleep(pause),
        Some(Rule::Tear) => {
            let torn = shared.torn.fetch_add(1, Ordering::Relaxed);
            if torn % 4 == 3 {
                let part = piece.len() * usize::try_from(torn % 97).unwrap() / 97;
                // The connection ends anyway.
                let _ = to.write_all(&piece[..part]);
                return false;
            }
        }
        Some(Rule::Hold) | None => {}
    }
    to.write_all(piece).is_ok()
}
