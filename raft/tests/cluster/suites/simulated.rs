//! [`Servers`] in virtual time: one lab for each seed.

use bytes::Bytes;
use hardlog_raft::{
    Config,
    sim::lab::{Compaction, Lab, Seed},
};

use super::{
    harness::{Disks, Index, Servers, Term},
    seeds::each_seed,
};

impl Servers for Lab {
    fn size(&self) -> usize {
        self.size()
    }

    fn now(&self) -> u64 {
        self.now()
    }

    fn sleep(&mut self, millis: u64) {
        self.sleep(millis);
    }

    fn random(&mut self, n: u64) -> u64 {
        self.random(n)
    }

    fn connect(&mut self, server: usize) {
        self.connect(server);
    }

    fn disconnect(&mut self, server: usize) {
        self.disconnect(server);
    }

    fn is_connected(&self, server: usize) -> bool {
        self.is_connected(server)
    }

    fn set_unreliable(&mut self, unreliable: bool) {
        self.set_unreliable(unreliable);
    }

    fn set_reordering(&mut self, reordering: bool) {
        self.set_reordering(reordering);
    }

    fn mute(&mut self, server: usize) {
        self.mute(server);
    }

    fn unmute(&mut self) {
        self.unmute();
    }

    fn traffic(&self) -> (u64, u64) {
        let traffic = self.traffic();
        (traffic.requests.values().sum(), traffic.bytes)
    }

    fn snapshots_sent(&self) -> u64 {
        self.traffic().snapshots
    }

    fn crash(&mut self, server: usize) {
        self.crash(server);
    }

    fn restart(&mut self, server: usize) {
        self.restart(server);
    }

    fn is_up(&self, server: usize) -> bool {
        self.is_up(server)
    }

    fn state(&self, server: usize) -> Option<(Term, bool)> {
        self.state(server)
    }

    fn submit(&mut self, server: usize, command: &[u8]) -> Option<(Index, Term)> {
        self.submit(server, command)
    }

    fn applied(&self, server: usize, index: Index) -> Option<Bytes> {
        self.applied(server, index)
    }

    fn last_applied(&self, server: usize) -> Index {
        self.last_applied(server)
    }

    fn state_size(&self, server: usize) -> u64 {
        self.state_size(server)
    }

    fn snapshot(&self, server: usize) -> Index {
        self.snapshot(server)
    }

    fn join(&mut self) -> usize {
        self.join()
    }

    fn add(&mut self, leader: usize, server: usize) {
        self.add(leader, server);
    }

    fn remove(&mut self, leader: usize, server: usize) {
        self.remove(leader, server);
    }

    fn voters(&self, server: usize) -> Vec<usize> {
        self.voters(server)
    }
}

impl Disks for Lab {
    fn saved(&self, server: usize) -> Option<(Term, Option<usize>)> {
        self.saved(server)
    }
}

/// No snapshot is ever due.
pub(crate) const NO_SNAPSHOTS: Compaction = Compaction { every_bytes: 1 << 40, keep_behind: 0 };
/// One is due after ten commands of eight bytes.
pub(crate) const TEN_COMMANDS: Compaction =
    Compaction { every_bytes: 10 * (1 + 8 + 24), keep_behind: 0 };
/// The same, and a follower that is a little behind finds in the log what it lacks.
pub(crate) const TEN_COMMANDS_AND_SOME: Compaction = Compaction { keep_behind: 20, ..TEN_COMMANDS };

/// Elections after 150 to 300 ms, as raft-consensus and eliben/raft have them.
pub(crate) fn quick_config() -> Config {
    Config {
        tick: std::time::Duration::from_millis(10),
        heartbeat_ticks: 5,
        election_ticks_min: 15,
        election_ticks_max: 30,
        ..Config::classic()
    }
}

/// Runs a test body for so many seeds, with the timing of the MIT labs.
pub(crate) fn mit(size: usize, seeds: u64, body: impl Fn(&mut Lab)) {
    run(size, seeds, (Config::classic(), NO_SNAPSHOTS), body);
}

/// The same with snapshots.
pub(crate) fn mit_with_snapshots(
    size: usize,
    seeds: u64,
    compaction: Compaction,
    body: impl Fn(&mut Lab),
) {
    run(size, seeds, (Config::classic(), compaction), body);
}

/// The same with the timing of raft-consensus and eliben/raft.
pub(crate) fn quick(size: usize, seeds: u64, body: impl Fn(&mut Lab)) {
    run(size, seeds, (quick_config(), NO_SNAPSHOTS), body);
}

fn run(
    size: usize,
    seeds: u64,
    (config, compaction): (Config, Compaction),
    body: impl Fn(&mut Lab),
) {
    let make = |seed: Seed| Lab::new(size, config.clone(), compaction, seed);
    each_seed(seeds, make, body);
}
