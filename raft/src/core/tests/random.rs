//! Random runs of whole clusters, each from one seed: messages lost, doubled, delayed and
//! reordered, partitions, slow disks, crashes that lose what was not synced, trims.
//!
//! Checked after every step: at most one leader in a term; what was committed at an index never
//! changes, on any node, across crashes; a new leader holds every committed entry; the logs of any
//! two nodes are equal up to the last entry that both hold with one term. At the end the network
//! heals and everybody must agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use hardlog::{Entry, EntryId, Index, Term};

use super::net::Net;
use crate::{config::Config, core::RoleName, message::NodeId, payload::Payload};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Run {
    net: Net,
    rng: Rng,
    size: u64,
    loss: u64,
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<Index, Entry>,
    proposed: u64,
    reads: BTreeMap<u64, Index>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let profile = if rng.chance(50) { Config::production() } else { Config::classic() };
        let config = Config {
            append_bytes_max: 30 + rng.below(200),
            inflight_max: 1 + rng.below(4) as usize,
            unsaved_bytes_max: 200 + rng.below(1000),
            ..profile
        };
        let size = if rng.chance(70) { 3 } else { 5 };
        let loss = rng.below(4) * 10;
        Self {
            net: Net::new(size, config, seed),
            rng,
            size,
            loss,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            proposed: 0,
            reads: BTreeMap::new(),
        }
    }

    fn any(&mut self) -> NodeId {
        1 + self.rng.below(self.size)
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..45 => self.deliver(),
            45..65 => {
                let id = self.any();
                self.net.core(id).tick();
            }
            65..80 => self.sync_some(),
            80..92 => self.propose(),
            92..94 => self.read(),
            94..96 => self.partition(),
            96..98 => self.net.heal(),
            98 => {
                self.trim();
                self.retry_snapshots();
            }
            _ => {
                if self.rng.chance(40) {
                    let id = self.any();
                    self.net.crash(id);
                }
            }
        }
        for id in 1..=self.size {
            self.net.collect(id);
        }
        self.check();
    }

    fn deliver(&mut self) {
        if self.net.wire.is_empty() {
            return;
        }
        let at = self.rng.below(self.net.wire.len() as u64) as usize;
        let message = self.net.wire.remove(at);
        if self.net.cut.contains(&(message.from, message.to)) || self.rng.chance(self.loss) {
            return;
        }
        if self.rng.chance(5) {
            self.net.wire.push(message.clone());
        }
        self.net.core(message.to).step(message);
    }

    fn sync_some(&mut self) {
        let id = self.any();
        let waiting = self.net.node(id).unsynced.len() as u64;
        let count = self.rng.below(waiting + 1) as usize;
        self.net.sync(id, count);
    }

    fn propose(&mut self) {
        let id = self.any();
        self.proposed += 1;
        let command = Bytes::from(self.proposed.to_string());
        let _refused = self.net.core(id).propose(&command);
    }

    /// Remembers what was committed anywhere when the read began.
    fn read(&mut self) {
        let id = self.any();
        let token = self.reads.len() as u64;
        if self.net.core(id).read(token).is_ok() {
            let commit = self.committed.last_key_value().map_or(0, |(index, _)| *index);
            self.reads.insert(token, commit);
        }
    }

    fn partition(&mut self) {
        self.net.heal();
        let id = self.any();
        if self.rng.chance(50) {
            self.net.isolate(id);
        } else {
            let other = self.any();
            self.net.cut.push((id, other));
        }
    }

    /// A snapshot of what is applied, as far as the trim is concerned.
    fn trim(&mut self) {
        let id = self.any();
        let node = self.net.node(id);
        let applied = node.applied.last().map_or(0, Entry::index);
        let durable = node.disk.hard_state.commit.min(applied);
        for log in [&mut node.disk, &mut node.log.0.borrow_mut()] {
            log.trim_before(durable + 1);
        }
        for (_, log) in &mut node.unsynced {
            log.trim_before(durable + 1);
        }
    }

    /// What a driver does when a transfer makes no progress.
    fn retry_snapshots(&mut self) {
        for id in 1..=self.size {
            for peer in 1..=self.size {
                self.net.core(id).snapshot_failed(peer);
            }
        }
    }

    fn check(&mut self) {
        for id in 1..=self.size {
            let node = self.net.node(id);
            assert_eq!(node.core.violation(), None);
            if node.core.role() == RoleName::Leader {
                let leader = *self.leaders.entry(node.core.term()).or_insert(id);
                assert_eq!(leader, id, "two leaders of term {}", node.core.term());
                let log = node.log.0.borrow();
                let last = log.last_id().index;
                let newest = self.committed.last_key_value().map_or(0, |(index, _)| *index);
                let deposed = self.leaders.keys().next_back() > Some(&node.core.term());
                assert!(deposed || last >= newest, "leader {id} lacks entry {newest}");
                for entry in log.entries.iter().filter(|_| !deposed) {
                    if let Some(committed) = self.committed.get(&entry.index()) {
                        assert_eq!(entry, committed, "leader {id} holds another entry");
                    }
                }
            }
            for entry in std::mem::take(&mut node.applied.clone()) {
                let committed = self.committed.entry(entry.index()).or_insert(entry.clone());
                assert_eq!(*committed, entry, "node {id} applied another entry");
            }
            for read in std::mem::take(&mut node.reads) {
                let began = self.reads[&read.token];
                assert!(read.index >= began, "a read at {} misses {began}", read.index);
            }
        }
    }

    /// The logs of any two nodes are equal up to the last entry that both hold (section 5.3).
    fn check_log_matching(&mut self) {
        let logs: Vec<BTreeMap<Index, Entry>> = (1..=self.size)
            .map(|id| {
                let log = self.net.node(id).log.0.borrow();
                log.entries.iter().map(|entry| (entry.index(), entry.clone())).collect()
            })
            .collect();
        for (at, a) in logs.iter().enumerate() {
            for b in &logs[..at] {
                let same = |(index, entry): (&Index, &Entry)| {
                    b.get(index).is_some_and(|other| other.term() == entry.term())
                };
                let met = a.iter().rev().find(|(i, e)| same((*i, *e))).map_or(0, |(i, _)| *i);
                for (index, entry) in a.range(..=met) {
                    assert!(b.get(index).is_none_or(|other| other == entry), "at {index}");
                }
            }
        }
    }

    fn finish(&mut self) {
        self.net.heal();
        self.retry_snapshots();
        self.net.tick(300);
        let leaders = self.net.leaders();
        assert_eq!(leaders.len(), 1, "{leaders:?}");
        self.net.propose(leaders[0].0, "last");
        self.net.tick(60);
        let last = self.net.core(leaders[0].0).last_id();
        for id in 1..=self.size {
            let followers = self.net.core(leaders[0].0).followers().cloned();
            assert_eq!(self.net.core(id).last_id(), last, "node {id}: {followers:?}");
            assert_eq!(self.net.core(id).commit(), last.index, "node {id}");
        }
        self.check();
        self.check_log_matching();
        assert!(last != EntryId::default());
    }
}

#[test]
fn random_networks_keep_the_promises_of_figure_3() {
    let mut commands = 0;
    let mut terms = 0;
    for seed in 0..300 {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for step in 0..1500 {
            run.step();
            if step % 50 == 0 {
                run.check_log_matching();
            }
        }
        run.finish();
        let command = |e: &&Entry| matches!(Payload::of(e), Ok(Payload::Command(_)));
        commands += run.committed.values().filter(command).count();
        terms += run.leaders.len();
    }
    // A run in which nothing happens proves nothing.
    assert!(commands > 5000 && terms > 450, "{commands} commands, {terms} terms");
}
