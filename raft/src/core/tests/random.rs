//! Random runs of whole clusters, each from one seed: messages lost, doubled, delayed and
//! reordered, partitions, slow disks, crashes that lose what was not synced, trims, and, in half of
//! the runs, changes of the membership of both kinds and leadership transfers.
//!
//! Checked after every step: at most one leader in a term; what was committed at an index never
//! changes, on any node, across crashes; a new leader holds every committed entry; the logs of any
//! two nodes are equal up to the last entry that both hold with one term; each node's configuration
//! is the newest in its log, at most one of a leader's is uncommitted, majorities of one committed
//! configuration and the next overlap, and a leader has a vote unless its removal is not committed.
//! At the end the network heals and all members must agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use hardlog::{Entry, EntryId, Index, Term};

use super::net::Net;
use crate::{
    config::Config,
    core::{Change, Membership, RoleName, quorum::Tally},
    member::Member,
    message::NodeId,
    payload::Payload,
};

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
    changes: bool,
    changed: usize,
    transferred: usize,
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
        let changes = rng.chance(50);
        let mut net = Net::new(size, config, seed);
        let size = if changes { size + 2 } else { size };
        while net.size < size {
            net.join();
        }
        Self {
            net,
            rng,
            size,
            loss,
            changes,
            changed: 0,
            transferred: 0,
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
            80..87 => self.propose(),
            87..92 if self.changes => self.reconfigure(),
            87..92 => self.propose(),
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

    /// Asks everybody for a change of the membership, or a transfer.
    fn reconfigure(&mut self) {
        let (subject, kind) = (self.any(), self.rng.below(10));
        let change = match kind {
            0..4 => {
                let promote = self.rng.chance(80);
                Change::AddLearner { id: subject, member: Member::default(), promote }
            }
            4 => Change::Promote { id: subject },
            5..8 => Change::Remove { id: subject },
            _ => {
                let ids = (1..=self.size).filter(|_| self.rng.chance(60)).collect();
                Change::Voters { ids }
            }
        };
        for id in 1..=self.size {
            if kind == 9 && self.rng.chance(50) {
                let taken = self.net.core(id).transfer_leadership(Some(subject));
                self.transferred += usize::from(taken.is_ok());
            } else {
                let taken = self.net.core(id).propose_membership(&change);
                self.changed += usize::from(taken.is_ok());
            }
        }
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

    fn check_configurations(&mut self) {
        for id in 1..=self.size {
            let node = self.net.node(id);
            let log = node.log.0.borrow();
            let newest = log.entries.iter().rev().find_map(|entry| match Payload::of(entry) {
                Ok(Payload::Membership(membership)) => Some((entry.index(), membership)),
                _ => None,
            });
            let all = node.core.configurations();
            // Not while the core is ahead of the log.
            if let Some((index, membership)) = newest.filter(|_| node.core.log.is_clean()) {
                let newest = all.last().expect("there is one");
                assert_eq!((newest.index, &newest.membership), (index, &membership), "node {id}");
            }
            if node.core.role() == RoleName::Leader {
                assert!(all.len() <= 2, "leader {id} has {all:?}");
                let led_on = all.len() == 2 || node.core.membership().is_voter(id);
                assert!(led_on, "leader {id} has no vote: {all:?}");
            }
        }
        let first = self.net.first.clone();
        let committed = self.committed.values().filter_map(|entry| match Payload::of(entry) {
            Ok(Payload::Membership(membership)) => Some(membership),
            _ => None,
        });
        let mut before = first;
        for membership in committed {
            assert!(overlap(&before, &membership), "{before:?} then {membership:?}");
            before = membership;
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
        self.net.tick(100);
        let mut leaders = Vec::new();
        // The first command may end a term: a joint membership is left, and its leader goes.
        for _ in 0..3 {
            for _ in 0..30 {
                leaders = self.net.leaders();
                if leaders.len() == 1 {
                    break;
                }
                self.net.tick(20);
            }
            assert_eq!(leaders.len(), 1, "{leaders:?}");
            self.net.propose(leaders[0].0, "last");
            self.net.tick(100);
        }
        let last = self.net.core(leaders[0].0).last_id();
        let membership = self.net.core(leaders[0].0).membership().clone();
        assert!(!membership.is_joint(), "{membership:?}");
        for id in membership.members().keys().copied() {
            let followers = self.net.core(leaders[0].0).followers().cloned();
            assert_eq!(self.net.core(id).last_id(), last, "node {id}: {followers:?}");
            assert_eq!(self.net.core(id).commit(), last.index, "node {id}: {followers:?}");
        }
        self.check();
        self.check_log_matching();
        self.check_configurations();
        assert!(last != EntryId::default());
    }
}

/// Whether no majority that decides in one can miss all that decide in the other: tried out.
fn overlap(a: &Membership, b: &Membership) -> bool {
    let ids: Vec<NodeId> = a.members().keys().chain(b.members().keys()).copied().collect();
    let most = ids.iter().max().map_or(0, |most| *most);
    let decides = |membership: &Membership, set: u64| {
        membership.tally(|id| Some(set >> id & 1 == 1)) == Tally::Won
    };
    (0..1_u64 << (most + 1)).all(|set| !(decides(a, set) && decides(b, !set)))
}

#[test]
fn random_networks_keep_the_promises_of_figure_3() {
    let mut commands = 0;
    let mut terms = 0;
    let (mut changed, mut transferred) = (0, 0);
    for seed in 0..400 {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for step in 0..1500 {
            run.step();
            if step % 50 == 0 {
                run.check_log_matching();
                run.check_configurations();
            }
        }
        run.finish();
        let command = |e: &&Entry| matches!(Payload::of(e), Ok(Payload::Command(_)));
        commands += run.committed.values().filter(command).count();
        terms += run.leaders.len();
        changed += run.changed;
        transferred += run.transferred;
    }
    println!("{commands} commands, {terms} terms, {changed} changes, {transferred} transfers");
    assert!(changed > 150 && transferred > 40, "{changed} changes, {transferred} transfers");
    // A run in which nothing happens proves nothing.
    assert!(commands > 5000 && terms > 450, "{commands} commands, {terms} terms");
}
