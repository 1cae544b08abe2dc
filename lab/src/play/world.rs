//! What a cluster is to whoever plays with it, in virtual time or as processes.
//!
//! ```text
//!   game ─▶ World ─┬─▶ simulated: real nodes in one process, simulated time, network and disks
//!                  └─▶ real: one process a node, on this machine
//! ```
//! Above: `game`, which knows the commands, and `show` and `screen`, which print nodes. Below: two
//! worlds. Nodes are counted from 0 here and from 1 wherever somebody reads it.
//!
//! INVARIANT: what a world cannot do is an error that says where it can be done.

use hardlog_raft::trace::Part;

use super::command::Deed;

/// One node as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The part that it plays.
    pub(super) part: Part,
    /// Its term.
    pub(super) term: u64,
    /// First and last index of its log; the last is below the first if it is empty.
    pub(super) window: (u64, u64),
    /// Its commit index.
    pub(super) commit: u64,
    /// The index up to which it applied.
    pub(super) applied: u64,
    /// The index up to which its log is durable, if that is known.
    pub(super) durable: Option<u64>,
    /// Index of its newest snapshot, 0 without one.
    pub(super) snapshot: u64,
    /// The last entries: index and term.
    pub(super) entries: Vec<(u64, u64)>,
    /// Files of its log: number and bytes in use, as far as they are known.
    pub(super) files: Vec<(u64, Option<u64>)>,
    /// What its last start found: a verdict, and what else there is to say.
    pub(super) verdict: (String, Option<String>),
    /// What is wrong with it now.
    pub(super) remarks: Vec<String>,
}

impl View {
    /// A node that does not run.
    pub(super) fn down(verdict: (String, Option<String>)) -> Self {
        Self {
            part: Part::Down,
            term: 0,
            window: (1, 0),
            commit: 0,
            applied: 0,
            durable: None,
            snapshot: 0,
            entries: Vec::new(),
            files: Vec::new(),
            verdict,
            remarks: Vec::new(),
        }
    }
}

/// How a cluster begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) size: usize,
    pub(super) seed: Option<u64>,
    pub(super) classic: bool,
    /// Bytes of log after which a snapshot is taken.
    pub(super) snapshot: Option<u64>,
}

/// A cluster. An error says why something was not done.
pub(super) trait World {
    /// How many nodes.
    fn size(&self) -> usize;
    /// Microseconds since the cluster was made.
    fn micros(&self) -> u64;
    /// Every node as it is now. The last entries are asked for only where they are shown: a world
    /// may have to read them from disks.
    fn views(&mut self, entries: bool) -> Vec<View>;
    /// Who leads the newest term.
    fn leader(&mut self) -> Option<usize>;
    /// Time passes.
    fn pass(&mut self, micros: u64) -> Result<(), String>;
    /// How long an answer is waited for, in microseconds.
    fn set_patience(&mut self, micros: u64);
    /// A write, by the leader unless a node is named; what came of it, in words.
    fn set(&mut self, key: &str, value: &str, node: Option<usize>) -> Result<String, String>;
    /// A read that sees every write before it.
    fn get(&mut self, key: &str, node: Option<usize>) -> Result<Option<String>, String>;
    /// Something is done to a node.
    fn deed(&mut self, deed: Deed, node: usize) -> Result<String, String>;
    /// One bit of an entry changes on a node's disk.
    fn rot(&mut self, node: usize, index: u64) -> Result<String, String>;
    /// The next node starts and joins.
    fn add(&mut self) -> Result<String, String>;
    /// Only nodes of one group hear each other; one in no group hears nobody.
    fn partition(&mut self, groups: &[Vec<usize>]) -> Result<(), String>;
    /// All groups hear each other again.
    fn heal(&mut self) -> Result<(), String>;
    /// Words for people, in the trace.
    fn note(&self, words: &str);
    /// The trace so far.
    fn trace(&self) -> Result<Vec<u8>, String>;
    /// Lines of the trace that were not handed out by this before, as far as that costs little.
    fn news(&mut self) -> Vec<u8>;
    /// The cluster ends in an orderly way.
    fn end(self: Box<Self>) -> Result<(), String>;
}
