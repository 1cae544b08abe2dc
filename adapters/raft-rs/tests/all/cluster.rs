//! Three nodes of raft-rs in one thread, over simulated disks that lose power at any call, and a
//! network that loses, repeats and reorders. Nothing that was committed is ever lost, and every
//! node applies the same.
//!
//! A node saves with or without waiting, as its life's seed says. The state machine is in memory:
//! after a crash it is rebuilt from the snapshot and the entries behind it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
};

use hardlog::fs::{
    Fs,
    sim::{Model, Rng, SimFs, is_power_off},
};
use hardlog_raft_rs::{
    Error, LogStorage,
    raft::{
        Config, RawNode, Ready, SnapshotStatus, StateRole,
        eraftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, Message, MessageType},
    },
};
use protobuf::Message as _;

use super::rig::{logger, try_open, voters};

/// What each node applied, in order: index, and the command or change.
type Applied = Vec<(u64, Vec<u8>)>;

struct Node {
    raft: RawNode<LogStorage>,
    machine: Applied,
    /// Saves without waiting; `told` gets the numbers of what is durable.
    asynchronous: bool,
    told: Arc<Mutex<VecDeque<u64>>>,
    /// Messages that leave once the Ready of that number is durable.
    held: VecDeque<(u64, Vec<Message>)>,
}

struct Cluster {
    rng: Rng,
    disks: BTreeMap<u64, SimFs>,
    nodes: BTreeMap<u64, Node>,
    wire: Vec<Message>,
    /// What was committed, as the first node that applied it saw it.
    committed: BTreeMap<u64, Vec<u8>>,
    proposed: u64,
    crashes: u32,
    snapshots: u32,
}

impl Node {
    fn start(id: u64, disk: &SimFs, rng: &mut Rng) -> Result<Self, Error> {
        let mut storage = try_open(disk)?;
        if !storage.is_initialized() {
            storage.bootstrap(voters(&[1, 2, 3]))?;
        }
        let (machine, applied) = restore(&storage)?;
        let config = Config {
            applied,
            max_size_per_msg: 2000,
            pre_vote: rng.below(2) == 0,
            check_quorum: true,
            ..Config::new(id)
        };
        let raft = RawNode::new(&config, storage, &logger()).unwrap();
        let asynchronous = rng.below(2) == 0;
        let (told, held) = (Arc::default(), VecDeque::new());
        Ok(Self { raft, machine, asynchronous, told, held })
    }

    /// Handles every Ready; what may be sent goes into `out`.
    fn ready(&mut self, out: &mut Vec<Message>) -> Result<(), Error> {
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            out.extend(ready.take_messages());
            // A snapshot counts as applied at once, which it may not before it is durable.
            if self.asynchronous && ready.snapshot().is_empty() {
                self.save_async(ready)?;
            } else {
                self.save(ready, out)?;
            }
        }
        Ok(())
    }

    fn save(&mut self, mut ready: Ready, out: &mut Vec<Message>) -> Result<(), Error> {
        self.raft.mut_store().save(&ready)?;
        out.extend(ready.take_persisted_messages());
        if !ready.snapshot().is_empty() {
            (self.machine, _) = restore(self.raft.store())?;
        }
        self.apply(ready.take_committed_entries())?;
        let mut light = self.raft.advance(ready);
        self.raft.mut_store().save_light(&light)?;
        out.extend(light.take_messages());
        self.apply(light.take_committed_entries())?;
        self.raft.advance_apply();
        Ok(())
    }

    fn save_async(&mut self, mut ready: Ready) -> Result<(), Error> {
        let told = Arc::clone(&self.told);
        let done = move |result: hardlog::Result<u64>| {
            // An error: the node hears of it from its next save, or dies with the power.
            told.lock().unwrap().extend(result.ok());
        };
        self.raft.mut_store().save_async(&ready, done)?;
        self.held.push_back((ready.number(), ready.take_persisted_messages()));
        let entries = ready.take_committed_entries();
        self.raft.advance_append_async(ready);
        self.apply(entries)?;
        self.raft.advance_apply();
        Ok(())
    }

    /// Syncs, and goes on with what is durable now.
    fn sync(&mut self, out: &mut Vec<Message>) -> Result<(), Error> {
        self.raft.store().log().sync()?;
        loop {
            let Some(number) = self.told.lock().unwrap().pop_front() else { break };
            while self.held.front().is_some_and(|(of, _)| *of <= number) {
                out.extend(self.held.pop_front().unwrap().1);
            }
            self.raft.on_persist_ready(number);
        }
        self.ready(out)
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for entry in entries {
            let expected = self.machine.last().map_or(2, |(index, _)| index + 1);
            assert_eq!(entry.index, expected, "applied out of order");
            if entry.get_entry_type() == EntryType::EntryConfChange {
                self.change(&entry)?;
            }
            self.machine.push((entry.index, entry.data.to_vec()));
        }
        Ok(())
    }

    fn change(&mut self, entry: &Entry) -> Result<(), Error> {
        // After a restart the membership is ahead of the entries that are applied again.
        if entry.index <= self.raft.store().conf_state()?.0 {
            return Ok(());
        }
        let mut change = ConfChange::default();
        change.merge_from_bytes(&entry.data).unwrap();
        let members = self.raft.apply_conf_change(&change).unwrap();
        self.raft.mut_store().save_conf_state(entry.index, &members)?;
        Ok(())
    }

    /// Makes a snapshot of all that was applied, and drops entries that it covers.
    fn snapshot(&mut self, keep: u64) -> Result<(), Error> {
        let Some((applied, _)) = self.machine.last().cloned() else { return Ok(()) };
        let storage = self.raft.mut_store();
        let (_, members) = storage.conf_state()?;
        let mut file = storage.begin_snapshot(applied, &members)?;
        for (index, data) in &self.machine {
            file.write_all(&index.to_le_bytes())?;
            file.write_all(&(data.len() as u64).to_le_bytes())?;
            file.write_all(data)?;
        }
        let mark = file.commit()?;
        storage.mark_snapshot(mark)?;
        storage.compact(applied.saturating_sub(keep))?;
        Ok(())
    }
}

