//! A cluster of cores in one thread: logs are vectors, disks have a watermark, the network is a
//! list of messages. Nothing happens unless a test makes it happen.

use std::{cell::RefCell, collections::BTreeMap, ops::Range, rc::Rc};

use bytes::Bytes;
use hardlog::{Entry, EntryId, HardState, Index, Term};

use crate::{
    config::Config,
    core::{
        Configuration, Core, Identity, Install, LogView, Membership, RoleName, Slot,
        log_view::entry_bytes, quorum::Voters,
    },
    durable::{Durable, Promise},
    message::{Body, Message, NodeId},
    payload::Payload,
    ready::{ReadReady, ReadToken, Save},
};

/// A log in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Id of the entry before the window.
    pub(super) prev: EntryId,
    pub(super) entries: Vec<Entry>,
    pub(super) hard_state: HardState,
    pub(super) configurations: Vec<Configuration>,
    /// Entries whose bytes are damaged.
    pub(super) faulty: Vec<Index>,
    /// The configuration as of `prev`; the one of the start if it names nobody.
    pub(super) before: Configuration,
}

/// Several owners, one log: the core reads, the test writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(pub(super) Rc<RefCell<Memory>>);

impl Memory {
    fn offset(&self, index: Index) -> Option<usize> {
        Some(index.checked_sub(self.prev.index + 1)? as usize)
    }

    pub(super) fn last_id(&self) -> EntryId {
        self.entries.last().map_or(self.prev, |entry| entry.id)
    }

    pub(super) fn apply(&mut self, save: &Save) {
        if let Some(id) = save.reset {
            self.prev = id;
            self.entries.clear();
        }
        if let Some(from) = save.truncate_from {
            let keep = self.offset(from).expect("within the window");
            assert!(keep < self.entries.len() && from > self.hard_state.commit);
            self.entries.truncate(keep);
        }
        self.entries.extend(save.entries.iter().cloned());
        if let Some(next) = save.hard_state {
            self.hard_state.check_change(&next, self.last_id().index + 1).expect("a legal change");
            self.hard_state = next;
        }
        if let Some(configurations) = &save.configurations {
            self.configurations.clone_from(configurations);
        }
        if save.reset.is_some() {
            self.before = self.configurations.first().cloned().unwrap_or_default();
        }
    }

    pub(super) fn trim_before(&mut self, to: Index) {
        while self.prev.index + 1 < to {
            let entry = self.entries.remove(0);
            self.prev = entry.id;
            if let Ok(Payload::Membership(membership)) = Payload::of(&entry) {
                self.before = Configuration { index: entry.index(), membership };
            }
        }
    }
}

impl LogView for Shared {
    fn first_index(&self) -> Index {
        self.0.borrow().prev.index + 1
    }

    fn last_id(&self) -> EntryId {
        self.0.borrow().last_id()
    }

    fn term_at(&self, index: Index) -> Slot<Term> {
        let log = self.0.borrow();
        if index == log.prev.index {
            return Slot::Present(log.prev.term);
        }
        let Some(offset) = log.offset(index) else { return Slot::Trimmed };
        log.entries.get(offset).map_or(Slot::Beyond, |entry| Slot::Present(entry.term()))
    }

    fn entries(&self, range: Range<Index>, bytes_max: u64) -> Slot<Vec<Entry>> {
        let log = self.0.borrow();
        let Some(offset) = log.offset(range.start) else { return Slot::Trimmed };
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in log.entries.iter().skip(offset).take_while(|e| e.index() < range.end) {
            if log.faulty.contains(&entry.index()) {
                return if found.is_empty() { Slot::Faulty } else { Slot::Present(found) };
            }
            bytes += entry_bytes(entry);
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        if found.is_empty() { Slot::Beyond } else { Slot::Present(found) }
    }
}

/// A node: a core, the log it sees, and what of it is on disk.
pub(super) struct Node {
    pub(super) core: Core<Shared>,
    pub(super) log: Shared,
    pub(super) disk: Memory,
    /// Saves that were written and not synced, with the log as it was after each.
    pub(super) unsynced: Vec<(u64, Memory)>,
    held: Vec<Promise<Message>>,
    pub(super) applied: Vec<Entry>,
    pub(super) reads: Vec<ReadReady>,
    pub(super) reads_lost: Vec<ReadToken>,
}

pub(super) struct Net {
    pub(super) config: Config,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// On their way, oldest first.
    pub(super) wire: Vec<Message>,
    /// Pairs whose messages are lost.
    pub(super) cut: Vec<(NodeId, NodeId)>,
    /// Nodes whose disk does not sync.
    pub(super) hung: Vec<NodeId>,
    seed: u64,
    pub(super) size: u64,
    /// The voters that the cluster begins with.
    pub(super) first: Membership,
}

impl Net {
    pub(super) fn new(size: u64, config: Config, seed: u64) -> Self {
        let mut net = Self {
            config,
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            cut: Vec::new(),
            hung: Vec::new(),
            seed,
            size,
            first: Membership::of_voters((1..=size).collect()),
        };
        for id in 1..=size {
            net.start(id, Memory::default());
        }
        net
    }

