//! What may stand between the nodes of a local cluster: a proxy on loopback through which each of
//! them reaches the others, and which cuts, holds, slows and tears what goes from one to another.
//!
//! ```text
//!   node 1 ── to node 2's front ──▶ proxy ──▶ node 2's own port
//! ```
//! The layer above is whoever plays with a cluster or tests it; below are plain sockets and threads.
//! Who connects is read from the hello with which every connection begins; with TLS it cannot be
//! read, so there the proxy is of no use. A rule is for one direction between two nodes; what comes
//! back on the same connection obeys the other one. Everything ends with the [`Proxy`].

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes of the hello, and where in it the eight bytes of the sender's number end.
const HELLO_LEN: usize = 62;
const FROM_END: usize = 24;
/// Bytes that are carried at a time.
const PIECE_MAX: usize = 64 << 10;
/// How often a thread that waits looks whether it still has to.
const LOOK: Duration = Duration::from_millis(5);

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
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
    fn rules(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Rule>> {
        // Each change of it is one step.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rule(&self, from: u64, to: u64) -> Option<Rule> {
        self.rules().get(&(from, to)).copied()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The fronts of all nodes.
#[derive(Debug, Default)]
pub struct Proxy {
    shared: Arc<Shared>,
    fronts: BTreeMap<u64, u16>,
    acceptors: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Stands before a node that listens on `port`, at the port `at`, or at one that the system
    /// chooses if that is 0. Returns where.
    ///
    /// # Errors
    /// What the system said, as when the port is taken.
    pub fn stand_before(&mut self, node: u64, port: u16, at: u16) -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, at))?;
        listener.set_nonblocking(true)?;
        let front = listener.local_addr()?.port();
        let shared = Arc::clone(&self.shared);
        let name = format!("front-{node}");
        let acceptor = thread::Builder::new().name(name);
        let acceptor = acceptor.spawn(move || accept(&shared, &listener, node, port))?;
        self.acceptors.push(acceptor);
        self.fronts.insert(node, front);
        Ok(front)
    }

    /// Where each node is reached.
    #[must_use]
    pub fn fronts(&self) -> BTreeMap<u64, u16> {
        self.fronts.clone()
    }

    /// From now on this happens to what `from` sends to `to`.
    pub fn set(&self, from: u64, to: u64, rule: Rule) {
        self.shared.rules().insert((from, to), rule);
    }

    /// Nothing happens any more to what `from` sends to `to`.
    pub fn lift(&self, from: u64, to: u64) {
        self.shared.rules().remove(&(from, to));
    }

    /// The same between a node and all others: what it sends, what it is sent, or both.
    pub fn set_around(&self, node: u64, sent: bool, received: bool, rule: Rule) {
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
    pub fn heal(&self) {
        self.shared.rules().clear();
    }

    /// Connections that were torn.
    #[must_use]
    pub fn torn(&self) -> u64 {
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
                // What cannot be carried is a connection that ends, and the nodes begin another.
                thread::spawn(move || drop(carry(&shared, socket, to, port)));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Carries one connection, in both directions, until it ends.
fn carry(shared: &Arc<Shared>, mut near: TcpStream, to: u64, port: u16) -> io::Result<()> {
    near.set_nonblocking(false)?;
    near.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut hello = [0; HELLO_LEN];
    near.read_exact(&mut hello)?;
    let [.., a, b, c, d, e, f, g, h] = hello[..FROM_END] else { return Ok(()) };
    let from = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
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
    let mut piece = vec![0; PIECE_MAX];
    loop {
        if shared.has_ended() || shared.rule(link.0, link.1) == Some(Rule::Cut) {
            break;
        }
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(len) if pass(shared, piece.get(..len).unwrap_or_default(), &mut to, link) => {}
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
                let part = piece.len() * usize::try_from(torn % 97).unwrap_or(0) / 97;
                // The connection ends anyway.
                let _ = to.write_all(piece.get(..part).unwrap_or_default());
                return false;
            }
        }
        Some(Rule::Hold) | None => {}
    }
    to.write_all(piece).is_ok()
}