/// The state machine as of the snapshot that counts, and its index.
fn restore(storage: &LogStorage) -> Result<(Applied, u64), Error> {
    let Some((meta, mut file)) = storage.restore()? else { return Ok((Vec::new(), 0)) };
    let mut machine = Applied::new();
    let mut word = [0; 8];
    while file.read_exact(&mut word).is_ok() {
        let index = u64::from_le_bytes(word);
        file.read_exact(&mut word)?;
        let mut data = vec![0; usize::try_from(u64::from_le_bytes(word)).unwrap()];
        file.read_exact(&mut data)?;
        machine.push((index, data));
    }
    assert_eq!(machine.last().map(|(index, _)| *index), Some(meta.index));
    Ok((machine, meta.index))
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let disks: BTreeMap<u64, SimFs> =
            (1..=3).map(|id| (id, SimFs::new(seed * 8 + id))).collect();
        let nodes = disks.iter().map(|(id, disk)| {
            let node = Node::start(*id, disk, &mut rng).unwrap();
            (*id, node)
        });
        let nodes = nodes.collect();
        let (wire, committed) = (Vec::new(), BTreeMap::new());
        Self { rng, disks, nodes, wire, committed, proposed: 0, crashes: 0, snapshots: 0 }
    }

    /// Lets a node do something; if its power went meanwhile, it is gone.
    fn with(
        &mut self,
        id: u64,
        run: impl FnOnce(&mut Node, &mut Vec<Message>) -> Result<(), Error>,
    ) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut out = Vec::new();
        // raft-rs panics when it cannot read, as it may without power.
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(node, &mut out)?;
            node.ready(&mut out)
        }));
        match result {
            Ok(Ok(())) => {
                self.wire.extend(out);
                self.compare(id);
            }
            Err(panic) if !self.is_without_power(id) => resume_unwind(panic),
            Ok(Err(error)) if !self.is_without_power(id) => panic!("node {id}: {error}"),
            _ => self.crash(id),
        }
    }

    /// Cuts the power of a node, and gives its disk one of the states that this may leave.
    fn crash(&mut self, id: u64) {
        if self.nodes.remove(&id).is_some() {
            self.lose_power(id);
        }
    }

    fn lose_power(&mut self, id: u64) {
        self.crashes += 1;
        let images = self.disks[&id].crash_images(Model::Strict, 16, &mut self.rng);
        let mut images: Vec<_> = images.filter(|image| image.harmed.is_none()).collect();
        let chosen = images.swap_remove(self.rng.below(images.len())).fs;
        self.disks.insert(id, chosen);
    }

    /// Starts a node, whose power may go meanwhile.
    fn start(&mut self, id: u64) {
        match Node::start(id, &self.disks[&id], &mut self.rng) {
            Ok(node) => drop(self.nodes.insert(id, node)),
            Err(error) => {
                assert!(self.is_without_power(id), "node {id} does not start: {error}");
                self.lose_power(id);
            }
        }
    }

    fn is_without_power(&self, id: u64) -> bool {
        self.disks[&id].free_space().is_err_and(|error| is_power_off(&error))
    }

    /// What a node has applied is what every other one has at the same index.
    fn compare(&mut self, id: u64) {
        for (index, data) in &self.nodes[&id].machine {
            let first = self.committed.entry(*index).or_insert_with(|| data.clone());
            assert_eq!(first, data, "node {id} applied something else at {index}");
        }
    }

    fn propose(&mut self, id: u64) {
        self.proposed += 1;
        let number = self.proposed;
        let change = self.rng.below(20);
        self.with(id, |node, _| {
            // A refusal (no leader, a change under way) is none of this test's business.
            let _ = if change < 2 {
                let mut toggled = ConfChange { node_id: 4, ..ConfChange::default() };
                toggled.set_change_type(match change {
                    0 => ConfChangeType::AddLearnerNode,
                    _ => ConfChangeType::RemoveNode,
                });
                node.raft.propose_conf_change(vec![], toggled)
            } else {
                let data = format!("{number}-{}", "x".repeat(300));
                node.raft.propose(vec![], data.into_bytes())
            };
            Ok(())
        });
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        self.with(to, |node, _| {
            let _ = node.raft.step(message);
            Ok(())
        });
        if is_snapshot {
            self.with(from, |node, _| {
                node.raft.report_snapshot(to, SnapshotStatus::Finish);
                Ok(())
            });
        }
    }

    /// One random event.
    fn event(&mut self) {
        let id = 1 + self.rng.below(3) as u64;
        match self.rng.below(1000) {
            0..200 => self.with(id, |node, _| {
                node.raft.tick();
                Ok(())
            }),
            200..650 if !self.wire.is_empty() => {
                let at = self.rng.below(self.wire.len().min(8));
                let message = self.wire.remove(at);
                match self.rng.below(30) {
                    0 => {}
                    1 => {
                        self.wire.push(message.clone());
                        self.deliver(message);
                    }
                    _ => self.deliver(message),
                }
            }
            650..850 => self.with(id, Node::sync),
            850..970 => self.propose(id),
            970..980 => {
                let keep = self.rng.below(20) as u64;
                self.snapshots += 1;
                self.with(id, |node, _| node.snapshot(keep));
            }
            980..984 => self.crash(id),
            // The power goes at one of the next calls to the disk.
            984..988 => {
                self.disks[&id].cut_at(self.disks[&id].ops() + self.rng.below(30) as u64);
                if !self.nodes.contains_key(&id) {
                    self.start(id);
                }
            }
            988.. if !self.nodes.contains_key(&id) => self.start(id),
            _ => {}
        }
        self.wanted(id);
    }

    /// A leader makes the snapshot that it was asked for.
    fn wanted(&mut self, id: u64) {
        let wanted = self.nodes.get(&id).and_then(|node| node.raft.store().snapshot_wanted());
        if wanted.is_some() {
            self.with(id, |node, _| node.snapshot(5));
        }
    }

    /// Everybody runs, nothing is lost: all must agree on all there is, and go on.
    fn settle(&mut self) {
        for id in 1..=3 {
            // Also what a planned power cut would have hit later.
            if self.nodes.remove(&id).is_some() || self.is_without_power(id) {
                self.lose_power(id);
            }
            self.start(id);
        }
        let goal = format!("end-{}", self.proposed).into_bytes();
        for round in 0..3000 {
            for id in 1..=3 {
                self.with(id, |node, out| {
                    node.raft.tick();
                    node.sync(out)
                });
                self.wanted(id);
            }
            for message in std::mem::take(&mut self.wire) {
                self.deliver(message);
            }
            let leader =
                self.nodes.values_mut().find(|node| node.raft.raft.state == StateRole::Leader);
            if let Some(leader) = leader.filter(|_| round % 100 == 99) {
                let _ = leader.raft.propose(vec![], goal.clone());
            }
            let all = self.committed.keys().next_back().copied().unwrap_or(0);
            let done = |node: &Node| {
                node.machine.iter().any(|(_, data)| *data == goal)
                    && node.machine.last().is_some_and(|(index, _)| *index >= all)
            };
            if self.nodes.len() == 3 && self.nodes.values().all(done) {
                return;
            }
        }
        panic!("no agreement in the end");
    }

    fn check(&self) {
        let members: BTreeSet<_> = self.nodes.values().map(Node::members).collect();
        assert_eq!(members.len(), 1, "{members:?}");
        for (id, node) in &self.nodes {
            let has: Applied = self.committed.clone().into_iter().collect();
            assert_eq!(node.machine, has, "node {id}");
        }
    }
}

impl Node {
    fn members(&self) -> (Vec<u64>, Vec<u64>) {
        let ConfState { voters, learners, .. } = self.raft.store().conf_state().unwrap().1;
        (voters, learners)
    }
}

#[test]
fn what_was_committed_survives_power_cuts_of_any_node_at_any_call() {
    let (mut crashes, mut snapshots, mut committed) = (0, 0, 0);
    for seed in 1..=20 {
        let mut cluster = Cluster::new(seed);
        println!("seed {seed}");
        for _ in 0..12_000 {
            cluster.event();
        }
        cluster.settle();
        cluster.check();
        crashes += cluster.crashes;
        snapshots += cluster.snapshots;
        committed += cluster.committed.len();
    }
    println!("{crashes} crashes, {snapshots} snapshots, {committed} committed");
    assert!(crashes > 200 && snapshots > 200 && committed > 2000);
}