    /// Three nodes whose logs hold entries of these terms.
    pub(super) fn with_logs(config: Config, logs: &[&[Term]]) -> Self {
        let mut net = Self::new(logs.len() as u64, config, 1);
        for (id, terms) in (1..).zip(logs) {
            net.start(id, memory(terms));
        }
        net
    }

    pub(super) fn start(&mut self, id: NodeId, disk: Memory) {
        let log = Shared(Rc::new(RefCell::new(disk.clone())));
        self.seed += 1;
        let knows = self.first.contains(id);
        let voters = if knows { self.first.voters().clone() } else { Voters::default() };
        let identity = Identity { id, voters, seed: self.seed * 1000 + id };
        let saved = (disk.hard_state, disk.configurations.clone());
        let core = Core::restored(identity, self.config.clone(), log.clone(), saved);
        let node = Node {
            core,
            log,
            disk,
            unsynced: Vec::new(),
            held: Vec::new(),
            applied: Vec::new(),
            reads: Vec::new(),
            reads_lost: Vec::new(),
        };
        self.nodes.insert(id, node);
    }

    /// A machine that waits to be added. Its id.
    pub(super) fn join(&mut self) -> NodeId {
        self.size += 1;
        self.start(self.size, Memory::default());
        self.size
    }

    /// The node forgets what was not synced and begins again.
    pub(super) fn crash(&mut self, id: NodeId) {
        let disk = self.node(id).disk.clone();
        self.wire.retain(|message| message.from != id && message.to != id);
        self.start(id, disk);
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the net")
    }

    pub(super) fn core(&mut self, id: NodeId) -> &mut Core<Shared> {
        &mut self.node(id).core
    }

    /// Takes what the core has ready: writes at once, syncs nothing.
    pub(super) fn collect(&mut self, id: NodeId) {
        loop {
            let node = self.nodes.get_mut(&id).expect("a node of the net");
            let ready = node.core.ready();
            let saved = ready.save.is_some();
            if let Some(save) = ready.save {
                node.log.0.borrow_mut().apply(&save);
                node.core.saved(save.number);
                node.unsynced.push((save.number, node.log.0.borrow().clone()));
            }
            node.held.extend(ready.promises);
            node.reads.extend(ready.reads);
            node.reads_lost.extend(ready.reads_lost);
            node.apply(ready.apply_to);
            for peer in ready.snapshots.wanted {
                self.wire.push(offer(id, peer, node, &self.first));
            }
            for (from, chunk) in ready.snapshots.chunks {
                // In this net a snapshot is its own name: it arrives whole.
                let configuration = Configuration::decode(&chunk.offer.meta).expect("its own");
                let _: Install = node.core.install_snapshot(from, chunk.offer.id, configuration);
            }
            self.wire.extend(ready.send);
            self.release(id, 0);
            if !saved {
                return;
            }
        }
    }

    /// The disk finishes the first `count` saves, at least those proven before.
    pub(super) fn sync(&mut self, id: NodeId, count: usize) {
        let node = self.nodes.get_mut(&id).expect("a node of the net");
        let Some((number, log)) = node.unsynced.drain(..count).next_back() else { return };
        node.disk = log;
        node.core.durable(Durable::assumed(number));
        self.release(id, number);
    }

    fn release(&mut self, id: NodeId, number: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the net");
        let oldest = node.unsynced.first().map_or(u64::MAX, |(number, _)| *number);
        let proof = Durable::assumed(number.max(oldest - 1));
        for promise in std::mem::take(&mut node.held) {
            match promise.open(proof) {
                Ok(message) => self.wire.push(message),
                Err(promise) => node.held.push(promise),
            }
        }
    }

    fn is_cut(&self, message: &Message) -> bool {
        self.cut.contains(&(message.from, message.to))
    }

