//! What two nodes tell each other before the first message.
//!
//! The one that connects sends a hello, the other answers with a hello of its own and a verdict.
//! Both sides check: same protocol, same cluster, the node that was meant, and that it is still the
//! node it was.
//!
//! ```text
//!  0       6     8        16      24      32        48            56     57        58     62
//!  │ magic │ ver │ cluster │ from │ to    │ log id  │ incarnation │ lane │ verdict │ crc32 │
//! ```
//! Little-endian, 62 bytes, the checksum over all before it. Magic and version never move.
//!
//! A node whose disk was wiped or put back to an older copy has forgotten promises that it made.
//! Its log id differs then, or its incarnation, which grows each time the log is opened, went back:
//! peers that knew it before refuse it. What they know outlives their process too: see `boot`.
//! The node that hears such a refusal gives up for good: else it would be let in by peers that come
//! later and never knew it, or once it was started often enough for its incarnation to catch up.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    sync::{Mutex, PoisonError},
};

use hardlog::LogId;

use super::{Lane, Wire, frame::bad};
use crate::message::NodeId;

/// Version of hello, frames and codec.
pub const VERSION: u16 = 3;

const MAGIC: &[u8; 6] = b"hlraft";
const LEN: usize = 62;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(super) cluster: u64,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) log_id: LogId,
    pub(super) incarnation: u64,
    pub(super) lane: Lane,
    pub(super) verdict: Verdict,
}

/// Whether the other side is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Welcome = 0,
    /// Another cluster.
    Cluster = 1,
    /// The hello is meant for another node.
    Node = 2,
    /// Not one of the peers.
    Stranger = 3,
    /// The same node over another log: its disk was replaced.
    Log = 4,
    /// The same log, opened fewer times than before: an older copy of the disk.
    Incarnation = 5,
    /// Its certificate is of another node.
    Certificate = 6,
}

impl Verdict {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Welcome,
            1 => Self::Cluster,
            2 => Self::Node,
            3 => Self::Stranger,
            4 => Self::Log,
            5 => Self::Incarnation,
            6 => Self::Certificate,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Cluster => "it belongs to another cluster",
            Self::Node => "it is another node than was meant",
            Self::Stranger => "it is not one of the peers",
            Self::Log => {
                "its log is another than before: the disk was wiped or replaced; \
                          a wiped node must join under a new id"
            }
            Self::Incarnation => {
                "its log was opened fewer times than before: \
                                  the disk was put back to an older copy"
            }
            Self::Certificate => "its certificate does not name it",
        }
    }
}

impl Hello {
    fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut rest = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        };
        put(MAGIC);
        put(&VERSION.to_le_bytes());
        put(&self.cluster.to_le_bytes());
        put(&self.from.to_le_bytes());
        put(&self.to.to_le_bytes());
        put(&self.log_id.0);
        put(&self.incarnation.to_le_bytes());
        put(&[self.lane as u8, self.verdict as u8]);
        let crc = crc32fast::hash(&bytes[..LEN - 4]);
        bytes[LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> io::Result<Self> {
        if &bytes[..6] != MAGIC {
            return Err(bad("not a node of Raft".to_owned()));
        }
        let version = u16::from_le_bytes([bytes[6], bytes[7]]);
        if version != VERSION {
            return Err(bad(format!("protocol version {version}; this node speaks {VERSION}")));
        }
        let crc = crc32fast::hash(&bytes[..LEN - 4]).to_le_bytes();
        if bytes[LEN - 4..] != crc {
            return Err(bad("a hello whose checksum does not match".to_owned()));
        }
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[32..48]);
        let lane = Lane::of(bytes[56]).ok_or_else(|| bad("an unknown lane".to_owned()))?;
        let verdict = Verdict::of(bytes[57]).ok_or_else(|| bad("an unknown verdict".to_owned()))?;
        Ok(Self {
            cluster: number(8),
            from: number(16),
            to: number(24),
            log_id: LogId(log_id),
            incarnation: number(48),
            lane,
            verdict,
        })
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; LEN];
        from.read_exact(&mut bytes)?;
        Self::decode(&bytes)
    }
}

/// What is remembered of peers from earlier runs, and whom to tell of what is new.
pub(crate) struct Past {
    pub(crate) seen: BTreeMap<NodeId, (LogId, u64)>,
    pub(crate) met: Box<dyn Fn(NodeId, LogId, u64) + Send + Sync>,
    /// A peer says that this node forgot what it promised.
    pub(crate) disowned: Box<dyn Fn(NodeId) + Send + Sync>,
}

impl Default for Past {
    fn default() -> Self {
        let (met, disowned) = (Box::new(|_, _, _| {}), Box::new(|_| {}));
        Self { seen: BTreeMap::new(), met, disowned }
    }
}

