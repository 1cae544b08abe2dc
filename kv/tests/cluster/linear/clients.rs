//! Clients that read and write a few keys, each with one request at a time, and remember what they
//! saw. They go from node to node, follow the leader, and give a request up after a second.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Scope,
    time::{Duration, Instant},
};

use super::model::{History, Op, Operation, Outcome};
use crate::rng::Rng;

/// How many there are.
const WORKERS: usize = 6;
/// Operations after which all go over to the next few keys: the checker's work grows with the
/// operations of a key.
const EPOCH: u64 = 1200;
/// Keys at a time.
const KEYS: u64 = 4;

pub(super) mod exchange {
    //! One connection, and what its replies mean.

    use std::{
        io::{self, BufReader, Write},
        net::{SocketAddr, TcpStream},
        time::Duration,
    };

    use hardlog_kv::resp::Reply;

    use super::super::model::{Op, Outcome};

    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) struct Socket(BufReader<TcpStream>);

    impl Socket {
        pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
            let socket = TcpStream::connect_timeout(&address, Duration::from_millis(300))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(Self(BufReader::new(socket)))
        }

        pub(crate) fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
            self.0.get_mut().write_all(format!("{}\r\n", words.join(" ")).as_bytes())?;
            Reply::read(&mut self.0)
        }
    }

    fn number(reply: &Reply) -> Option<Option<u64>> {
        match reply {
            Reply::Null => Some(None),
            Reply::Bulk(text) => Some(Some(std::str::from_utf8(text).ok()?.parse().ok()?)),
            _ => None,
        }
    }

    /// What the reply to an operation says.
    pub(crate) fn outcome(op: Op, reply: &Reply) -> Outcome {
        if let Reply::Error(why) = reply {
            let refused = [&b"MOVED"[..], b"CLUSTERDOWN", b"TRYAGAIN"];
            let refused = refused.iter().any(|word| why.starts_with(word));
            assert!(refused || why.starts_with(b"UNKNOWN"), "{op:?}: {reply:?}");
            return if refused { Outcome::Refused } else { Outcome::Unknown };
        }
        let done = match (op, reply) {
            (Op::Write(_), Reply::Simple(_)) => Some(op),
            (Op::Read(_), _) => number(reply).map(Op::Read),
            (Op::Swap { new, .. }, _) => number(reply).map(|old| Op::Swap { new, old: Some(old) }),
            (Op::Cas { expected, new, .. }, Reply::Integer(done @ (0 | 1))) => {
                Some(Op::Cas { expected, new, done: Some(*done == 1) })
            }
            _ => None,
        };
        Outcome::Done(done.unwrap_or_else(|| panic!("{op:?} was answered {reply:?}")))
    }

    /// What the reply to a read says.
    pub(crate) fn read_outcome(reply: &Reply) -> Outcome {
        outcome(Op::Read(None), reply)
    }
}

use exchange::Socket;

pub(super) struct Workers<'a> {
    addresses: &'a [SocketAddr],
    seed: u64,
    stop: &'a AtomicBool,
    begun: Instant,
    /// Operations begun by all; also makes every value that is written another one.
    count: AtomicU64,
    history: Mutex<History>,
}

impl<'a> Workers<'a> {
    pub(super) fn new(addresses: &'a [SocketAddr], seed: u64, stop: &'a AtomicBool) -> Self {
        let (count, history) = (AtomicU64::new(0), Mutex::default());
        Self { addresses, seed, stop, begun: Instant::now(), count, history }
    }

    pub(super) fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for worker in 0..WORKERS {
            scope.spawn(move || self.work(worker));
        }
    }

    /// Everything that was seen, and all keys.
    pub(super) fn finish(self) -> (History, Vec<String>) {
        let epochs = self.count.into_inner() / EPOCH;
        let keys = (0..=epochs).flat_map(|epoch| (0..KEYS).map(move |n| key(epoch, n)));
        (self.history.into_inner().unwrap(), keys.collect())
    }

    fn at(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }

    fn work(&self, worker: usize) {
        let mut rng = Rng::new(self.seed.wrapping_mul(1000) + worker as u64);
        let (mut socket, mut node) = (None, worker);
        let (mut history, mut last) = (History::default(), (String::new(), 0));
        while !self.stop.load(Ordering::Relaxed) {
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            let key = key(count / EPOCH, rng.below(KEYS));
            let op = choose(&mut rng, count + 1, (last.0 == key).then_some(last.1));
            let called = self.at();
            let outcome = self.attempt(&mut socket, &mut node, &key, op);
            let returned = self.at();
            let mut add = |returned, op| {
                let key = key.clone();
                history.push(Operation { key, called, returned, op });
            };
            match outcome {
                Outcome::Done(op) => {
                    add(Some(returned), op);
                    if let Op::Read(Some(value)) | Op::Write(value) = op {
                        last = (key, value);
                    }
                }
                // A read without an answer says nothing.
                Outcome::Unknown if op.written().is_none() => {}
                Outcome::Unknown => add(None, op),
                Outcome::Refused => {
                    history.refused += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            // A little time between operations, so that more of them meet the faults.
            std::thread::sleep(Duration::from_micros(rng.below(3000)));
        }
        self.history.lock().unwrap().append(history);
    }

    /// One try at one node; on the way it may find a better one.
    fn attempt(&self, socket: &mut Option<Socket>, node: &mut usize, key: &str, op: Op) -> Outcome {
        let mut open = match socket.take() {
            Some(open) => open,
            None => {
                *node += 1;
                match Socket::open(self.addresses[*node % self.addresses.len()]) {
                    Ok(open) => open,
                    Err(_) => return Outcome::Refused,
                }
            }
        };
        let numbers = [
            op.written().unwrap_or(0),
            if let Op::Cas { expected, .. } = op { expected } else { 0 },
        ];
        let [new, expected] = numbers.map(|number| number.to_string());
        let reply = match op {
            Op::Write(_) => open.call(&["SET", key, &new]),
            Op::Read(_) => open.call(&["GET", key]),
            Op::Swap { .. } => open.call(&["SET", key, &new, "GET"]),
            Op::Cas { .. } => open.call(&["CAS", key, &expected, &new]),
        };
        let Ok(reply) = reply else { return Outcome::Unknown };
        let outcome = exchange::outcome(op, &reply);
        if outcome == Outcome::Refused {
            if let Some(leader) = moved_to(&reply) {
                *socket = Socket::open(leader).ok();
            }
        } else {
            *socket = Some(open);
        }
        outcome
    }
}

fn key(epoch: u64, n: u64) -> String {
    format!("key-{epoch}-{n}")
}

fn choose(rng: &mut Rng, new: u64, last: Option<u64>) -> Op {
    match (rng.below(10), last) {
        (0..=1, Some(expected)) => Op::Cas { expected, new, done: None },
        (0..=4, _) => Op::Read(None),
        (5, _) => Op::Swap { new, old: None },
        (6..=7, _) => Op::Write(new),
        _ => Op::Read(None),
    }
}

fn moved_to(reply: &hardlog_kv::resp::Reply) -> Option<SocketAddr> {
    let hardlog_kv::resp::Reply::Error(text) = reply else { return None };
    std::str::from_utf8(text).ok()?.strip_prefix("MOVED ")?.split(' ').nth(1)?.parse().ok()
}