    /// Everything that can happen without time passing happens.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            for id in 1..=self.size {
                self.collect(id);
                if !self.hung.contains(&id) {
                    let count = self.node(id).unsynced.len();
                    self.sync(id, count);
                    self.collect(id);
                }
            }
            let synced =
                |(id, node): (&NodeId, &Node)| self.hung.contains(id) || node.unsynced.is_empty();
            if self.wire.is_empty() && self.nodes.iter().all(synced) {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                if !self.is_cut(&message) && self.nodes.contains_key(&message.to) {
                    self.core(message.to).step(message);
                }
            }
        }
        panic!("the net does not come to rest");
    }

    pub(super) fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for id in 1..=self.size {
                self.core(id).tick();
            }
            self.settle();
        }
    }

    /// Makes a node the leader now.
    pub(super) fn elect(&mut self, id: NodeId) {
        for ticks in 0..10 {
            // Whoever still hears the old leader has to forget it first.
            if ticks > 0 {
                for peer in (1..=self.size).filter(|peer| *peer != id) {
                    self.core(peer).election_elapsed = 0;
                    self.core(peer).leader = None;
                }
            }
            self.core(id).campaign();
            self.settle();
            if self.core(id).role() == RoleName::Leader {
                return;
            }
        }
        panic!("node {id} is not elected");
    }

    pub(super) fn propose(&mut self, id: NodeId, command: &'static str) -> EntryId {
        self.core(id).propose(&Bytes::from_static(command.as_bytes())).expect("a leader")
    }

    pub(super) fn isolate(&mut self, id: NodeId) {
        for peer in (1..=self.size).filter(|peer| *peer != id) {
            self.cut.extend([(id, peer), (peer, id)]);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn leaders(&self) -> Vec<(NodeId, Term)> {
        let leads = |node: &Node| node.core.role() == RoleName::Leader;
        let leaders = self.nodes.iter().filter(|(_, node)| leads(node));
        leaders.map(|(id, node)| (*id, node.core.term())).collect()
    }

    /// Terms of the entries of a node's log.
    pub(super) fn terms(&mut self, id: NodeId) -> Vec<Term> {
        self.node(id).log.0.borrow().entries.iter().map(Entry::term).collect()
    }

    /// Commands that a node applied.
    pub(super) fn commands(&mut self, id: NodeId) -> Vec<String> {
        let entries = self.node(id).applied.iter();
        let payloads = entries.map(|entry| Payload::of(entry).expect("a known kind"));
        payloads
            .filter_map(|payload| match payload {
                Payload::Command(data) => Some(String::from_utf8(data.to_vec()).expect("text")),
                Payload::NoOp | Payload::Membership(_) => None,
            })
            .collect()
    }
}

impl Node {
    fn apply(&mut self, to: Index) {
        let log = self.log.0.borrow();
        let mut next = self.applied.last().map_or(log.prev.index, Entry::index) + 1;
        next = next.max(log.prev.index + 1);
        for index in next..=to {
            let offset = log.offset(index).expect("within the window");
            let entry = log.entries[offset].clone();
            let durable = self.disk.entries.contains(&entry);
            assert!(durable, "entry {index} is applied before it is durable");
            self.applied.push(entry);
        }
    }
}

fn offer(from: NodeId, to: NodeId, node: &Node, first: &Membership) -> Message {
    let log = node.log.0.borrow();
    let mut configuration = log.before.clone();
    if configuration.membership.is_empty() {
        configuration.membership = first.clone();
    }
    let meta = configuration.encode().into();
    let chunk = crate::message::SnapshotChunk {
        offer: hardlog::SnapshotOffer { id: log.prev, meta, len: 0, crc: None },
        offset: 0,
        data: Bytes::new(),
    };
    Message { from, to, term: node.core.term(), body: Body::Snapshot(chunk) }
}

/// A log with entries of these terms from index 1.
pub(super) fn memory(terms: &[Term]) -> Memory {
    let entries = (1..).zip(terms).map(|(index, term)| {
        Entry::new(index, *term, Payload::command(format!("{index}.{term}").as_bytes()))
    });
    let term = terms.last().copied().unwrap_or(0);
    let hard_state = HardState { term, vote: None, commit: 0 };
    let entries = entries.collect();
    Memory { entries, hard_state, ..Memory::default() }
}

/// A message of a peer.
pub(super) fn says(from: NodeId, to: NodeId, term: Term, body: Body) -> Message {
    Message { from, to, term, body }
}