/// Who this node is, and what it remembers of its peers.
pub(crate) struct Acquaintance {
    pub(crate) cluster: u64,
    pub(crate) id: NodeId,
    pub(crate) log_id: LogId,
    pub(crate) incarnation: u64,
    /// Those it talks to.
    pub(crate) peers: Mutex<BTreeSet<NodeId>>,
    pub(crate) seen: Mutex<BTreeMap<NodeId, (LogId, u64)>>,
    pub(crate) met: Box<dyn Fn(NodeId, LogId, u64) + Send + Sync>,
    pub(crate) disowned: Box<dyn Fn(NodeId) + Send + Sync>,
}

impl Acquaintance {
    pub(crate) fn hello(&self, to: NodeId, lane: Lane, verdict: Verdict) -> Hello {
        let Self { cluster, id: from, log_id, incarnation, .. } = *self;
        Hello { cluster, from, to, log_id, incarnation, lane, verdict }
    }

    /// Whether the other side may talk to this node. Remembers it, if so.
    pub(crate) fn judge(&self, hello: &Hello) -> Verdict {
        if hello.cluster != self.cluster {
            return Verdict::Cluster;
        }
        if hello.to != self.id {
            return Verdict::Node;
        }
        // What a thread that panicked left there is whole: it is written in one piece.
        if !self.peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&hello.from) {
            return Verdict::Stranger;
        }
        let now = (hello.log_id, hello.incarnation);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&hello.from) {
            Some((log_id, _)) if *log_id != hello.log_id => return Verdict::Log,
            Some((_, incarnation)) if *incarnation > hello.incarnation => {
                return Verdict::Incarnation;
            }
            Some(before) if *before == now => return Verdict::Welcome,
            Some(_) | None => {}
        }
        seen.insert(hello.from, now);
        (self.met)(hello.from, hello.log_id, hello.incarnation);
        Verdict::Welcome
    }

    /// Says hello on a fresh connection to `to`, and hears it out.
    pub(super) fn introduce(
        &self,
        stream: &mut Box<dyn Wire>,
        to: NodeId,
        lane: Lane,
    ) -> io::Result<()> {
        self.hello(to, lane, Verdict::Welcome).write(stream)?;
        let reply = Hello::read(stream)?;
        if reply.from == to && matches!(reply.verdict, Verdict::Log | Verdict::Incarnation) {
            (self.disowned)(to);
        }
        if reply.verdict != Verdict::Welcome {
            return Err(bad(format!("node {to} refuses this node: {}", reply.verdict.text())));
        }
        if reply.from != to {
            return Err(bad(format!("node {} answers where node {to} was meant", reply.from)));
        }
        refusal(self.judge(&reply), to)
    }

    /// Hears the hello of a fresh connection and answers it.
    pub(super) fn receive(&self, stream: &mut Box<dyn Wire>) -> io::Result<Hello> {
        let hello = Hello::read(stream)?;
        // First, so that nobody is remembered under a name that is not shown to be its own.
        let verdict = match stream.is(hello.from, self.cluster) {
            true => self.judge(&hello),
            false => Verdict::Certificate,
        };
        self.hello(hello.from, hello.lane, verdict).write(stream)?;
        refusal(verdict, hello.from)?;
        Ok(hello)
    }
}

fn refusal(verdict: Verdict, peer: NodeId) -> io::Result<()> {
    match verdict {
        Verdict::Welcome => Ok(()),
        other => Err(bad(format!("node {peer} is refused: {}", other.text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: NodeId, incarnation: u64) -> Acquaintance {
        let peers = (1..=3).filter(|peer| *peer != id).collect();
        let Past { seen, met, disowned } = Past::default();
        let log_id = LogId([u8::try_from(id).unwrap(); 16]);
        let (peers, seen) = (Mutex::new(peers), Mutex::new(seen));
        Acquaintance { cluster: 7, id, log_id, incarnation, peers, seen, met, disowned }
    }

    #[test]
    fn a_hello_comes_back_and_each_flipped_bit_is_an_error() {
        let hello = node(1, 5).hello(2, Lane::Log, Verdict::Welcome);
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes).unwrap(), hello);
        for bit in 0..LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_wiped_or_rolled_back_disk_is_another_node() {
        let one = node(1, 1);
        let judge = |edit: &dyn Fn(&mut Hello)| {
            let mut hello = node(2, 5).hello(1, Lane::Control, Verdict::Welcome);
            edit(&mut hello);
            one.judge(&hello)
        };
        assert_eq!(judge(&|_| {}), Verdict::Welcome);
        assert_eq!(judge(&|hello| hello.incarnation = 6), Verdict::Welcome, "it was restarted");
        assert_eq!(judge(&|hello| hello.incarnation = 5), Verdict::Incarnation);
        assert_eq!(judge(&|hello| hello.log_id = LogId([9; 16])), Verdict::Log);
        assert_eq!(judge(&|hello| hello.cluster = 8), Verdict::Cluster);
        assert_eq!(judge(&|hello| hello.to = 3), Verdict::Node);
        assert_eq!(judge(&|hello| hello.from = 9), Verdict::Stranger);
        assert_eq!(judge(&|hello| hello.from = 1), Verdict::Stranger, "nobody talks to itself");
    }
}
